"""The application layer: plan, start, carry out and resume a run.

Functions take values and observers and return values. Drivers are `cli` and `service`. May import history, notify,
engine, cloud, audit, settings, playbook and below; never report, service or cli, and no terminal library.
"""
