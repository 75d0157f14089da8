"""The wish of a person to cancel a run of the team store, for a run in the process of another person."""

from functools import partial

import anyio

from orchestrator.engine.run import Run
from orchestrator.postgres.store_thread import StoreThread

_LOOK_EVERY_S = 1.0


async def obey_wish(store: StoreThread, run_id: str, run: Run) -> None:
    """Cancel a run once a person wishes so; a renewal of the lease brings the wish.

    Args:
        store: the store with the lease of the run.
        run_id: the run.
        run: the same run.
    """
    lease = store.find_lease(run_id)
    obeyed: str | None = None
    while lease is not None and obeyed != "at_once":
        if lease.stop_wanted not in {None, obeyed}:
            obeyed = lease.stop_wanted
            ask = partial(store.query_inside, "SELECT stop_by FROM orchestrator.read_submission(%s)", [run_id])
            rows = await store.wait(ask)
            run.cancel(rows[0][0] if rows else None, at_once=obeyed == "at_once")
        await anyio.sleep(_LOOK_EVERY_S)
