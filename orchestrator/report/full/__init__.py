"""The full report of a run: its timeline, incidents and money, and its renderings."""
