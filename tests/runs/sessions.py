"""A session against a scripted cloud on virtual time, and a playbook for its CVMs."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.audit.claims import FileClaimStore
from orchestrator.audit.store import FileRunStore
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.schema import Playbook
from orchestrator.reply import Reply
from orchestrator.runs.api_profile import FileApiProfileStore
from orchestrator.runs.session import Endpoint, RunObserver, Session
from orchestrator.runs.start import RunRequest
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection
from tests.engine.fakes import FakeCloud, VirtualClock

LIMITS = RunLimits(requests_per_second=1, burst=1, max_in_flight=10, per_teepod=10, max_failures=None)


async def write_at_once(write: Callable[[], None]) -> None:
    """Write in the event loop's thread: virtual time would pass during a write in another thread."""
    write()


def session_of(cloud: FakeCloud, folder: Path, observer: RunObserver | None = None, workspace: str = "ws_1") -> Session:
    async def identify() -> Reply[str]:
        return Reply(value=workspace, http_status=200)

    clock: Any = VirtualClock()
    observer = observer or RunObserver()
    return Session(
        Settings(audit=AuditSection(state_dir=folder)),
        Endpoint("http://127.0.0.1/api/v1", "key"),
        LIMITS,
        cloud,
        Gate(Gcra(LIMITS.requests_per_second, LIMITS.burst), LIMITS.max_in_flight, clock),
        clock,
        Random(0),
        batch_size=1000,
        batch_missing=False,
        identify=identify,
        store=(store := FileRunStore(folder)),
        claims=FileClaimStore(store),
        profiles=FileApiProfileStore(folder, observer.on_warning),
        observer=observer,
    )


def request_of(**fields: Any) -> RunRequest:  # noqa: ANN401 - any key of a playbook
    """A request to stop all CVMs."""
    steps = [{"action": "stop", "select": {"all": "true"}}]
    playbook = Playbook.model_validate({"name": "all-down", "steps": steps, **fields})
    return RunRequest(LoadedPlaybook(playbook, Path("all-down.yaml"), "0" * 64, b"", {}), LIMITS)
