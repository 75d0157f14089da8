"""A plan or a run as text, as a live view, and as JSON. May import everything but the command line.

What a program or a person outside wrote (names, error bodies) is shown escaped and never interpreted: see `shown`.
"""
