"""Tests of engine/watch."""
