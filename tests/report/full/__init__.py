"""Tests of report/full."""
