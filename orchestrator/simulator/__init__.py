"""A simulated Phala Cloud: the documented API over HTTP, with state, billing, bad habits and faults.

Who lives here: `world.py` holds the fleet, `timeline.py` one CVM's statuses over time, `behaviours.py` the CVMs that
misbehave, `actions.py` what a stop, shutdown, start or restart does, `usage.py` the metered usage; `operations/` has
one function per API operation, `wire/` the shapes they answer with; `faults.py` decides which answers go wrong and
`sabotage.py` makes them go wrong; `control.py` is the hand from outside; `app.py` is the ASGI application, `serve.py`
and `memory.py` put it on a socket or inside the process; `settings.py` reads the configuration file.

Everything but `app.py`, `stream.py`, `sabotage.py`, `serve.py` and `memory.py` is synchronous, and time is an argument
(`now`: seconds since the world began).

This room never imports `orchestrator.cloud`, nor any other room: it is an independent reading of the API, so that a
mistake shared by client and simulator cannot hide. Import from the modules, not from this package.
"""
