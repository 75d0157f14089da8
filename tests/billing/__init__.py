"""What a stop does to the bill."""
