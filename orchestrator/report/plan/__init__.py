"""A plan and a schedule as text."""
