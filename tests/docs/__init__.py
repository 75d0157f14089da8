"""The docs agree with the code, and with themselves."""
