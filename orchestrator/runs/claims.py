"""The claim of a run on its CVMs: taken before the first request, and narrowed during an approval."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import anyio

from orchestrator.audit.claims import Claim, ClaimStore
from orchestrator.audit.replay import RunState
from orchestrator.cvm import CvmRef
from orchestrator.engine.job import Job
from orchestrator.engine.read.status import Observation
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.session import RunObserver, Session


def claim_again(claims: ClaimStore, state: RunState, *, ignore_running: bool) -> Claim:
    """Claim every CVM of a resumed run, before its statuses are read.

    Raises:
        ClaimedError: when a live run claims one of the CVMs, unless ignored.
        SettingsError: when the claim cannot be written.
    """
    refs = [target.ref for target in state.targets.values()]
    return claims.create_claim(state.run_id, state.started.cloud_url, refs, ignore_running=ignore_running)


async def wait_for_statuses(session: Session, claim: Claim) -> None:
    """Wait until a status can show the effect of the last request of another, dead run."""
    recheck_after = session.settings.settle.recheck_after
    await anyio.sleep(claim.wait_before_reading(session.clock.wall().timestamp(), recheck_after) or 0.0)


async def read_what_others_changed(
    session: Session, claim: Claim, jobs: Sequence[Job], workspace_size: int, since: datetime
) -> dict[str, Observation] | None:
    """Read the statuses of all targets again after actions of another run; None without such actions.

    Args:
        session: the connection to the cloud.
        claim: the claim of this run.
        jobs: every target.
        workspace_size: the number of CVMs in the inventory.
        since: the time of the earlier status reads.

    Raises:
        CloudError: when a status cannot be read.
    """
    wait = claim.wait_before_reading(since.timestamp(), session.settings.settle.recheck_after)
    if wait is None:
        return None
    await anyio.sleep(wait)
    return await read_open_statuses(session, jobs, workspace_size)


class RunClaim:
    """A claim with the interface for the engine."""

    def __init__(self, claim: Claim, recheck_after: float, observer: RunObserver) -> None:
        """Set up.

        Args:
            claim: the claim.
            recheck_after: the longest delay of a status, in seconds.
            observer: the observer of the run.
        """
        self._claim, self._recheck_after, self._observer = claim, recheck_after, observer

    def keep_only(self, refs: Iterable[CvmRef]) -> None:
        """Claim only these CVMs during an approval."""
        self._claim.keep_only(refs)

    async def claim_again(self) -> bool:
        """Wait for the claims of live runs, then claim all CVMs of this run; True after actions of other runs."""
        wait = await self._claim.claim_again(self._recheck_after, self._warn)
        if wait is None:
            return False
        await anyio.sleep(wait)
        return True

    def _warn(self, reason: str) -> None:
        self._observer.on_warning("waiting_for_run", run_id=self._claim.run_id, reason=reason)
