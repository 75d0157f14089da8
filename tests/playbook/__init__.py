"""Tests of playbooks and plans."""
