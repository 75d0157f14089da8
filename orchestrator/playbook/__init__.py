"""Playbooks and plans: schema, YAML loading, selectors, guards, schedules and the plan.

Everything here is pure: text, settings and an inventory go in; values, or errors with file and line, come out. May
import the shared words (`cvm`, `outcome`, `errors`, `duration`) and `billing`, never the engine, the cloud, the audit
log or the terminal.
"""
