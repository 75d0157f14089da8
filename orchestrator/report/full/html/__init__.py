"""The full report as an HTML page, built from elements."""
