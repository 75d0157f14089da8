"""What is told of a run, and when: from the audit log's records to notices. Pure.

A run in trouble is told of once while it goes on, by its first failure, and once when it ends, with everything that
came after. A thousand CVMs that fail are two notices.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.notify import words
from orchestrator.notify.notice import Notice, notice_about
from orchestrator.outcome import ENDS_THE_RUN, Exit
from orchestrator.playbook.value_types import NoticeKind

_MOST_TROUBLES = 5
"""How many of the CVMs that did not end as wanted are named in a notice."""

_TROUBLE = "target.failed"


def opening(state: RunState) -> Notice:
    """What is told when this process begins to carry a run out.

    Args:
        state: what the log says, up to and with `run.planned`, or `run.resumed` where it is resumed.
    """
    record = {"seq": state.events.total(), "run_id": state.run_id, "ts": state.last_ts}  # a log's numbers have no gap
    if state.events["run.resumed"]:
        still_open = sum(target.outcome is None for target in state.targets.values())
        headline = f" resumed: {still_open} of {words.cvms(state.cvms)} are still open"
        return notice_about(
            record | {"event": "run.resumed"}, state, {"start"}, headline, _who(state), facts={"open": still_open}
        )
    headline = f" started: {words.to_do(target.action for target in state.targets.values())}"
    return notice_about(state.started, state, {"start"}, headline, _who(state), facts={})


def notice_of(record: Record, state: RunState) -> Notice | None:
    """What is told because of a record; None where it is nothing.

    Args:
        record: a record of the audit log.
        state: what the log says, with that record.
    """
    event = record["event"]
    if event == _TROUBLE:
        return _first_trouble(record, state)
    tell = _TELL.get(event)
    return tell(record, state) if tell else None


def notice_of_early_end(state: RunState, reason: str) -> Notice:
    """What is told when a run ends because its log can't be written: no record will ever say so.

    Args:
        state: what the log says.
        reason: what is wrong with it.
    """
    record = {"seq": "log", "run_id": state.run_id, "ts": state.last_ts, "event": "run.interrupted"}
    facts = {"reason": "log_failed", "exit_code": int(Exit.ENDED_EARLY), "counts": words.counts(state)}
    headline = " ended early: the audit log failed"
    return notice_about(record, state, {"end", "failure"}, headline, (words.one_line(reason),), facts=facts)


def refused(
    playbook: str, reason: str, exit_code: int, *, number: str, at: str, actor: str, cloud_url: str, simulated: bool
) -> Notice:
    """What is told when a run that nobody watches did not begin: a guard, no match, or the cloud.

    Args:
        playbook: its name.
        reason: why, in words.
        exit_code: of the command.
        number: what makes the notice's id one of its own.
        at: the moment, as logs write it.
        actor: user@host.
        cloud_url: where the run was to be.
        simulated: whether that was a simulation.
    """
    facts: dict[str, object] = {
        "event": "refused",
        "ts": at,
        "run_id": None,
        "playbook": playbook,
        "actor": actor,
        "cloud_url": cloud_url,
        "simulated": simulated,
        "targets": 0,
        "commands": [],
        "exit_code": exit_code,
        "reason": reason,
    }
    headline = f"{words.one_line(playbook, 100)} did not start (exit {exit_code}); nothing was changed"
    return Notice(
        id=f"refused-{number}",
        event="refused",
        kinds=frozenset({"failure"}),
        headline=f"[simulated] {headline}" if simulated else headline,
        lines=(words.one_line(reason, 1000), f"by {words.one_line(actor)}, at {words.one_line(cloud_url)}"),
        facts=facts,
    )


def _first_trouble(record: Record, state: RunState) -> Notice | None:
    """The first target of the run that did not end as wanted; the end tells of the others."""
    target = state.troubles[-1]
    if target.outcome not in ENDS_THE_RUN or any(each is not target for each in _in_trouble(state)):
        return None
    lines = (f"{words.step(target.step)}; of further failures you hear when the run ends",)
    headline = f", a first failure among {words.cvms(state.cvms)}: {_in_words(target)}"
    return notice_about(record, state, {"failure"}, headline, lines, facts={"failures": [_document(target)]})


def _finished(record: Record, state: RunState) -> Notice:
    code, counts = record["exit_code"], record["counts"]
    facts = {
        "exit_code": code,
        "ending": record["ending"],
        "counts": counts,
        "money": record["money"],
        "seconds": words.seconds_between(state.started["ts"], record["ts"]),
        "failures": [_document(target) for target in _troubled(state)],
    }
    lines = [
        f"took {words.duration(facts['seconds'])}{words.ends(record['money'])}",
        *map(_in_words, _troubled(state)),
    ]
    failed = sum(counts.get(each, 0) for each in ENDS_THE_RUN)
    deadline = record.get("deadline")
    if deadline is not None:
        facts["deadline"] = deadline
        lines += [] if deadline["met"] else [f"missed its deadline: {words.cvms(deadline['late'])} too late"]
    if failed > len(_troubled(state)) > 0:
        lines.append(f"and {failed - len(_troubled(state))} more")
    kinds: set[NoticeKind] = {"end"} if code == Exit.OK else {"end", "failure"}
    headline = f" {words.ended(code, record['ending'])}: {words.tally(counts)} (exit {code})"
    return notice_about(
        record, state, kinds, headline, tuple(lines), facts=facts, commands=(f"orchestrator show {state.run_id}",)
    )


def _interrupted(record: Record, state: RunState) -> Notice:
    code = record.get("exit_code")
    headline = f" {words.INTERRUPTED.get(record['reason'], 'interrupted')}: {words.tally(words.counts(state))}"
    facts = {"reason": record["reason"], "exit_code": code, "counts": words.counts(state), "open": record["open"]}
    commands = () if state.cloud_ended else (f"orchestrator resume {state.run_id}",)
    return notice_about(record, state, {"end", "failure"}, headline, (), facts=facts, commands=commands)


def _requested(record: Record, state: RunState) -> Notice:
    facts = {key: record.get(key) for key in ("step", "question", "expires_at")}
    question, *lines = words.paragraph(record["question"])
    lines.append(
        f"{words.step(record['step'])}, until {words.moment(record['expires_at'])}; then it ends as if refused"
    )
    headline = f" waits for approval: {question}"
    return notice_about(
        record,
        state,
        {"approval"},
        headline,
        tuple(lines),
        facts=facts,
        commands=(f"orchestrator approve {state.run_id}",),
    )


def _answered(record: Record, state: RunState) -> Notice:
    facts = {key: record.get(key) for key in ("step", "answer", "by", "via", "comment")}
    by = f" by {words.one_line(record['by'])}" if record.get("by") else ""
    via = f" ({words.one_line(record['via'])})" if record.get("via") else ""
    answer = words.one_line(str(record["answer"]).replace("_", " "))
    comment = words.paragraph(record["comment"]) if record.get("comment") else []
    headline = f", {words.step(record['step'])}: {answer}{by}{via}"
    return notice_about(record, state, {"approval"}, headline, tuple(comment), facts=facts)


def _said(record: Record, state: RunState) -> Notice:
    first, *more = words.paragraph(record["message"])
    facts = {"step": record["step"], "message": record["message"]}
    return notice_about(record, state, {"message"}, f": {first}", tuple(more), facts=facts)


_TELL = {
    "run.finished": _finished,
    "run.interrupted": _interrupted,
    "approval.requested": _requested,
    "approval.answered": _answered,
    "notice": _said,
}


def _who(state: RunState) -> tuple[str, ...]:
    started = state.started
    trigger = started.get("trigger") or {}
    by = f"by {words.one_line(started['actor'])}"
    if trigger.get("schedule"):
        by = f"by the schedule {words.one_line(trigger['schedule'])}"
    return (f"{by}, at {words.one_line(started['cloud_url'])}",)


def _troubled(state: RunState) -> list[TargetState]:
    """The last few targets that did not end as wanted, and that no later step took up."""
    return [each for each in state.troubles if each.outcome in ENDS_THE_RUN and not each.taken_up_by][-_MOST_TROUBLES:]


def _in_trouble(state: RunState) -> Iterator[TargetState]:
    """Every target that did not end as wanted; the last ones first, which nearly always answers who asks for two."""
    for target in chain(state.troubles, state.targets.values()):
        if target.outcome in ENDS_THE_RUN:
            yield target


def _in_words(target: TargetState) -> str:
    teepod = f" on {words.one_line(target.ref.teepod, 64)}" if target.ref.teepod else ""
    why = f": {words.one_line(target.reason)}" if target.reason else ""
    return f"{words.one_line(target.ref.name, 64)}{teepod} {target.outcome_so_far.value}{why}"


def _document(target: TargetState) -> dict[str, Any]:
    return {
        "step": target.step,
        "action": target.action,
        "cvm": target.ref.document(),
        "outcome": target.outcome_so_far.value,
        "reason": target.reason,
    }
