"""The sentences of a report, the same in every format."""

from collections.abc import Mapping
from typing import Any

from orchestrator.billing.reconciled import ChargeState
from orchestrator.outcome import AS_WANTED, TROUBLE, summary_of
from orchestrator.report.layout import format_dollars, moment
from orchestrator.report.phrases import CHARGES, ENDINGS, OUTCOMES
from orchestrator.text import plural
from orchestrator.times import format_duration

_Document = Mapping[str, Any]


STAGES: Mapping[str, str] = {
    **{outcome: phrase.meaning for outcome, phrase in OUTCOMES.items()},
    "waiting": "not sent yet",
    "sending": "sent, not answered yet",
    "unknown": "sent, effect not known yet",
    "settling": "accepted, not settled yet",
}
"""The meaning of outcomes, and of the stages of targets without an outcome."""

READS_ARE_NOT_IN_THE_LOG = (
    "The log has only requests that change something. Status reads share the limit and are not in the log: the real "
    "rate was higher."
)


def headline_words(document: _Document) -> str:
    """Describe the end of the run in a line."""
    run = document["run"]
    code = "" if run["exit_code"] is None else f" (exit {run['exit_code']})"
    return f"{run['meaning'][:1].upper()}{run['meaning'][1:]}{code}"


def limit_words(document: _Document) -> str:
    """Describe the limits of the run."""
    limits = document["run"]["limits"] or {}
    rate = limits.get("requests_per_second")
    speed = "request rate found during the run" if rate == "auto" else f"{rate:g} requests a second" if rate else None
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
        return f"manual: undo of run {run['restores']}"
    if run["wakes"]:
        return f"manual: wake of {run['wakes'].get('playbook')}"
    return f"manual: plan file {plan_file.get('path')}" if plan_file else "manual"


def ending_words(document: _Document) -> str:
    """Describe the reason for the end or the interruption of the run."""
    run = document["run"]
    if run["ending"] is None:
        return "none yet" if run["exit_code"] is None else "not in the log"
    return ENDINGS.get(run["ending"], str(run["ending"]))


def list_failures(document: _Document) -> list[_Document]:
    """List the targets with a problem."""
    return [target for target in document["targets"] if has_failed(target)]


def has_failed(target: _Document) -> bool:
    """Check a target for a problem without a later follow-up step."""
    return target["stage"] in TROUBLE and target["taken_up_by"] is None


def seal_words(seal: _Document) -> str:
    """Describe the seal: its author, its time and its key. A report does not check the seal."""
    line = (seal.get("covers") or {}).get("lines")
    until = f", up to line {line}" if line else ""
    key = f"with the key {seal.get('key_id')} (not checked here)"
    return f"by {seal.get('by')}, {moment(seal.get('sealed_at'))}{until}, {key}"


def cvm_name(target: _Document) -> str:
    """Return the name of a target's CVM, or a note about the missing name."""
    return str(target["cvm"]["name"]) or "(no name)"


def failure_reason(target: _Document) -> str:
    """Explain the failure of a target, in the API's own words if available."""
    return str(target["reason"] or "the run ended before the CVM was observed to settle")


def deadline_words(document: _Document) -> str | None:
    """Describe the deadline and its result; None without a deadline."""
    deadline = document["run"]["deadline"]
    if deadline is None:
        return None
    limit = format_duration(deadline["seconds"])
    if deadline["met"] is None:
        return limit
    if not deadline["met"]:
        return f"{limit}, missed: {plural(deadline['late'], 'CVM')} without a request in time"
    sent = [target["intent_s"] for target in document["targets"] if target["intent_s"] is not None]
    # The seconds of a target leave out interruptions, but the deadline counts them.
    if not sent or document["run"]["paused_s"]:
        return f"{limit}, met"
    return f"{limit}, met: last request sent after {format_duration(round(max(sent), 1))}"


def next_command(document: _Document) -> str | None:
    """Return the command to continue the run; None for a finished run."""
    run = document["run"]
    if run["state"] != "unfinished" or run["cloud_ended"]:
        return None
    return f"orchestrator resume {run.get('fleet') or run['run_id']}"


def list_skip_reasons(document: _Document) -> list[tuple[str, int, list[str]]]:
    """List the reasons for skipped CVMs, each with the number of CVMs and some names.

    Reasons with different details are merged: otherwise `kept running: 1 of 3 of app …` would appear once for every
    app.
    """
    groups: dict[str, tuple[int, list[str]]] = {}
    for each in document["skipped"]:
        reason = summary_of(each)
        count, names = groups.get(reason, (0, []))
        groups[reason] = (count + each["count"], names + each["names"])
    return sorted(((reason, *found) for reason, found in groups.items()), key=lambda group: -group[1])


def stage_mark(stage: str) -> str:
    """Return a mark for an outcome or a stage, to be readable without colour."""
    return "✓" if stage in AS_WANTED else "✗" if stage in TROUBLE or stage == "not_sent" else "…"


def action_words(target: _Document) -> str:
    """Describe the action of a target, its escalation, and the follow-up step."""
    to, step = target["escalated_to"], target["taken_up_by"]
    words = f"{target['action']}, then {to}" if to else str(target["action"])
    return f"{words}, then step {step}" if step else words


def amount_charged(charged: _Document) -> str:
    """Format the charged amount to the cent; a dash without a known charge."""
    return format_dollars(charged["charged_usd"]) if _is_known(charged) else "-"


def amount_expected(charged: _Document) -> str:
    """Format the expected charge to the cent; a dash before the first reconciliation."""
    return format_dollars(charged["expected_usd"]) if _was_requested(charged) else "-"


def _was_requested(charged: _Document) -> bool:
    return any(charged[standing.value] for standing in ChargeState)


def _is_known(charged: _Document) -> bool:
    return bool(charged[ChargeState.CHARGED.value] or charged[ChargeState.NONE.value])


def charged_words(charged: _Document) -> str:
    """Describe the known charges for stops."""
    parts = (
        [f"{amount_charged(charged)} for {plural(charged['charged'], 'stop')} (observed)"] if _is_known(charged) else []
    )
    others = [(state.value, words) for state, words in CHARGES.items() if state is not ChargeState.CHARGED]
    others.append(("not_asked", "not reconciled yet"))
    parts += [f"{charged[key]} {words}" for key, words in others if charged.get(key)]
    return ", ".join(parts)


def guard_words(guard: _Document) -> str:
    """Describe a guard with its value and limit."""
    value, limit = guard.get("value"), guard.get("limit")
    name = str(guard.get("name"))
    unit = " %" if "percent" in name else ""
    if name == "keep_running":
        return f"{value} CVMs kept running, at least {limit} of each group"
    if limit is None:
        return f"{value} CVMs protected" if name == "protect" else f"{value}{unit}"
    return f"{value}{unit}, limit {limit}{unit}"


ANSWERS = {
    "accepted": "the action took effect",
    "refused": "403: the API refuses the action",
    "deferred": "no effect: sent again later",
    "unknown": "effect not known from the answer: the status was read",
    "failed": "another final answer",
    "unanswered": "no answer in the log",
}
"""The answers to requests."""

CHARGES_NOTE = (
    "Hourly figures are estimates by the rates of the plan. Charges are observed: `orchestrator reconcile` reads the "
    "usage records. Sums are exact, and rounded only for display."
)
"""The origin of the figures of the bill."""

HASH_CHAIN = (
    "Each line of the log has the hash of the line before, so changed, moved and removed lines are found. The digest "
    "is the hash of the last record. A copy of the digest, such as on this page, proves later that the log is the same."
)
"""The protection of the log."""
