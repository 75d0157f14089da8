"""The rate that finds itself: what the API allows is not published, so it is learnt from its 429s. Pure."""

START = 5.0
"""Requests per second with which a run begins of which nothing is known yet."""
