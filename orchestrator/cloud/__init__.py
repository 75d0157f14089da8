"""Phala Cloud over HTTP: the client, the wire shapes of every API version, and the reading of its errors.

Only this package imports httpx and aiohttp. The package may import the small shared modules. `PhalaCloud` satisfies the
engine's `Cloud` protocol without importing the protocol.
"""
