"""Audit records as stories, ECS documents and CSV rows, and the verdict of a verification as text."""
