"""Tests of engine/read."""
