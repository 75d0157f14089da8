"""The durable, hash-chained audit log of a run: write, read, verify and replay the log.

A record is on disk before the announced event happens. The log is the run's only state: `replay` folds the records
into the state of every target, for resume, reports and the live view. May import the shared words, no other package of
this project.
"""
