"""Carry out a plan: rate limit, dispatch, retry decisions, and the watch until every CVM has settled.

Decisions are pure: plain functions and small classes with time as an argument (`rate/gcra`, `send/classify`,
`watch/evaluate`, `rate/backoff`, `send/queue`). The async code around the decisions is thin. `run` goes from step to
step, `rollout` from wave to wave. A `wave` sends requests (`send/dispatcher`, through `rate/gate`) and watches CVMs
(`watch/watcher`, with `read/status`). All steps of a run share one `run_control`.

The engine reaches the outside only through the protocols in `protocols`. The engine may import playbook, billing and
the small shared modules, and `audit.events` for the recorded events; never HTTP, files or the terminal.
"""
