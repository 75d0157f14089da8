"""Operations of the API as functions: from a call to a reply, synchronous and without HTTP.

`table.py` lists all operations with their paths. This package imports the world, the wire shapes and the refusals.
"""
