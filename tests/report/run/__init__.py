"""Tests of report/run."""
