"""The claim of a run on its CVMs: taken before anything is sent, and narrowed while a person is waited for."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import anyio

from orchestrator.audit.claims import Claim, Claims
from orchestrator.audit.replay import RunState
from orchestrator.cvm import CvmRef
from orchestrator.engine.job import Job
from orchestrator.engine.read.status import Observation
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.session import Session
from orchestrator.settings.load import Settings


def claim_cvms(session: Session, run_id: str, refs: Iterable[CvmRef], *, ignore_running: bool) -> Claim:
    """Claim every CVM that a run may touch.

    Raises:
        ClaimedError: when a live run claims one of them, and that is not to be ignored.
        SettingsError: when the claim cannot be written.
    """
    claims = Claims(session.settings.audit.state_dir)
    return claims.take(run_id, session.endpoint.base_url, refs, ignore_running=ignore_running)


def claim_again(settings: Settings, state: RunState, *, ignore_running: bool) -> Claim:
    """Claim every CVM of a run that is resumed, before its statuses are read.

    Raises:
        ClaimedError: when a live run claims one of them, and that is not to be ignored.
        SettingsError: when the claim cannot be written.
    """
    refs = [target.ref for target in state.targets.values()]
    claims = Claims(settings.audit.state_dir)
    return claims.take(state.run_id, state.started["cloud_url"], refs, ignore_running=ignore_running)


async def wait_for_statuses(session: Session, claim: Claim) -> None:
    """Wait until a status shows what the last request of another run did, where that run died."""
    recheck_after = session.settings.settle.recheck_after
    await anyio.sleep(claim.wait_before_reading(session.clock.wall().timestamp(), recheck_after) or 0.0)


async def read_what_others_changed(
    session: Session, claim: Claim, jobs: Sequence[Job], workspace_size: int, since: datetime
) -> dict[str, Observation] | None:
    """Read the statuses of the targets again where another run acted on them since; None where none did.

    Args:
        session: the line to the cloud.
        claim: the claim of this run.
        jobs: every target.
        workspace_size: how many CVMs the list has.
        since: when their statuses were read.

    Raises:
        CloudError: when one of them cannot be read.
    """
    wait = claim.wait_before_reading(since.timestamp(), session.settings.settle.recheck_after)
    if wait is None:
        return None
    await anyio.sleep(wait)
    return await read_open_statuses(session, jobs, workspace_size)


class RunClaim:
    """A claim as the engine uses one."""

    def __init__(self, claim: Claim, recheck_after: float) -> None:
        """Set up.

        Args:
            claim: the claim.
            recheck_after: by how many seconds a status may lag.
        """
        self._claim, self._recheck_after = claim, recheck_after

    def narrow(self, refs: Iterable[CvmRef]) -> None:
        """Claim only these CVMs while a person is waited for."""
        self._claim.narrow(refs)

    async def widen(self) -> bool:
        """Wait until no live run claims a CVM of this run, and claim all of them; True where others acted on them."""
        wait = await self._claim.widen(self._recheck_after, self._tell)
        if wait is None:
            return False
        await anyio.sleep(wait)
        return True

    def _tell(self, reason: str) -> None:
        import structlog  # noqa: PLC0415 - takes long to import

        structlog.get_logger().warning("waiting_for_run", run_id=self._claim.run_id, reason=reason)
