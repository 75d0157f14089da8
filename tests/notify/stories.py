"""Events of runs, for tests of notices."""

from typing import Any

from orchestrator.audit.replay import RunState
from orchestrator.notify.from_events import notice_of, notice_of_start
from orchestrator.notify.notice import Notice
from tests.logs import about, build_records, cvm

MONEY = {"triggered": 2, "compute_usd_per_hour": "0.25", "storage_usd_per_hour": "0.01"}
Event = tuple[str, dict[str, Any]]


def begun(number: int = 3, *, name: str = "nightly", cvm_name: str | None = None, **started: object) -> list[Event]:
    """Build the first events of a run with a number of targets."""
    targets = [about(cvm(n, cvm_name), status="running") for n in range(1, number + 1)]
    return [
        (
            "run.started",
            {
                "playbook": {"name": name},
                "actor": "ops@desk",
                "cloud_url": "https://example.test/api/v1",
                "simulated": False,
                **started,
            },
        ),
        ("run.planned", {"targets": targets, "skipped": []}),
    ]


def failed(number: int, outcome: str = "failed", reason: str = "no such disk", name: str | None = None) -> Event:
    return "target.failed", about(cvm(number, name), outcome=outcome, reason=reason)


def settled(number: int) -> Event:
    return "target.settled", about(number, outcome="settled")


def finished(code: int = 0, ending: str = "completed", **counts: int) -> Event:
    return "run.finished", {"exit_code": code, "ending": ending, "counts": counts, "money": MONEY}


def notices_of(*events: Event, first: list[Event] | None = None) -> list[Notice]:
    """Make all notices of a run: from its first events, then from these events."""
    state, notices = RunState(), []
    beginning = begun() if first is None else first
    for number, record in enumerate(build_records([*beginning, *events]), start=1):
        state.apply_record(record)
        notice = notice_of_start(state) if number == len(beginning) else notice_of(record, state)
        if notice is not None:
            notices.append(notice)
    return notices


def text(notice: Notice) -> str:
    return "\n".join([notice.headline, *notice.lines, *notice.commands])
