"""Audit records as events of the Elastic Common Schema (ECS), for a SIEM.

Facts with an ECS field stand there. Our own facts stand under `cvm_orchestrator`, since `orchestrator` is a field set
of ECS itself, about Kubernetes and the like. A record becomes exactly one event. Fields that could be a number in one
event and text in another, or have names chosen by users, are text, so that an index keeps a single type for every
field.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from orchestrator.action import Action
from orchestrator.audit.events import (
    ApprovalAnswered,
    Event,
    LogEvent,
    RunFinished,
    RunSealed,
    RunStarted,
    TargetFailed,
    TargetSettled,
)
from orchestrator.audit.record import Record
from orchestrator.outcome import Outcome
from orchestrator.report.audit.phrases import describe_event
from orchestrator.report.audit.tolerance import as_mapping, cvm_of, read_tolerantly
from orchestrator.text import safe_text

ECS_VERSION = "8.17.0"
OWN = "cvm_orchestrator"
"""The parent of all fields without an ECS field."""

_SECOND, _MILLISECOND = 1_000_000_000, 1_000_000
_TAKEN = frozenset(
    {
        *("v", "seq", "ts", "run_id", "event", "prev", "hash", "cvm", "reason", "http_status", "request_id"),
        *("latency_ms", "seconds", "actor", "version", "simulated", "targets", "skipped", "limits", "vars"),
    }
)
"""Fields with another place or form in an ECS event."""

_KINDS: dict[str, tuple[list[str], list[str]]] = {
    Event.RUN_STARTED: (["process"], ["start"]),
    Event.RUN_RESUMED: (["process"], ["start"]),
    Event.RUN_INTERRUPTED: (["process"], ["end"]),
    Event.RUN_FINISHED: (["process"], ["end"]),
    Event.ACTION_INTENT: (["api"], ["info"]),
    Event.ACTION_ACCEPTED: (["api"], ["change", "allowed"]),
    Event.ACTION_REFUSED: (["api"], ["denied"]),
    Event.ACTION_DEFERRED: (["api"], ["info"]),
    Event.ACTION_UNKNOWN: (["api"], ["info"]),
    Event.ACTION_FAILED: (["api"], ["info"]),
    Event.ACTION_ESCALATED: (["api"], ["info"]),
    Event.TARGET_STATUS: (["host"], ["info"]),
    Event.TARGET_SETTLED: (["host"], ["change"]),
    Event.TARGET_FAILED: (["host"], ["info"]),
    Event.BILLING_RECONCILED: (["host"], ["info"]),
}
"""The category and the type of each event; those of any other are `process` and `info`."""

_ACTIONS = frozenset(Action)
_OUTCOMES: Mapping[str, str] = {
    Event.ACTION_ACCEPTED: "success",
    Event.ACTION_REFUSED: "failure",
    Event.ACTION_DEFERRED: "failure",
    Event.ACTION_FAILED: "failure",
    Event.ACTION_UNKNOWN: "unknown",
    Event.TARGET_SETTLED: "success",
    Event.TARGET_FAILED: "failure",
    Event.RUN_INTERRUPTED: "failure",
}


class Ecs:
    """Turns the records of a log into events. Every event also holds the facts of `run.started`."""

    def __init__(self) -> None:
        self._run: dict[str, Any] = {}

    def format_event(self, record: Record) -> dict[str, Any]:
        """Turn a record into an event. Fields of the record keep their values, also in records of later versions."""
        event = read_tolerantly(record)
        if isinstance(event, RunStarted):
            self._run = self._collect_run_facts(event)
        cvm = cvm_of(event)
        subject = f"{safe_text(cvm.get('name'), 64)}: " if cvm else ""
        author = event.by if isinstance(event, ApprovalAnswered | RunSealed) else None
        user = _user_fields(author) if author else self._run.get("user", {})
        fields = {
            "@timestamp": event.ts,
            "message": f"{subject}{describe_event(event)}",
            "ecs": {"version": ECS_VERSION},
            "event": _event_fields(event),
            "observer": self._run.get("observer", {}),
            "user": user,
            "cloud": {
                "provider": "phala",
                "instance": _drop_empty({"id": _cloud_address(cvm), "name": cvm.get("name")}),
            },
            "host": _drop_empty({"id": _cloud_address(cvm), "name": cvm.get("name")}),
            "http": {
                "request": _drop_empty({"id": record.get("request_id")}),
                "response": _drop_empty({"status_code": record.get("http_status")}),
            },
            "related": {
                "hosts": [name for name in dict.fromkeys([cvm.get("name"), _cloud_address(cvm)]) if name],
                "user": [user["name"]] if user.get("name") else [],
            },
            "labels": _drop_empty({"run_id": event.run_id, **self._run.get("labels", {})}),
            "tags": self._run.get("tags", []),
            OWN: _own_fields(record, cvm),
        }
        return _drop_empty_deep(fields)

    @staticmethod
    def _collect_run_facts(event: RunStarted) -> dict[str, Any]:
        user = _user_fields(event.actor)
        return {
            "user": {"name": user["name"]} if "name" in user else {},
            "observer": _drop_empty(
                {"product": "orchestrator", "version": event.version, "hostname": user.get("domain")}
            ),
            "labels": {"playbook": as_mapping(event.playbook).get("name"), "workspace": event.workspace_name},
            "tags": ["simulated"] if event.simulated else [],
        }


def _user_fields(actor: object) -> dict[str, str]:
    """Return the name and the domain of a user from `user@host`."""
    if not isinstance(actor, str):
        return {}
    name, _, host = actor.rpartition("@")
    return {"name": name, "domain": host} if name else {"name": actor}


def _event_fields(event: LogEvent) -> dict[str, Any]:
    category, kinds = _KINDS.get(event.name, (["process"], ["info"]))
    if isinstance(event, TargetSettled):
        action = str(event.action)
        kinds = [Action(action).spec.ecs_type if action in _ACTIONS else "change"]
    return _drop_empty(
        {
            "kind": "event",
            "module": "orchestrator",
            "dataset": "orchestrator.audit",
            "action": event.name,
            "category": category,
            "type": kinds,
            "outcome": _event_outcome(event),
            "id": f"{event.run_id}-{event.seq}",
            "sequence": event.seq,
            "hash": event.hash,
            "reason": event.record.get("reason"),
            "duration": _event_duration(event.record),
        }
    )


def _event_outcome(event: LogEvent) -> str | None:
    """Return `success`, `failure` or `unknown`; None for an event without a result."""
    match event:
        case RunFinished():
            return "success" if event.exit_code == 0 else "failure"
        case ApprovalAnswered():
            return "success" if event.is_approved else "failure"
        case TargetFailed() if event.outcome == Outcome.SKIPPED:
            return "success"
        case _:
            return _OUTCOMES.get(event.name)


def _event_duration(record: Record) -> int | None:
    """Return the duration in nanoseconds: of a request, or of a target from its first request to its outcome."""
    for key, unit in (("seconds", _SECOND), ("latency_ms", _MILLISECOND)):
        value = record.get(key)
        if isinstance(value, int | float) and isfinite(value * unit):
            return round(value * unit)
    return None


def _cloud_address(cvm: Mapping[str, Any]) -> object:
    return cvm.get("id") or cvm.get("vm_uuid")


def _own_fields(record: Record, cvm: Mapping[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {key: value for key, value in record.items() if key not in _TAKEN}
    own |= {"run_id": record["run_id"], "v": record.get("v"), "prev": record["prev"], "cvm": dict(cvm)}
    for key in ("targets", "skipped"):
        if isinstance(record.get(key), list):
            own[key] = {"count": len(record[key])}
    if isinstance(record.get("limits"), Mapping):
        own["limits"] = {key: str(value) for key, value in record["limits"].items() if value is not None}
    if isinstance(record.get("vars"), Mapping):
        own["vars"] = [f"{key}={value}" for key, value in record["vars"].items()]
    if isinstance(record.get("steps"), list):
        own["steps"] = [str(step.get("name")) for step in record["steps"] if isinstance(step, Mapping)]
    return own


def _drop_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _drop_empty_deep(fields: dict[str, Any]) -> dict[str, Any]:
    """Remove null and empty fields."""
    kept = {key: _drop_empty_deep(value) if isinstance(value, dict) else value for key, value in fields.items()}
    return {key: value for key, value in kept.items() if value is not None and value not in ({}, [])}
