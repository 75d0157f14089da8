"""Carries a plan out: rate limit, dispatch, retry decisions, and the watch until every CVM has settled.

What is decided is plain functions and small classes with time as an argument (`gcra`, `decide`, `judge`, `pace`,
`queue`); what is done is async and thin. A `run` goes from step to step, `rollout` from wave to wave, and a `wave`
sends (`dispatch`, through the `gate`) and watches (`watch`, by `status`); what they share is the run's `course`. The
outside is reached through the protocols in `protocols` alone. May import playbook, billing and the words; never HTTP,
files or the terminal.
"""
