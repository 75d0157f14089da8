"""The JSON shapes of the API: one module for the legacy version, one for the current ones, one for what they share.

May import the world and its machines; knows nothing of HTTP.
"""
