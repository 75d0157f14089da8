"""`python -m bench.history [LOGS]`: measure `runs` and `savings` over years of logs, the first time and again.

The script makes the logs: every other run stops 20 CVMs, the next run starts these CVMs, in a workspace of 100 CVMs.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.process import COMMAND, run_process
from orchestrator.audit.record import Chain
from orchestrator.times import timestamp

_LOGS, _TARGETS, _OTHERS = 5000, 20, 80
_YEARS = timedelta(days=5 * 365)
_RUNS = 3
_BILL = {
    "compute_usd_per_hour": "0.058",
    "storage_usd_per_hour": "0.00278",
    "rate_source": "hourly_rate",
    "notes": ["open_compute_charged", "compute_ends", "storage_continues"],
}


def main() -> None:
    """Make the logs, and print the time of each command."""
    logs = int(sys.argv[1]) if len(sys.argv) > 1 else _LOGS
    with tempfile.TemporaryDirectory(prefix="orchestrator-history-") as place:
        state = Path(place)
        size = _make(state, logs)
        print(f"{logs} logs of {_TARGETS} targets each, {size / 1e6:,.0f} MB")
        env = {**os.environ, "ORCHESTRATOR_STATE_DIR": place}
        for words in ("savings", f"runs --limit {logs} --json", "runs"):
            (state / "history.sqlite3").unlink(missing_ok=True)
            for number in range(1 + _RUNS):
                ended = run_process(
                    [COMMAND, *words.split()], folder=state, env=env, role=None, seconds=600
                ).require_exit(0)
                when = "again" if number else "the first time"
                print(f"{words:30} {when:15} {ended.seconds:7.2f} s, {ended.cpu_seconds:7.2f} s of CPU", flush=True)


def _make(state: Path, logs: int) -> int:
    """Write the logs with a modification time an hour ago; return their size in bytes."""
    folder = state / "runs"
    folder.mkdir()
    now = datetime.now(UTC)
    an_hour_ago, size = now.timestamp() - 3600, 0
    for number in range(logs):
        begun = now - _YEARS + _YEARS / logs * number
        run_id = f"{begun:%Y%m%dT%H%M%SZ}-{number % 0x10000:04x}"
        path, chain = folder / f"{run_id}.jsonl", Chain(run_id)
        lines = [chain.append(event, fields, begun + after)[1] for event, fields, after in _story(number, begun)]
        size += path.write_bytes(b"".join(lines))
        os.utime(path, (an_hour_ago, an_hour_ago))
    return size


def _story(number: int, begun: datetime) -> Iterator[tuple[str, dict[str, Any], timedelta]]:
    down = number % 2 == 0
    action, before, after = ("stop", "running", "stopped") if down else ("start", "stopped", "running")
    second = timedelta(seconds=1)
    playbook = {"name": "nightly" if down else "morning"}
    yield "run.started", {"playbook": playbook, "cloud_url": "https://cloud.example", "simulated": False}, 0 * second
    targets = [
        {"step": action, "action": action, "cvm": _cvm(each), "status": before, "billing": _BILL}
        for each in range(_TARGETS)
    ]
    others = range(_TARGETS, _TARGETS + _OTHERS)
    skipped = [{"cvm": _cvm(each), "status": "running", "reason": "not selected"} for each in others]
    planned = {"targets": targets, "skipped": skipped, "steps": [], "read_at": timestamp(begun)}
    yield "run.planned", planned, 0 * second
    for each in range(_TARGETS):
        about = {"step": action, "action": action, "cvm": _cvm(each), "attempt": 1}
        yield "action.intent", about, (1 + each) * second
        yield "action.accepted", {**about, "observed": False, "billing": _BILL}, (1 + each) * second
        yield "target.status", {**about, "status": "stopping" if down else "starting"}, (2 + each) * second
        settled = {**about, "outcome": "settled", "status": after, "seconds": 4.0}
        yield "target.settled", settled, (5 + each) * second
    yield "run.finished", {"exit_code": 0, "ending": "completed"}, timedelta(minutes=1)


def _cvm(number: int) -> dict[str, Any]:
    return {
        "id": f"cvm_{number * 0x9E3779B97F4A7C15 % 2**64:016x}",
        "vm_uuid": f"{number * 0xD1B54A32D192ED03B97F4A7C15 % 2**128:032x}",
        "name": f"worker-{number}",
        "app_id": f"{number % 7:040x}",
        "teepod_id": number % 5,
        "teepod": f"prod-{number % 5}",
    }


if __name__ == "__main__":
    main()
