"""Notification channels, one file each: `webhook.py`, `slack.py`. A new channel also goes into `registry.py`."""
