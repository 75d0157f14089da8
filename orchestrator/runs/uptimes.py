"""Read the uptimes of CVMs from their statuses, since the list has no uptimes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from orchestrator.cvm import Cvm
from orchestrator.engine.read.retry import read_with_retry
from orchestrator.engine.read.status import TOO_LARGE
from orchestrator.errors import CloudError
from orchestrator.runs.fresh_status import read_known_statuses
from orchestrator.runs.session import Session


async def read_uptimes(session: Session, cvms: Sequence[Cvm], lacking: Sequence[Cvm]) -> tuple[Cvm, ...]:
    """Return the CVMs with uptimes and statuses from status reads.

    Args:
        session: the connection to the cloud.
        cvms: the CVMs of the list.
        lacking: the CVMs to read. A CVM stays as in the list if its status can't be read.

    Raises:
        CloudError: when the API refuses the key, or no status can be read.
    """
    wanted = [cvm.ref for cvm in lacking if cvm.ref.address]
    # Without the size of the workspace, the reader does not fall back to the list, which has no uptimes.
    seen = await read_known_statuses(session, wanted)
    if wanted and not seen:
        raise CloudError(
            f"the uptime of {len(wanted)} CVMs can't be read",
            hint="`up_longer_than` needs the statuses of CVMs; nothing was sent; try again later",
        )
    reads = {key: observed.read for key, observed in seen.items()}

    def complete(cvm: Cvm) -> Cvm:
        """Add the read uptime and status."""
        read = reads.get(cvm.ref.key)
        if read is None:
            return cvm
        return replace(cvm, status=read.status, in_progress=read.in_progress or cvm.in_progress, uptime=read.uptime)

    return tuple(complete(cvm) for cvm in cvms)


async def try_read_uptimes(session: Session, cvms: Sequence[Cvm]) -> tuple[Cvm, ...]:
    """Return the CVMs with uptimes from batches of statuses.

    An uptime stays unknown if its batch can't be read. For many CVMs, no uptime is read: the list alone takes long.
    """
    wanted = [cvm.ref.vm_uuid for cvm in cvms if not cvm.down and cvm.uptime is None and cvm.ref.vm_uuid]
    uptimes: dict[str, float | None] = {}
    size = session.batch_size
    if len(wanted) > _MOST_BATCHES * size:
        return tuple(cvms)
    while wanted and not session.batch_missing:
        chunk, rest = wanted[:size], wanted[size:]
        reply = await read_with_retry(partial(session.cloud.read_statuses, chunk), session.gate, session.rng)
        if reply.value is None:
            if size <= _SURE_SIZE or reply.http_status not in TOO_LARGE:
                break
            size = _SURE_SIZE
            continue
        uptimes |= {uuid: read.uptime for uuid, read in reply.value.items()}
        wanted = rest
    return tuple(replace(cvm, uptime=uptimes[cvm.ref.uuid_key]) if cvm.ref.uuid_key in uptimes else cvm for cvm in cvms)


_MOST_BATCHES = 2
_SURE_SIZE = 100
"""Statuses in a request of the vendor's own tool."""
