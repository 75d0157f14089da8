"""A simulated Phala Cloud: the documented API over HTTP, with state, metered usage, misbehaving CVMs and faults.

- State: `world.py` holds the fleet, `fleet.py` makes it up, `known_fleet.py` loads a given one, `timeline.py` holds
  one CVM's statuses over time, `actions.py` applies a stop, shutdown, start or restart, `behaviours.py` the CVMs that
  misbehave, `usage.py` computes metered usage.
- API: `operations/` has one function per API operation, `wire/` the JSON shapes, `refusals.py` the error answers,
  `request_parsing.py` validates queries and bodies.
- Faults: `faults.py` picks the requests that fail, `fault_injection.py` spoils their answers.
- Outside: `app.py` is the ASGI application, `control.py` answers `/__simulator__`, `serve.py` listens on a socket,
  `memory.py` answers inside the process, `settings.py` reads the configuration file.

Only `app.py`, `stream.py`, `fault_injection.py`, `serve.py` and `memory.py` are asynchronous. Elsewhere time is an
argument: `now`, in seconds since the world began.

This package imports no other package of this project, not even `orchestrator.cloud`: a mistake shared by client and
simulator would stay hidden. Import from the modules, not from this package.
"""
