"""The inventory as text and CSV."""
