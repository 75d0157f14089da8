"""Rehearsals: the real client and engine, and a simulated fleet, in one process on virtual time.

The engine does not know of the rehearsal. A rehearsal sends nothing to the cloud, and leaves no log among the runs.

- `virtual_time.py`: an event loop with a virtual clock. `network.py`: the way to the simulated cloud, with outages.
- `fleet.py` loads an inventory into the simulator; `faults.py` reads fault files.
- `process.py`: one rehearsed process, from its session to its death. `rehearse.py` carries a playbook out.
- `result.py` builds the result; `seeds.py` compares the results of many seeds.
"""
