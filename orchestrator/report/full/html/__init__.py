"""The full report as one HTML page, built from elements."""
