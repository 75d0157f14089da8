"""What many runs come to, and the index over their logs."""
