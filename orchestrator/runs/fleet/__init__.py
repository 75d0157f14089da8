"""Fleet runs: an ordinary run per workspace, with common totals and a fleet log.

A run knows nothing of its fleet, except for the id in `run.started`. This folder plans, starts, carries out, resumes,
abandons and restores the runs together. May import the other modules of `runs`, never the reverse.
"""
