"""The service: what is due, what was missed, what goes on, and what it tells monitoring.

Decisions are plain functions with time as an argument. May import playbook, audit and the words; how a playbook is
carried out is the caller's business, behind a protocol.
"""
