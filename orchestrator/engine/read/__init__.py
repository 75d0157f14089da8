"""Reads of the cloud: inventory, statuses, usage records, with retries."""
