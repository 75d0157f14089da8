"""The index entry of a log, made from the log alone: a row for lists of runs, and facts about running CVMs."""

import json
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from orchestrator.action import Action
from orchestrator.audit.events import RunPlanned, read_event
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, read_run
from orchestrator.audit.target import Phase, TargetState
from orchestrator.audit.verify import Verdict
from orchestrator.billing.reconciled import Reconciled
from orchestrator.cvm import COMING_UP, UP, CvmRef
from orchestrator.outcome import Outcome, SkipReason, code_of
from orchestrator.times import timestamp

Json: TypeAlias = dict[str, Any]

_LATE = timedelta(minutes=5)
"""The longest time between a plan's list and a confirmation without a new read of the statuses, by default."""
_WAS_UP = COMING_UP | {UP}
_IN_DOUBT = frozenset({Phase.SENDING, Phase.UNKNOWN})
_STRANGE = (KeyError, ValueError, TypeError, AttributeError, RecursionError)
"""Exceptions caused by a whole log in a form unknown to this version."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The index entry of a log, as plain JSON.

    Attributes:
        row: the run in short: `verdict`, `playbook`, `actor`, `started_at`, `last_record_at`, `ended_at`,
            `exit_code` (null for an unfinished run), `planned` (whether a request was possible), `simulated`,
            `cloud_ended`, `trigger`,
            `restores`, `counts`, `stages` (the number of targets per stage, such as `waiting`), `targets`, `cloud_url`,
            and `question` (`step`, `question` and `expires_at` of the last unanswered question, or null).
        power: the log's facts about running CVMs and charges; empty without facts. `cvms` has the identities of CVMs,
            in the order of `CvmRef`; the other lists refer to a CVM by its index: `down` has `[cvm, ts, ts seen,
            compute, storage, has_gpus]`, `started`, `up` and `gone` have `[cvm, ts]`, and `stops`, all stops with a
            certain or possible effect, have `[cvm, ts, the last billing.reconciled or null]`.
        lists: the CVMs running in the log's lists, compressed because lists may be long; see `lists_of`.
    """

    row: Json
    power: Json = field(default_factory=dict)
    lists: bytes = b""


def read_entry(run: StoredRun) -> Entry:
    """Make the index entry of a log.

    The entry of an altered log has only the verdict. The same applies, with the verdict `unreadable`, to a whole log in
    a form unknown to this version.

    Raises:
        OSError: when the log can't be read.
    """
    fold = _Fold()
    try:
        verdict = read_run(run, fold.apply_record).verdict
        if verdict is not Verdict.ALTERED:
            return Entry(_make_row(fold.state, verdict.value), fold.power(), fold.lists())
    except _STRANGE:
        return Entry(_make_row(RunState(), "unreadable"))
    return Entry(_make_row(RunState(), verdict.value))


def _make_row(state: RunState, verdict: str) -> Json:
    last_words = (target for target in state.targets.values() if target.taken_up_by is None)
    return {
        "verdict": verdict,
        "playbook": state.started.playbook.get("name"),
        "actor": state.started.actor,
        "started_at": state.started.record.get("ts"),
        "last_record_at": state.last_ts or None,
        "ended_at": state.ended_at,
        "exit_code": None if state.finished is None else state.finished.exit_code,
        "planned": state.has_plan,
        "simulated": state.is_simulated,
        "cloud_ended": state.cloud_ended,
        "trigger": state.started.trigger,
        "restores": state.started.restores,
        "counts": dict(Counter(target.outcome_so_far.value for target in last_words)),
        "stages": {stage: number for stage, number in state.stages.items() if number},
        "targets": state.cvm_count,
        "cloud_url": state.started.record.get("cloud_url"),
        "workspace_name": state.started.workspace_name,
        "fleet": state.started.fleet,
        "question": state.question and {key: state.question.record[key] for key in ("step", "question", "expires_at")},
    }


class _Fold:
    """Fold over the records of a log, in order."""

    def __init__(self) -> None:
        self.state = RunState()
        self._lists: list[list[Any]] = []
        self._gone: list[tuple[CvmRef, str]] = []

    def apply_record(self, record: Record) -> None:
        """Apply the next record."""
        event = read_event(record)
        self.state.apply_event(event)
        if isinstance(event, RunPlanned):
            self._apply_list(event)

    def _apply_list(self, plan: RunPlanned) -> None:
        """Keep the CVMs running in the inventory of the plan, and the CVMs missing from the inventory."""
        read_after = plan.read_at or timestamp(datetime.fromisoformat(plan.ts) - _LATE)
        every = [*(target.record for target in plan.targets), *plan.skipped]
        up = [_cvm_names(entry["cvm"]) for entry in every if entry.get("status") == UP]
        if up:
            self._lists.append([plan.ts, read_after, up])
        self._gone += [
            (CvmRef.of(entry["cvm"]), plan.ts) for entry in plan.skipped if code_of(entry) is SkipReason.GONE
        ]

    def lists(self) -> bytes:
        """Compress `[ts, read_after, [[hashid, UUID], …]]` for each read of the inventory."""
        return zlib.compress(json.dumps(self._lists).encode("ascii")) if self._lists else b""

    def power(self) -> Json:
        """Collect the periods of running and the stops of the run's targets."""
        changes = _PowerChanges()
        for ref, ts in self._gone:
            changes.note("gone", ref, ts)
        first: dict[str, TargetState] = {}
        for target in self.state.targets.values():
            # A target of a follow-up step may be on its way down, although the run found the CVM up.
            was_up = {target.before, first.setdefault(target.ref.key, target).before} & _WAS_UP
            if Action(target.action).leaves_running:
                if target.accepted_at is not None:
                    changes.note("started", target.ref, target.accepted_at)
            elif target.accepted_at is not None or target.phase in _IN_DOUBT:
                changes.note("stops", target.ref, target.accepted_at or target.first_sent_at, _find_charge(target))
                if target.outcome is Outcome.RESURRECTED:
                    changes.note("up", target.ref, target.ended_at)
                elif target.accepted_at is not None and was_up:
                    self._note_end(changes, target)
        return changes.document()

    @staticmethod
    def _note_end(changes: "_PowerChanges", target: TargetState) -> None:
        """Note the end of the compute of a running CVM after an accepted stop."""
        is_gone = target.outcome is Outcome.GONE
        spec = Action(target.accepted_action or target.action).spec
        if target.outcome is Outcome.SETTLED or (is_gone and spec.is_instant):
            bill = target.billing or {}
            rates = bill.get("compute_usd_per_hour"), bill.get("storage_usd_per_hour")
            has_gpus = spec.gpu_note in (bill.get("notes") or ())
            since = target.accepted_at if spec.is_instant else target.ended_at
            changes.note("down", target.ref, since, target.ended_at, *rates, has_gpus)
        if is_gone:
            changes.note("gone", target.ref, target.ended_at)


class _PowerChanges:
    """The facts of a log; every CVM is written once."""

    def __init__(self) -> None:
        self._numbers: dict[CvmRef, int] = {}
        self._events: Json = {}

    def note(self, kind: str, ref: CvmRef, *facts: object) -> None:
        """Note a further event of a CVM."""
        number = self._numbers.setdefault(ref, len(self._numbers))
        self._events.setdefault(kind, []).append([number, *facts])

    def document(self) -> Json:
        """Return all facts; empty without facts."""
        return {"cvms": [list(astuple(ref)) for ref in self._numbers], **self._events} if self._events else {}


def _cvm_names(cvm: Mapping[str, Any]) -> list[str | None]:
    ref = CvmRef.of(cvm)
    return [ref.id, ref.uuid_key]


def _find_charge(target: TargetState) -> Json | None:
    """Return the last reconciled charge of a stop, if any."""
    if target.reconciled is None:
        return None
    return Reconciled.from_document(target.reconciled.record).document()


def read_lists(entry: Entry) -> list[Any]:
    """Return `[ts, read_after, [[hashid, UUID], …]]` for each read of the list."""
    found: list[Any] = json.loads(zlib.decompress(entry.lists)) if entry.lists else []
    return found
