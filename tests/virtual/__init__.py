"""Whole runs on virtual time in one process: client, engine, audit log and simulated cloud, faults, kills, torn writes.

A seed decides everything, so a failing seed fails again, step by step, on any machine.
"""
