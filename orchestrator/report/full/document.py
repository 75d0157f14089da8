"""The report of a run as a document: the common source of every format of `orchestrator report`."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from shlex import quote
from typing import Any

from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.moment import parse_timestamp, timestamp
from orchestrator.playbook.plan_warning import warning_document
from orchestrator.report.exit_meanings import meaning_of_run
from orchestrator.report.full.money import charge_document, money_document
from orchestrator.report.full.timeline import Line, Request, RunTimeline
from orchestrator.runs.documents import counts_of
from orchestrator.skip_reason import with_code

FORMAT = 1
"""The version of the document; it grows when a field changes its meaning."""

_MOST_BINS = 120
_SECONDS_A_BIN = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)
_SHOWN_OF_SKIPPED = 20
_OF_EVERY_RECORD = {"v", "seq", "run_id", "event", "prev", "hash"}


@dataclass(frozen=True, slots=True)
class LogFile:
    """The log file behind a report.

    Attributes:
        path: the path of the file.
        size: the size in bytes.
        sha256: the digest of the whole file, in hex.
        reading: the result of reading the file.
        running: whether a process was carrying the run out.
    """

    path: Path
    size: int
    sha256: str
    reading: Reading
    running: bool = False


def report_document(story: RunTimeline, log: LogFile, *, made_at: datetime, version: str) -> dict[str, Any]:
    """Build the document of `report --format json`, also the source of the other formats.

    Args:
        story: the log's records; of an altered log, the records before the altered line.
        log: the log file.
        made_at: the wall clock.
        version: the version of this program.
    """
    state, standing = story.state, _standing(story, log)
    return {
        "report": FORMAT,
        "made_at": timestamp(made_at),
        "made_by": f"orchestrator {version}",
        "run": _run(story, log),
        "counts": counts_of(state),
        "stages": _stages(state, standing),
        "targets": [
            _target(target, story.lines.get((target.step, target.ref.key), Line()), standing)
            for target in state.targets.values()
        ],
        "times": _times(story),
        "requests": _requests(story),
        "moments": [
            {"ts": each.ts, "at_s": each.at, "event": each.event, "fields": each.fields} for each in story.moments
        ],
        "guards": state.planned.guards,
        "warnings": [warning_document(each)["message"] for each in state.planned.warnings],
        "skipped": _skipped(story),
        "billing": money_document(state),
        "log": _log(story, log),
    }


def _run(story: RunTimeline, log: LogFile) -> dict[str, Any]:
    state, started = story.state, story.state.started
    code = state.finished.exit_code if state.finished else None
    last = (state.finished.ts if state.finished is not None else state.last_ts) or None
    kept = ("vars", "actor", "version", "cloud_url", "trigger", "plan_file", "restores", "limits")
    return {
        "run_id": state.run_id or log.path.stem,
        "playbook": started.playbook,
        **{key: started.record.get(key) for key in kept},
        "simulated": state.simulated,
        "cloud_ended": state.cloud_ended,
        "steps": state.planned.steps,
        "workspace_size": state.planned.record.get("workspace_size"),
        "state": _standing(story, log),
        "exit_code": code,
        "ending": _ending(state),
        "meaning": _meaning(story, log),
        "started_at": started.record.get("ts"),
        "ended_at": last,
        "seconds": _between(started.record.get("ts"), last),
        "deadline": _deadline(story),
        "paused_s": [round(each, 3) for each in story.pauses],
    }


def _ending(state: RunState) -> str | None:
    if state.finished is not None:
        return state.finished.ending
    return None if state.interrupted is None else state.interrupted.reason


def _stages(state: RunState, standing: str) -> dict[str, int]:
    """Count the targets at every stage, by the last record about every CVM."""
    last_words = (target for target in state.targets.values() if target.taken_up_by is None)
    return dict(Counter(_stage(target, standing) for target in last_words))


def _stage(target: TargetState, standing: str) -> str:
    """Return the outcome of a target; in an unfinished run, the stage of a target without an outcome."""
    return target.outcome_so_far.value if standing == "finished" else target.stage


def _deadline(story: RunTimeline) -> dict[str, Any] | None:
    """Return the planned deadline and its result; None without a deadline."""
    promised = story.state.planned.deadline
    if not promised:
        return None
    finished = story.state.finished
    kept = (finished.deadline if finished is not None else None) or {}
    return {"seconds": promised["seconds"], "met": kept.get("met"), "late": kept.get("late")}


def _standing(story: RunTimeline, log: LogFile) -> str:
    if log.reading.verdict is Verdict.ALTERED:
        return "altered"
    if story.state.finished is not None:
        return "finished"
    if log.running:
        return "running"
    return "unfinished" if story.state.has_plan else "not_sent"


def _meaning(story: RunTimeline, log: LogFile) -> str:
    if log.reading.verdict is Verdict.ALTERED:
        return f"the log was altered at line {log.reading.line}: only what stands before it is told"
    return meaning_of_run(story.state, running=log.running)


def _between(start: str | None, end: str | None) -> float | None:
    if start is None or end is None:
        return None
    return round((parse_timestamp(end) - parse_timestamp(start)).total_seconds(), 3)


def _target(target: TargetState, line: Line, standing: str) -> dict[str, Any]:
    return {
        "step": target.step,
        "action": target.action,
        "escalated_to": line.escalated,
        "escalated_s": line.escalated_at,
        "planned_s": line.planned,
        "taken_up_by": target.taken_up_by,
        "wave": target.wave,
        "cvm": target.ref.document(),
        "before": target.before,
        "outcome": target.outcome_so_far.value,
        "stage": _stage(target, standing),
        "status": target.status,
        "reason": target.reason,
        "http_status": target.http_status,
        "request_id": target.request_id,
        "attempts": target.attempts,
        "intent_at": target.first_sent_at,
        "accepted_at": target.first_accepted_at,
        "observed": line.observed,
        "ended_at": target.ended_at,
        "intent_s": line.intent,
        "accepted_s": line.accepted,
        "ended_s": line.ended,
        "seconds": target.seconds,
        "billing": None if target.billing is None else {"triggered_at": line.triggered_at, **target.billing},
        "charge": charge_document(target),
    }


def _times(story: RunTimeline) -> dict[str, Any]:
    """Return the durations of the accepted targets in seconds, if known from the log."""
    lines = [line for line in story.lines.values() if line.intent is not None and line.accepted is not None]
    waits = [line.accepted - line.intent for line in lines if line.accepted is not None and line.intent is not None]
    settling = [line.ended - line.accepted for line in lines if line.accepted is not None and line.ended is not None]
    return {
        "length_s": story.last,
        "intent_to_accepted_s": _spread(waits),
        "accepted_to_end_s": _spread(settling),
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    """Return the values not exceeded by half, nine tenths and all of the values."""
    if not values:
        return None
    ordered = sorted(max(0.0, value) for value in values)
    ranks = {"half": 0.5, "nine_tenths": 0.9, "all": 1.0}
    return {name: round(ordered[ceil(len(ordered) * share) - 1], 3) for name, share in ranks.items()}


def _requests(story: RunTimeline) -> dict[str, Any]:
    sent = [request for request in story.requests if request.sent]
    limit = story.state.started.limits.get("requests_per_second")
    width = next((size for size in _SECONDS_A_BIN if story.last / size <= _MOST_BINS), _SECONDS_A_BIN[-1])
    bins = int(story.last // width) + 1
    return {
        "sent": len(sent),
        "answers": dict(sorted(Counter(request.answer for request in sent).items())),
        "announced_and_not_sent": len(story.requests) - len(sent),
        "limit_per_second": limit,
        "busiest_second": max(Counter(int(request.at) for request in sent).values(), default=0),
        "seconds_a_bin": width,
        "bins": _counted(sent, width, bins),
        "bins_without_effect": _counted([each for each in sent if each.answer != "accepted"], width, bins),
    }


def _counted(requests: list[Request], width: int, bins: int) -> list[int]:
    counts = Counter(min(int(request.at // width), bins - 1) for request in requests)
    return [counts[number] for number in range(bins)]


def _skipped(story: RunTimeline) -> list[dict[str, Any]]:
    """Group the CVMs left alone by reason, the most frequent first."""
    groups: dict[tuple[str, str | None], list[str]] = {}
    for entry in map(with_code, story.skipped):
        key = str(entry.get("reason")), entry["code"]
        groups.setdefault(key, []).append(str((entry.get("cvm") or {}).get("name")))
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [
        {"reason": reason, "code": code, "count": len(names), "names": names[:_SHOWN_OF_SKIPPED]}
        for (reason, code), names in ordered
    ]


def _log(story: RunTimeline, log: LogFile) -> dict[str, Any]:
    reading = log.reading
    # A log in the runs directory is named by its run's id; any other log by its path.
    name = log.path.stem if log.path.parent.name == "runs" else quote(str(log.path))
    seal = story.seal
    key = "" if seal is None else " --public-key KEY.pem"
    return {
        "path": str(log.path),
        "bytes": log.size,
        "sha256": log.sha256,
        "records": reading.records,
        "digest": reading.chain.prev if reading.records else None,
        "verdict": reading.verdict.value,
        "line": reading.line,
        "reason": reading.reason,
        "seal": None if seal is None else {key: seal[key] for key in sorted(seal.keys() - _OF_EVERY_RECORD)},
        "verify": [f"orchestrator audit verify {name}{key}", f"sha256sum {quote(log.path.name)}"],
    }
