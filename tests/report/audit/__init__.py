"""Tests of report/audit."""
