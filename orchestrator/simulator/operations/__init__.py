"""One function for each operation of the API: from a call to a reply, synchronous and without HTTP.

May import the world, the wire shapes and the refusals; `table.py` lists all operations with their paths.
"""
