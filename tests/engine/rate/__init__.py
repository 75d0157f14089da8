"""Tests of engine/rate."""
