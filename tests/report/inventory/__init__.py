"""Tests of report/plan."""
