"""The JSON shapes of the API: modules for the legacy version, the current versions, and the shapes common to both.

This package imports the world and its CVMs, and nothing of HTTP.
"""
