"""Logs of runs as they would lie in a state folder."""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.audit.record import Chain
from orchestrator.moment import timestamp

CLOUD = "https://cloud.example"
BILL = {
    "triggered": True,
    "compute_usd_per_hour": "0.12",
    "storage_usd_per_hour": "0.003",
    "rate_source": "hourly_rate",
    "notes": ["open_compute_charged", "compute_ends", "storage_continues"],
}


def cvm(number: int) -> dict[str, Any]:
    return {
        "id": f"cvm_{number}",
        "vm_uuid": f"{number:032x}",
        "name": f"web-{number}",
        "app_id": f"{number:040x}",
        "teepod_id": number % 2,
        "teepod": f"prod-{number % 2}",
    }


class Made:
    """A log in the making, every record a second after the one before unless it is put off.

    Attributes:
        run_id: the run.
        lines: what it has so far.
    """

    def __init__(self, begun: datetime, *, playbook: str = "nightly", suffix: str = "0000", **started: object) -> None:
        self.run_id = f"{begun:%Y%m%dT%H%M%SZ}-{suffix}"
        self.lines: list[bytes] = []
        self._chain, self._now = Chain(self.run_id), begun
        fields = {"playbook": {"name": playbook}, "actor": "me@here", "cloud_url": CLOUD, "simulated": False}
        self.record("run.started", **{**fields, **started})

    def record(self, event: str, **fields: object) -> "Made":
        """Append a record."""
        self.lines.append(self._chain.append(event, fields, self._now)[1])
        self._now += timedelta(seconds=1)
        return self

    def later(self, **length: float) -> "Made":
        """Let time pass."""
        self._now += timedelta(**length)
        return self

    def planned(self, *targets: tuple[int, str, str], others: dict[int, str] | None = None, **fields: object) -> "Made":
        """`run.planned` with targets of (number, action, status), and the statuses of others."""
        skipped = [{"cvm": cvm(n), "status": status, "reason": "not selected"} for n, status in (others or {}).items()]
        return self.record(
            "run.planned",
            targets=[
                {"step": action, "action": action, "cvm": cvm(number), "status": status, "billing": BILL}
                for number, action, status in targets
            ],
            skipped=skipped,
            **{"steps": [], "read_at": timestamp(self._now - timedelta(seconds=1)), **fields},
        )

    def about(self, event: str, number: int, action: str = "stop", **fields: object) -> "Made":
        """A record about a target."""
        return self.record(event, step=action, action=action, cvm=cvm(number), **fields)

    def done(self, number: int, action: str = "stop", outcome: str = "settled", **bill: object) -> "Made":
        """A target that was accepted and ended."""
        self.about("action.intent", number, action, attempt=1)
        self.about("action.accepted", number, action, attempt=1, observed=False, billing={**BILL, **bill})
        event = "target.settled" if outcome in {"settled", "gone"} else "target.failed"
        return self.about(event, number, action, outcome=outcome, status="stopped", seconds=1.0)

    def finished(self, code: int = 0) -> "Made":
        """The last word."""
        return self.record("run.finished", exit_code=code, counts={}, ending="completed")

    def write(self, state_dir: Path, *, old: bool = True) -> Path:
        """Put it where it belongs, as if it had been there for an hour unless it is to be new."""
        folder = state_dir / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.run_id}.jsonl"
        path.write_bytes(b"".join(self.lines))
        if old:
            an_hour_ago = time.time() - 3600
            os.utime(path, (an_hour_ago, an_hour_ago))
        return path


def stop_of(begun: datetime, *numbers: int, suffix: str = "0000", **started: Any) -> Made:  # noqa: ANN401 - as Made takes
    """A run that stopped these and finished."""
    made = Made(begun, suffix=suffix, **started).planned(*((number, "stop", "running") for number in numbers))
    for number in numbers:
        made.done(number)
    return made.finished()
