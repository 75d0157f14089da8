"""Tests of engine/send."""
