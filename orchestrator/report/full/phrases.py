"""The sentences of a report, the same in every format."""

from collections.abc import Mapping
from typing import Any

from orchestrator.billing.reconciled import ChargeState
from orchestrator.duration import format_duration
from orchestrator.outcome import AS_WANTED, TROUBLE
from orchestrator.report.formatting import dollars, moment
from orchestrator.skip_reason import summary_of

_Document = Mapping[str, Any]


STAGES = {
    "settled": "as wanted, and still so at the end",
    "gone": "deleted meanwhile",
    "skipped": "was as wanted already when its turn came",
    "refused": "the API refuses the action",
    "failed": "failed for good",
    "unsettled": "did not settle in time",
    "resurrected": "was down, and came up again",
    "not_sent": "nothing was sent",
    "waiting": "not sent yet",
    "sending": "sent, not answered yet",
    "unknown": "not known yet whether it had an effect",
    "settling": "accepted, on the way",
}
"""The outcomes for who has not read the reference, and the stages of targets that have none yet."""

READS_ARE_NOT_IN_THE_LOG = (
    "Only requests that change something are in the log. Status reads share the same limit and are not written down, "
    "so the run's real rate was higher than what is shown."
)


def headline(document: _Document) -> str:
    """Describe the end of the run in a line."""
    run = document["run"]
    code = "" if run["exit_code"] is None else f" (exit {run['exit_code']})"
    return f"{run['meaning'][:1].upper()}{run['meaning'][1:]}{code}"


def limit_words(document: _Document) -> str:
    """Describe the limits of the run."""
    limits = document["run"]["limits"] or {}
    rate = limits.get("requests_per_second")
    speed = (
        "a rate that it found out while it ran" if rate == "auto" else f"{rate:g} requests a second" if rate else None
    )
    parts = [
        speed,
        f"burst {limits['burst']}" if "burst" in limits else None,
        f"{limits['max_in_flight']} in flight" if "max_in_flight" in limits else None,
        f"{limits['per_teepod']} on one teepod" if "per_teepod" in limits else None,
        f"at most {limits['max_failures']} failures" if limits.get("max_failures") else None,
    ]
    return ", ".join(part for part in parts if part) or "-"


def trigger_words(document: _Document) -> str:
    """Name the trigger of the run."""
    run = document["run"]
    trigger, plan_file = run["trigger"], run["plan_file"]
    if trigger:
        return f"schedule {trigger.get('schedule')}, planned for {moment(trigger.get('planned'))}"
    if run["restores"]:
        return f"a person, to undo run {run['restores']}"
    return f"a person, with the plan file {plan_file.get('path')}" if plan_file else "a person"


def troubled(document: _Document) -> list[_Document]:
    """List the targets with a problem."""
    return [target for target in document["targets"] if ended_badly(target)]


def ended_badly(target: _Document) -> bool:
    """Check a target for a problem without a later follow-up step."""
    return target["stage"] in TROUBLE and target["taken_up_by"] is None


def seal_words(seal: _Document) -> str:
    """Say by whom and when the log was sealed. A report does not check the seal."""
    line = (seal.get("covers") or {}).get("lines")
    until = f", up to line {line}" if line else ""
    key = f"with the key {seal.get('key_id')} (not checked here)"
    return f"by {seal.get('by')}, {moment(seal.get('sealed_at'))}{until}, {key}"


def named(target: _Document) -> str:
    """Return the name of a target's CVM, or a note about the missing name."""
    return str(target["cvm"]["name"]) or "(no name)"


def why(target: _Document) -> str:
    """Explain the failure of a target, in the API's own words if available."""
    return str(target["reason"] or "the run ended before it was seen to settle")


def deadline_words(document: _Document) -> str | None:
    """Describe the deadline and its result; None without a deadline."""
    deadline = document["run"]["deadline"]
    if deadline is None:
        return None
    limit = format_duration(deadline["seconds"])
    if deadline["met"] is None:
        return limit
    return f"{limit}, met" if deadline["met"] else f"{limit}, not met: {deadline['late']} were asked later or never"


def next_words(document: _Document) -> str | None:
    """Return the command to continue the run; None for a run without a rest."""
    run = document["run"]
    if run["state"] != "unfinished" or run["cloud_ended"]:
        return None
    return f"orchestrator resume {run['run_id']}"


def left_alone(document: _Document) -> list[tuple[str, int, list[str]]]:
    """List the reasons for CVMs left alone, the number of CVMs, and some names.

    Reasons with different details are merged: otherwise `kept running: 1 of 3 of app …` would appear once for every
    app.
    """
    groups: dict[str, tuple[int, list[str]]] = {}
    for each in document["skipped"]:
        reason = summary_of(each)
        count, names = groups.get(reason, (0, []))
        groups[reason] = (count + each["count"], names + each["names"])
    return sorted(((reason, *found) for reason, found in groups.items()), key=lambda group: -group[1])


def sign(stage: str) -> str:
    """Return a mark for an outcome or a stage, to be readable without colour."""
    return "✓" if stage in AS_WANTED else "✗" if stage in TROUBLE or stage == "not_sent" else "…"


def done(target: _Document) -> str:
    """Describe the action of a target, its escalation, and the follow-up step."""
    to, step = target["escalated_to"], target["taken_up_by"]
    words = f"{target['action']}, then {to}" if to else str(target["action"])
    return f"{words}, then step {step}" if step else words


def amount_charged(charged: _Document) -> str:
    """Format the charged amount to the cent; a dash without a known charge."""
    return dollars(charged["charged_usd"]) if _is_known(charged) else "-"


def amount_expected(charged: _Document) -> str:
    """Format the expected charge to the cent; a dash before the first reconciliation."""
    return dollars(charged["expected_usd"]) if _was_asked(charged) else "-"


def _was_asked(charged: _Document) -> bool:
    return any(charged[standing.value] for standing in ChargeState)


def _is_known(charged: _Document) -> bool:
    return bool(charged[ChargeState.CHARGED.value] or charged[ChargeState.NONE.value])


def charged_words(charged: _Document) -> str:
    """Describe the known charges for stops."""
    parts = [f"{amount_charged(charged)} for {charged['charged']} (observed)"] if _is_known(charged) else []
    names = {
        "pending": "pending",
        "none": "without a charge",
        "unknown": "that can't be found out",
        "not_asked": "not asked yet",
    }
    parts += [f"{charged[key]} {words}" for key, words in names.items() if charged.get(key)]
    return ", ".join(parts)


def guard_words(guard: _Document) -> str:
    """Describe a guard with its value and limit."""
    value, limit = guard.get("value"), guard.get("limit")
    name = str(guard.get("name"))
    unit = " %" if "percent" in name else ""
    if name == "keep_running":
        return f"{value} CVMs spared, so that at least {limit} of each stays up"
    if limit is None:
        return f"{value} CVMs spared" if name == "protect" else f"{value}{unit}"
    return f"{value}{unit}, limit {limit}{unit}"


ANSWERS = {
    "accepted": "the action took effect",
    "refused": "403: the API refuses the action",
    "deferred": "had no effect, and was sent again later",
    "unknown": "the answer does not tell whether it had an effect; the status was read",
    "failed": "a final answer, other than that",
    "unanswered": "no answer is in the log",
}
"""How requests can be answered."""

CHARGES = (
    "Rates are those of the plan, so figures an hour are estimated. What was charged is what the usage records say, as "
    "far as orchestrator reconcile has asked for them, and is observed. Amounts are added up exactly and rounded where "
    "they are shown."
)
"""Where the figures of the bill come from."""

VERDICTS = {
    "whole": "✓ whole and finished when this report was made",
    "unfinished": "whole so far; the run did not finish",
    "torn": "whole so far; its last line was cut off",
    "altered": "✗ ALTERED",
}
"""What `audit verify` says of a log."""
