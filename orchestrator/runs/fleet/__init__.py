"""Fleet runs: one ordinary run for each of many workspaces, with common totals, under a fleet log.

A run knows nothing of its fleet, except for the id in `run.started`. This folder plans, starts, carries out, resumes,
abandons and restores the runs together. May import the other modules of `runs`, never the reverse.
"""
