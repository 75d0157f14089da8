"""The history of many runs: an index over their logs, always reproducible from the logs, and the savings.

May import audit, billing, `playbook.schedule` and the shared modules.
"""
