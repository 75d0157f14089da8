"""The full report of one run: its timeline, incidents and money, and its renderings."""
