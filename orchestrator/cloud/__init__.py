"""Phala Cloud over HTTP: the client, the wire shapes of every API version, and what its errors mean.

The only room that knows httpx and aiohttp. May import the words; it satisfies the engine's `Cloud` protocol without
importing it.
"""
