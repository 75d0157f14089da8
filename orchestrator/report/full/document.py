"""The report of a run as a document: the common source of every format of `orchestrator report`."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from shlex import quote
from typing import Any

from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.outcome import with_code
from orchestrator.playbook.plan_warning import warning_document
from orchestrator.report.full.money import build_billing, build_charge
from orchestrator.report.full.timeline import Request, RunTimeline, TargetTimeline
from orchestrator.report.phrases import meaning_of_run
from orchestrator.times import parse_timestamp, timestamp

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


def build_report_document(timeline: RunTimeline, log: LogFile, *, made_at: datetime, version: str) -> dict[str, Any]:
    """Build the document of `report --format json`, also the source of the other formats.

    Args:
        timeline: the log's records; of an altered log, the records before the altered line.
        log: the log file.
        made_at: the wall clock.
        version: the version of this program.
    """
    state, run_state = timeline.state, _run_state(timeline, log)
    return {
        "report": FORMAT,
        "made_at": timestamp(made_at),
        "made_by": f"orchestrator {version}",
        "run": _describe_run(timeline, log),
        "counts": state.counts_so_far,
        "stages": _count_stages(state, run_state),
        "targets": [
            _describe_target(target, timeline.targets.get((target.step, target.ref.key), TargetTimeline()), run_state)
            for target in state.targets.values()
        ],
        "times": _measure_durations(timeline),
        "requests": _count_requests(timeline),
        "moments": [
            {"ts": each.ts, "at_s": each.at, "event": each.event, "fields": each.fields} for each in timeline.incidents
        ],
        "guards": state.planned.guards,
        "warnings": [warning_document(each)["message"] for each in state.planned.warnings],
        "skipped": _group_skipped(timeline),
        "billing": build_billing(state),
        "log": describe_log_file(log, timeline.seal),
    }


def _describe_run(timeline: RunTimeline, log: LogFile) -> dict[str, Any]:
    state, started = timeline.state, timeline.state.started
    code = state.finished.exit_code if state.finished else None
    last = (state.finished.ts if state.finished is not None else state.last_ts) or None
    kept = ("vars", "actor", "version", "cloud_url", "trigger", "plan_file", "restores", "wakes", "narrowed", "limits")
    return {
        "run_id": state.run_id or log.path.stem,
        "playbook": started.playbook,
        **{key: started.record.get(key) for key in kept},
        **({} if started.workspace_name is None else {"workspace_name": started.workspace_name}),
        **({} if started.break_freeze is None else {"break_freeze": started.break_freeze}),
        **({} if started.ignore_keep is None else {"ignore_keep": started.ignore_keep}),
        **({} if started.approval is None else {"approval": started.approval}),
        **({} if started.fleet is None else {"fleet": started.fleet}),
        "simulated": state.is_simulated,
        "cloud_ended": state.cloud_ended,
        "steps": state.planned.steps,
        "workspace_size": state.planned.record.get("workspace_size"),
        "state": _run_state(timeline, log),
        "exit_code": code,
        "ending": _ending_code(state),
        "meaning": _end_in_words(timeline, log),
        "started_at": started.record.get("ts"),
        "ended_at": last,
        "seconds": seconds_between(started.record.get("ts"), last),
        "deadline": _deadline_result(timeline),
        "paused_s": [round(each, 3) for each in timeline.pauses],
    }


def _ending_code(state: RunState) -> str | None:
    """Return the recorded ending; None before the end, and for an end without a recorded ending."""
    if state.finished is not None:
        return state.finished.record.get("ending")
    return None if state.interrupted is None else state.interrupted.reason


def _count_stages(state: RunState, run_state: str) -> dict[str, int]:
    """Count the targets at every stage, by the last record about every CVM."""
    last_words = (target for target in state.targets.values() if target.taken_up_by is None)
    return dict(Counter(_stage_of(target, run_state) for target in last_words))


def _stage_of(target: TargetState, run_state: str) -> str:
    """Return the outcome of a target; in an unfinished run, the stage of a target without an outcome."""
    return target.outcome_so_far.value if run_state == "finished" else target.stage


def _deadline_result(timeline: RunTimeline) -> dict[str, Any] | None:
    """Return the planned deadline and its result; None without a deadline."""
    promised = timeline.state.planned.deadline
    if not promised:
        return None
    finished = timeline.state.finished
    kept = (finished.deadline if finished is not None else None) or {}
    return {"seconds": promised["seconds"], "met": kept.get("met"), "late": kept.get("late")}


def _run_state(timeline: RunTimeline, log: LogFile) -> str:
    if log.reading.verdict is Verdict.ALTERED:
        return "altered"
    if timeline.state.finished is not None:
        return "finished"
    if log.running:
        return "running"
    return "unfinished" if timeline.state.has_plan else "not_sent"


def _end_in_words(timeline: RunTimeline, log: LogFile) -> str:
    if log.reading.verdict is Verdict.ALTERED:
        return f"the log was altered at line {log.reading.line}: the report covers only the records before"
    return meaning_of_run(timeline.state, running=log.running)


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Return the seconds between two timestamps; None without one of both."""
    if start is None or end is None:
        return None
    return round((parse_timestamp(end) - parse_timestamp(start)).total_seconds(), 3)


def _describe_target(target: TargetState, times: TargetTimeline, run_state: str) -> dict[str, Any]:
    return {
        "step": target.step,
        "action": target.action,
        "escalated_to": times.escalated,
        "escalated_s": times.escalated_at,
        "planned_s": times.planned,
        "taken_up_by": target.taken_up_by,
        "wave": target.wave,
        "cvm": target.ref.document(),
        "before": target.before,
        "outcome": target.outcome_so_far.value,
        "stage": _stage_of(target, run_state),
        "status": target.status,
        "reason": target.reason,
        "http_status": target.http_status,
        "request_id": target.request_id,
        "attempts": target.attempts,
        "intent_at": target.first_sent_at,
        "accepted_at": target.first_accepted_at,
        "observed": times.observed,
        "ended_at": target.ended_at,
        "intent_s": times.intent,
        "accepted_s": times.accepted,
        "ended_s": times.ended,
        "seconds": target.seconds,
        "billing": None if target.billing is None else {"triggered_at": times.triggered_at, **target.billing},
        "charge": build_charge(target),
    }


def _measure_durations(timeline: RunTimeline) -> dict[str, Any]:
    """Return the durations of the accepted targets in seconds, if known from the log."""
    accepted = [each for each in timeline.targets.values() if each.intent is not None and each.accepted is not None]
    waits = [each.accepted - each.intent for each in accepted if each.accepted is not None and each.intent is not None]
    settling = [each.ended - each.accepted for each in accepted if each.accepted is not None and each.ended is not None]
    return {
        "length_s": timeline.last,
        "intent_to_accepted_s": _find_quantiles(waits),
        "accepted_to_end_s": _find_quantiles(settling),
    }


def _find_quantiles(values: list[float]) -> dict[str, float] | None:
    """Return the values not exceeded by half, nine tenths and all of the values."""
    if not values:
        return None
    ordered = sorted(max(0.0, value) for value in values)
    ranks = {"half": 0.5, "nine_tenths": 0.9, "all": 1.0}
    return {name: round(ordered[ceil(len(ordered) * share) - 1], 3) for name, share in ranks.items()}


def _count_requests(timeline: RunTimeline) -> dict[str, Any]:
    sent = [request for request in timeline.requests if request.sent]
    limit = timeline.state.started.limits.get("requests_per_second")
    width = next((size for size in _SECONDS_A_BIN if timeline.last / size <= _MOST_BINS), _SECONDS_A_BIN[-1])
    bins = int(timeline.last // width) + 1
    return {
        "sent": len(sent),
        "answers": dict(sorted(Counter(request.answer for request in sent).items())),
        "announced_and_not_sent": len(timeline.requests) - len(sent),
        "limit_per_second": limit,
        "busiest_second": max(Counter(int(request.at) for request in sent).values(), default=0),
        "seconds_a_bin": width,
        "bins": _count_in_bins(sent, width, bins),
        "bins_without_effect": _count_in_bins([each for each in sent if each.answer != "accepted"], width, bins),
    }


def _count_in_bins(requests: list[Request], width: int, bins: int) -> list[int]:
    counts = Counter(min(int(request.at // width), bins - 1) for request in requests)
    return [counts[number] for number in range(bins)]


def _group_skipped(timeline: RunTimeline) -> list[dict[str, Any]]:
    """Group the skipped CVMs by reason, the most frequent first."""
    groups: dict[tuple[str, str | None], list[str]] = {}
    for entry in map(with_code, timeline.skipped):
        key = str(entry.get("reason")), entry["code"]
        groups.setdefault(key, []).append(str((entry.get("cvm") or {}).get("name")))
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [
        {"reason": reason, "code": code, "count": len(names), "names": names[:_SHOWN_OF_SKIPPED]}
        for (reason, code), names in ordered
    ]


def describe_log_file(log: LogFile, seal: Record | None = None) -> dict[str, Any]:
    """Describe a log: its file, its digests, the verdict, and the commands to verify the log."""
    reading = log.reading
    # A log in the state folder is named by the id of its run; any other log by its path.
    name = log.path.stem if log.path.parent.name in {"runs", "fleets"} else quote(str(log.path))
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
