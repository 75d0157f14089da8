"""Tests of cli/handlers."""
