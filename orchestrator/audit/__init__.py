"""The durable, hash-chained log of a run: writing, reading, verifying, and replaying it.

A record is on disk before what it announces happens. The log is the run's only state: `replay` folds it into what is
known of every target, for resuming, reporting and the live view alike. May import the words; nothing else of ours.
"""
