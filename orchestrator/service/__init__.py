"""The service: runs the schedules of a folder of playbooks, and reports to monitoring.

`scheduler` decides with time as an argument; a `Runner` (see `protocols`) executes the runs.
"""
