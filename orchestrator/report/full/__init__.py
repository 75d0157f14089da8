"""The full report of a run: its timeline, incidents and money, and its renderings.

A new format needs a renderer of the sections here, and entries in `cli/handlers/report.py` and
`cli/commands/report.py`.
"""
