"""The page of a run: live while a process carries the run out, and the report afterwards. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.outcome import AS_WANTED, TROUBLE, Outcome
from orchestrator.report.full.blocks import Mood, Report
from orchestrator.report.full.html import render_blocks, render_section
from orchestrator.report.full.phrases import stage_mark
from orchestrator.report.full.sections import describe_counts, describe_guards, describe_skipped
from orchestrator.report.full.timeline import RunTimeline
from orchestrator.report.html.elements import Cell, Content, e, facts, table
from orchestrator.report.layout import moment
from orchestrator.report.plan.sections import step_lines, targets_ahead
from orchestrator.report.run.progress import describe_wave, time_left
from orchestrator.runs.records import steps_from
from orchestrator.service.page.frame import action_path, build_part, run_path
from orchestrator.text import safe_text
from orchestrator.times import format_clock, format_duration, parse_timestamp

WHO_ANSWERS = "an operator with a token, or `orchestrator approve` on the machine of the service"
_OPEN_STAGES = ("waiting", "sending", "unknown", "settling")
_RATE_SECONDS = 5.0
"""The time over which the present rate is measured."""
_SHOWN_FAILURES = 200
_PIECE = 100
"""Rows in a piece of the table of every CVM."""
_REASON = 300


@dataclass(frozen=True, slots=True)
class LiveRun:
    """The progress of a run at a moment.

    Attributes:
        run_id: the run.
        playbook: its playbook.
        actor: the person or the service behind the run.
        started_at: the start, as in the log.
        stages: the number of targets at every stage.
        teepods: the number of targets at every stage, by teepod.
        rate: requests of the last seconds, in requests per second.
        limit: the limit of the run in requests per second; None for a rate found during the run.
        seconds_left: an estimate of the remaining time; None while unknown.
        wave: the wave of the present step, in words; None without waves.
        question: the open question as recorded; None without a question.
        workspace: the name of the workspace; None for the default key.
        fleet: the fleet run; None for a single run.
    """

    run_id: str
    playbook: str
    actor: str
    started_at: str | None
    stages: Mapping[str, int]
    teepods: Mapping[str, Mapping[str, int]]
    rate: float
    limit: float | None
    seconds_left: float | None
    wave: str | None
    question: Mapping[str, Any] | None
    workspace: str | None = None
    fleet: str | None = None

    @property
    def total(self) -> int:
        """Number of targets."""
        return sum(self.stages.values())

    @property
    def done(self) -> int:
        """Number of targets with an outcome."""
        return _count_done(self.stages)

    @property
    def failed(self) -> int:
        """Number of targets with a problem."""
        return sum(number for stage, number in self.stages.items() if stage in TROUBLE)

    def document(self) -> dict[str, Any]:
        """Return the entry of `running` in `/api/overview`."""
        return {
            "run_id": self.run_id,
            "playbook": self.playbook,
            "actor": self.actor,
            "started_at": self.started_at,
            "workspace_name": self.workspace,
            "fleet": self.fleet,
            "stages": dict(self.stages),
            "targets": self.total,
            "done": self.done,
            "failed": self.failed,
            "requests_per_second": round(self.rate, 2),
            "limit_per_second": self.limit,
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "wave": self.wave,
        }


def measure_run(timeline: RunTimeline, now: datetime) -> LiveRun:
    """Measure the progress of a run."""
    state = timeline.state
    stages = {stage: number for stage, number in state.stages.items() if number}
    teepods: dict[str, Counter[str]] = {}
    for target in state.targets.values():
        if target.taken_up_by is None:
            teepods.setdefault(target.ref.teepod or "no teepod", Counter())[target.stage] += 1
    started, limits = state.started, state.started.limits
    limit = limits.get("requests_per_second")
    rate = _measure_rate(timeline, now)
    return LiveRun(
        run_id=state.run_id,
        playbook=str(started.playbook.get("name") or "unknown playbook"),
        actor=str(started.actor or "-"),
        started_at=started.record.get("ts"),
        stages=stages,
        teepods=teepods,
        rate=rate,
        limit=float(limit) if isinstance(limit, int | float) else None,
        seconds_left=_estimate_seconds_left(state, limit if isinstance(limit, int | float) else rate),
        wave=describe_wave(state),
        question=None if state.question is None else state.question.record,
        workspace=started.workspace_name,
        fleet=started.fleet,
    )


def _measure_rate(timeline: RunTimeline, now: datetime) -> float:
    started = timeline.state.started.record.get("ts")
    if started is None:
        return 0.0
    at = timeline.seconds_at(now.isoformat())
    count = 0
    for request in reversed(timeline.requests):
        if at - request.at > _RATE_SECONDS:
            break
        count += 1
    return count / max(min(_RATE_SECONDS, at), 1.0)


def _estimate_seconds_left(state: RunState, rate: float) -> float | None:
    """Estimate the remaining seconds, as the live view of `run` does; None during a question."""
    is_unknown = state.question is not None or not state.durations or not rate
    return time_left(state, rate, None if is_unknown else sorted(state.durations)[len(state.durations) // 2])


def _count_done(stages: Mapping[str, int]) -> int:
    return sum(number for stage, number in stages.items() if stage not in _OPEN_STAGES)


def describe_time_left(live: LiveRun) -> str:
    """Describe the remaining time."""
    if live.question is not None:
        return "waits for an answer"
    return "not known yet" if live.seconds_left is None else f"about {format_duration(round(live.seconds_left))}"


def describe_rate(live: LiveRun) -> str:
    """Describe the rate beside its limit."""
    limit = "found during the run" if live.limit is None else f"limit {live.limit:g}"
    return f"{live.rate:.1f} requests a second, {limit}"


def build_progress(done: int, total: int, words: str) -> Element:
    """Make a progress bar with its numbers."""
    bar = e("progress", value=str(done), max=str(max(total, 1)), aria_label=words)
    return e("span", bar, f" {done:,} of {total:,}", cls="progress")


def build_live_parts(timeline: RunTimeline, now: datetime, *, has_actions: bool) -> Iterator[Element]:
    """Make the live parts of the page, in order.

    Args:
        timeline: the records so far.
        now: the time of day.
        has_actions: whether the service has tokens for actions.
    """
    live = measure_run(timeline, now)
    yield build_part("question", "Waits for an answer", *_build_question(timeline.state, now, has_actions=has_actions))
    yield build_part("progress", "Progress", *_build_progress(live))
    yield build_part("failures", "Failures", *_build_failures(timeline.state))
    yield build_part("teepods", "By teepod", *_build_teepods(live))


def _build_question(state: RunState, now: datetime, *, has_actions: bool) -> Iterator[Content]:
    question = state.question
    if question is None:
        return
    steps = steps_from(state.planned.steps)
    number = next((n for n, step in enumerate(steps, start=1) if step.name == question.step), 0)
    ahead = [line for n, line in step_lines(steps, *targets_ahead(state)) if n > number]
    expires_at = parse_timestamp(question.expires_at)
    left = format_duration(max(0, round((expires_at - now).total_seconds())))
    yield e("blockquote", *_split_lines(question.question))
    yield facts(
        [
            ("Step", f"{number} of {len(steps)}: {question.step}"),
            ("Until", f"{format_clock(expires_at, now)}, {left} from now; without an answer the run ends"),
            ("Then", [e("span", line, cls="line") for line in ahead] or "the run ends"),
            ("Who", WHO_ANSWERS),
        ]
    )
    run_id = state.run_id
    if has_actions:
        key = {"question": question.hash}
        yield e(
            "p",
            e("a", "Approve …", href=action_path(f"{run_path(run_id)}/approve", key), cls="button"),
            " ",
            e("a", "Refuse …", href=action_path(f"{run_path(run_id)}/refuse", key), cls="button"),
        )
    yield e("pre", e("code", f"orchestrator approve {run_id}"))


def _split_lines(text: str) -> list[Content]:
    parts: list[Content] = []
    for line in text.strip().splitlines()[:20]:
        parts += [safe_text(line, 400), e("br")]
    return parts[:-1]


def _build_progress(live: LiveRun) -> Iterator[Content]:
    yield e("p", build_progress(live.done, live.total, "CVMs with an outcome"), cls="whole")
    yield from render_blocks([describe_counts(live.stages)])
    pairs: list[tuple[str, Cell]] = [("Time left", describe_time_left(live)), ("Rate", describe_rate(live))]
    if live.wave is not None:
        pairs.append(("Wave", live.wave))
    yield facts(pairs)


def _build_failures(state: RunState) -> Iterator[Content]:
    failed = [
        target
        for target in state.targets.values()
        if target.taken_up_by is None and target.outcome is not None and target.outcome in TROUBLE
    ]
    if not failed:
        return
    rows = [
        (
            name_cvm(target),
            target.ref.teepod or "-",
            f"{stage_mark(target.stage)} {target.stage}",
            safe_text(target.reason, _REASON),
            "-" if target.http_status is None else str(target.http_status),
            safe_text(target.request_id, 64),
        )
        for target in failed[:_SHOWN_FAILURES]
    ]
    head = (("CVM", ""), ("teepod", ""), ("outcome", "nowrap"), ("reason", "words"), ("HTTP", "num"), ("request", "id"))
    yield table("CVMs with a problem, and the words of the API", head, rows)
    if len(failed) > _SHOWN_FAILURES:
        yield e("p", f"{len(failed) - _SHOWN_FAILURES:,} more: see the table of every CVM.")


def _build_teepods(live: LiveRun) -> Iterator[Content]:
    rows = []
    for teepod, stages in sorted(live.teepods.items()):
        total, done = sum(stages.values()), _count_done(stages)
        bad = sum(number for stage, number in stages.items() if stage in TROUBLE)
        rest = ", ".join(f"{number:,} {stage}" for stage, number in stages.items() if stage not in AS_WANTED)
        rows.append((teepod, [build_progress(done, total, f"CVMs of {teepod}")], f"{bad:,}", rest or "-"))
    if rows:
        yield table(
            "CVMs with an outcome, by teepod",
            (("teepod", ""), ("done", ""), ("with a problem", "num"), ("not as wanted yet", "words")),
            rows,
        )


def build_cvm_table(state: RunState) -> Element:
    """Make the table of every CVM, with a row for each target.

    The table is in pieces, because a browser lays out only the pieces on the screen.
    """
    rows = [build_cvm_row(number, target) for number, target in enumerate(state.targets.values())]
    titles = ("CVM", "teepod", "action", "outcome", "status", "sent", "ended", "reason")
    pieces = []
    for first in range(0, len(rows), _PIECE):
        part = rows[first : first + _PIECE]
        head = e("thead", e("tr", *(e("th", title, scope="col") for title in titles)))
        caption = e(
            "caption", f"CVMs {first + 1:,} to {first + len(part):,} of {len(rows):,}, in the order of the plan"
        )
        pieces.append(e("div", e("table", caption, head, e("tbody", *part)), cls="piece"))
    return e("div", *pieces, cls="scroll", role="region", aria_label="Table of every CVM", tabindex="0")


def build_cvm_row(number: int, target: TargetState) -> Element:
    """Make the row of a target: its story so far."""
    stage = target.stage
    mood = "good" if stage in AS_WANTED else "bad" if stage in TROUBLE else None
    action = target.action if target.escalated_at is None else f"{target.action}, then {target.current_action}"
    if target.taken_up_by is not None:
        action = f"{action}, then step {target.taken_up_by}"
    reason = safe_text(target.reason, _REASON) if target.reason else ""
    if target.outcome is Outcome.NOT_SENT and not reason:
        reason = "not sent: the run ended before"
    return e(
        "tr",
        e("th", *name_cvm(target), scope="row"),
        e("td", target.ref.teepod or "-"),
        e("td", action),
        e("td", f"{stage_mark(stage)} ", e("b", stage), cls="nowrap" if mood is None else f"nowrap {mood}"),
        e("td", target.status or target.before or "-"),
        e("td", _clock(target.first_sent_at), cls="num"),
        e("td", _clock(target.ended_at), cls="num"),
        e("td", reason, cls="words"),
        id=row_id(number),
    )


def row_id(number: int) -> str:
    """Return the id of a target's row."""
    return f"cvm-{number}"


def name_cvm(target: TargetState) -> list[Content]:
    """Name the CVM of a target, with its identifier below."""
    ref = target.ref
    return [safe_text(ref.name, 120) or "(no name)", e("span", ref.id or ref.vm_uuid or "-", cls="sub mono")]


def _clock(ts: str | None) -> str:
    return "-" if ts is None else ts[11:19]


def build_live_main(
    timeline: RunTimeline, document: Mapping[str, Any], now: datetime, *, has_actions: bool, may_cancel: bool
) -> Iterator[Content]:
    """Make the main part of the page of a run in progress.

    Args:
        timeline: the records so far.
        document: the document of the report so far.
        now: the time of day.
        has_actions: whether the service has tokens for actions.
        may_cancel: whether the service can cancel the run.
    """
    state, run = timeline.state, document["run"]
    name = str(run["playbook"].get("name") or "unknown playbook")
    yield e("h1", "Run of ", e("bdi", name))
    by = f" by {run['actor'] or '-'}"
    yield e("p", "Run ", e("code", state.run_id), f" started {moment(run['started_at'])}{by}", cls="soft")
    yield e("p", f"… {safe_text(run['meaning'])}", cls="banner", id="headline")
    if has_actions and may_cancel:
        yield build_cancel_link(state.run_id)
    yield from build_live_parts(timeline, now, has_actions=has_actions)
    yield build_part("cvms", "Every CVM", build_cvm_table(state))
    yield render_section(describe_guards(document))
    yield render_section(describe_skipped(document))


def build_cancel_link(run_id: str) -> Element:
    """Make the link to the confirmation page of a cancellation."""
    return e("p", e("a", "Cancel the run …", href=f"{run_path(run_id)}/cancel", cls="button"))


def build_report_main(report: Report) -> Iterator[Content]:
    """Make the main part of the page of an ended run: the report."""
    mood = "banner" if report.mood is Mood.OPEN else f"banner {report.mood}"
    yield e("h1", f"{report.noun} of ", e("bdi", report.playbook))
    yield e("p", f"{report.noun} ", e("code", report.run_id), f" started {report.started_at}", cls="soft")
    yield e("p", report.headline, cls=mood, id="headline")
    links = [e("li", e("a", section.title, href=f"#{section.name}")) for section in report.sections]
    yield e("nav", e("ul", *links), aria_label="Sections")
    yield from map(render_section, report.sections)
    yield e("p", report.foot, cls="soft")
