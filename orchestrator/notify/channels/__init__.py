"""Notification channels, one file each: `webhook.py`, `slack.py`.

A new channel also needs an entry in `registry.py`, fields and `is_configured` in `settings/model.py`, and its secrets
in `settings/error_source.py`.
"""
