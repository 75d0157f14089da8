"""Fresh status reads before the first request, since the statuses of a plan may be old."""

from collections.abc import Sequence

from orchestrator.cvm import CvmRef
from orchestrator.engine.job import Job
from orchestrator.engine.read.status import Observation, StatusReader
from orchestrator.engine.workspace import ObservedCloud
from orchestrator.errors import CloudError, KeyRefusedError
from orchestrator.reply import Reply
from orchestrator.runs.session import Session

_IDLE_ROUNDS = 3
"""So many rounds in a row without a single answer are enough."""


async def read_known_statuses(
    session: Session, refs: Sequence[CvmRef], workspace_size: int = 0
) -> dict[str, Observation]:
    """Read the current status of CVMs with retries, by the CVM's key; without an entry for an unreadable status.

    Args:
        session: the connection to the cloud.
        refs: the CVMs.
        workspace_size: the number of CVMs in the workspace; 0 to read no list in place of single statuses.

    Raises:
        CloudError: when the API refuses the key.
    """
    refused: list[Reply[object]] = []

    def check_key(reply: Reply[object]) -> None:
        """Note a refused key."""
        if reply.says_key_refused:
            refused.append(reply)

    reader = StatusReader(
        cloud=ObservedCloud(session.cloud, check_key),
        gate=session.gate,
        clock=session.clock,
        rng=session.rng,
        batch_size=session.batch_size,
        batch_missing=session.batch_missing,
        workspace_size=workspace_size,
    )
    seen: dict[str, Observation] = {}
    idle = 0
    while idle < _IDLE_ROUNDS and not refused:
        missing = [ref for ref in refs if ref.key not in seen]
        if not missing:
            break
        found = await reader.read_statuses(missing)
        seen |= found
        idle = 0 if found else idle + 1
    if refused:
        raise session.endpoint.explain(KeyRefusedError("the API refuses the key; nothing was sent"))
    return seen


async def read_open_statuses(session: Session, jobs: Sequence[Job], workspace_size: int) -> dict[str, Observation]:
    """Read the current status of every target without an outcome, by the CVM's key.

    Raises:
        CloudError: when a status can't be read, so that the effect of a request is unknown.
    """
    wanted = [job.ref for job in jobs if job.outcome is None]
    seen = await read_known_statuses(session, wanted, workspace_size)
    if len(seen) < len(wanted):
        raise CloudError(
            f"the status of {len(wanted) - len(seen)} of {len(wanted)} open CVMs can't be read",
            hint="check the network, and cloud.base_url in the settings; nothing was sent",
        )
    if len(seen) > 1 and all(each.read is None for each in seen.values()):
        raise CloudError(
            f"the API key finds none of the {len(seen)} open CVMs",
            hint="use a key of the run's workspace; if all of these CVMs are deleted, nothing is left to do",
        )
    return seen
