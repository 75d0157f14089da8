"""Telling people elsewhere what a run does: webhooks, with retries. Nothing here ever holds up a stop.

May import the words and the settings; speaks HTTP on its own account, and never to Phala Cloud.
"""
