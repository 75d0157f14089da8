"""The wake of a playbook: the CVMs stopped by the runs of the playbook and untouched since. Pure.

A claim on a CVM begins with a stop by a wakeable run. The claim ends when a later run saw the CVM up, had the CVM as a
target or found the CVM already down, or when the operation history has an operation of somebody else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from orchestrator.cvm import COMING_UP, DOWN, UP, Cvm, CvmRef, is_up
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.schedule import name_wake
from orchestrator.playbook.schema import Playbook
from orchestrator.playbook.undo import TakenDown, Undo
from orchestrator.reply import OperationRecord, OperationsPage

_PRECISION = timedelta(seconds=10)
"""The largest error of a comparison between the API's clock and this machine's clock: half of a slow read's latency."""
_STOPPED = DOWN | {"off", "shutdown", "shut_down"}
"""Target states of an operation that takes a CVM down."""
_SEEN_UP = COMING_UP | {UP}


class RunKind(Enum):
    """The part of a run in the wake of a playbook."""

    STOP = "stop"
    """A wakeable run of the playbook."""
    WAKE = "wake"
    """A wake of the playbook."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Mention:
    """A CVM in the log of a run.

    Attributes:
        ref: the CVM.
        status: the status of the CVM in the plan.
        code: the skip reason; None for a target.
        is_done: whether a request to the target had, or may have had, an effect, or the CVM was as wanted already.
    """

    ref: CvmRef
    status: str | None
    code: SkipReason | None = None
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class WakeClaim:
    """A stop of a CVM by a wakeable run.

    Attributes:
        taken: the CVM.
        run_id: the run.
        operations: the API's ids of the operations of the stop; None if the run did not come to read the ids.
        sent_at: time of the first request to the CVM.
        requests: number of requests to the CVM.
        touched: why the claim has ended; None for a claim in force.
    """

    taken: TakenDown
    run_id: str
    operations: tuple[str, ...] | None
    sent_at: datetime
    requests: int = 1
    touched: str | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a run about a wake, from the log of the run.

    Attributes:
        run_id: the run.
        kind: the part of the run in the wake.
        name: the playbook of the run.
        mentions: all CVMs in the log.
        claims: the stops of a wakeable run.
        up_then: the number of CVMs up at planning time; None if the run read only some apps.
        is_finished: whether the run has ended for good.
        begun_at: time of the first record.
        read_at: time of the list of CVMs in the plan.
    """

    run_id: str
    kind: RunKind
    name: str
    mentions: tuple[Mention, ...]
    begun_at: datetime
    read_at: datetime
    claims: tuple[WakeClaim, ...] = ()
    up_then: int | None = None
    is_finished: bool = True


class WakeScan:
    """Collects the claims on CVMs from the logs of runs, in the order of their begin, newest first.

    Attributes:
        claims: the last claim on every CVM, in force or ended.
        up_then: the number of CVMs up before the stops; None if unknown.
        unfinished: the wakeable runs with claims and without an end.
    """

    def __init__(self) -> None:
        self.claims: list[WakeClaim] = []
        self.up_then: int | None = None
        self.unfinished: list[str] = []
        self._decided: set[str] = set()
        self._ended: dict[str, tuple[datetime, str]] = {}  # by CVM: the last end of earlier claims
        self._only: set[str] | None = None  # after the last wake: the CVMs that it left for a later wake

    @property
    def is_complete(self) -> bool:
        """True if older runs can't change the claims."""
        return self._only is not None and self._only <= self._decided

    def add_run(self, run: RunFacts) -> None:
        """Add the next older run."""
        if run.kind is RunKind.STOP:
            self._add_stop(run)
        elif run.kind is RunKind.WAKE:
            self._add_wake(run)
        for each in run.mentions:
            end = _find_touch(run, each)
            if end is not None:
                for key in _list_keys(each.ref):
                    self._ended[key] = max(self._ended.get(key, end), end)

    def _add_stop(self, run: RunFacts) -> None:
        found = [each for each in run.claims if self._is_open(each.taken.ref)]
        for each in found:
            keys = _list_keys(each.taken.ref)
            ends = [self._ended[key] for key in keys if key in self._ended]
            touched = next((reason for at, reason in ends if at > each.sent_at), None)
            self.claims.append(replace(each, touched=touched))
            self._decided.update(keys)
        if not found:
            return
        if not run.is_finished:
            self.unfinished.append(run.run_id)
        if self.up_then is not None:
            self.up_then += len(found)
        elif len(self.claims) == len(found):
            self.up_then = run.up_then

    def _add_wake(self, run: RunFacts) -> None:
        """Keep only the CVMs left for a later wake: the plan of a wake has every other claim."""
        left = {key for each in run.mentions if _is_left(each) for key in _list_keys(each.ref)}
        self._only = left if self._only is None else self._only & left

    def _is_open(self, ref: CvmRef) -> bool:
        keys = _list_keys(ref)
        return not self._decided & keys and (self._only is None or bool(self._only & keys))


def _find_touch(run: RunFacts, mention: Mention) -> tuple[datetime, str] | None:
    """Return when and why a run ends older claims on a CVM; None for no reason.

    A plan may wait for its confirmation, so its list of CVMs may be older than the begin of the run.
    """
    if run.kind is RunKind.OTHER and mention.code is None:
        return run.begun_at, f"a target of run {run.run_id} ({run.name}) since"
    if mention.status in _SEEN_UP:
        return run.read_at, f"run {run.run_id} ({run.name}) saw the CVM up since"
    if run.kind is RunKind.OTHER and mention.code is SkipReason.ALREADY_DOWN:
        return run.read_at, f"run {run.run_id} ({run.name}) was to stop the CVM since, and found the CVM down"
    return None


def scan_runs(runs: Iterable[RunFacts]) -> WakeScan:
    """Collect the claims from the facts of runs, in any order."""
    scan = WakeScan()
    for run in sorted(runs, key=lambda run: run.begun_at, reverse=True):
        scan.add_run(run)
        if scan.is_complete:
            break
    return scan


def _is_left(mention: Mention) -> bool:
    """Check for a CVM left for a later wake: with GPUs, or without a request with an effect."""
    if mention.status in _SEEN_UP:
        return False
    return not mention.is_done if mention.code is None else mention.code in {SkipReason.GPU, SkipReason.FACT_UNKNOWN}


def _list_keys(ref: CvmRef) -> set[str]:
    return {key for key in (ref.id, ref.uuid_key) if key}


def find_own_operations(page: OperationsPage, sent_at: datetime, requests: int) -> tuple[str, ...]:
    """Find the operations of a stop in the operation history of its CVM, read after the stop; return the API's ids.

    Args:
        page: the newest operations, newest first.
        sent_at: time of the first request to the CVM.
        requests: number of requests to the CVM.

    Returns:
        The ids; empty if somebody else may have started the CVM meanwhile.
    """
    ours: list[str] = []
    for each in page.operations:
        when = None if each.started_at is None else each.started_at - timedelta(seconds=page.ahead or 0.0) - sent_at
        if when is not None and when < -_PRECISION:
            break
        if each.target not in _STOPPED:
            # Without a time, this may be the last start before the stop.
            return () if when is not None and when > _PRECISION else tuple(ours[-requests:])
        ours.append(each.correlation_id)
    return tuple(ours[-requests:])


def find_foreign_operation(page: OperationsPage, own: Iterable[str]) -> OperationRecord | None:
    """Return the newest operation of a CVM unless the operation is a stop of ours; None for an untouched CVM.

    Args:
        page: the newest operations, newest first.
        own: the API's ids of the operations of our stop.
    """
    newest = next(iter(page.operations), None)
    return None if newest is None or newest.correlation_id in set(own) else newest


def describe_operation(operation: OperationRecord) -> str:
    """Describe a foreign operation: `power_on by alice at 2027-03-01 07:12 UTC`."""
    by = f" by {operation.by}" if operation.by else ""
    at = f" at {operation.started_at:%Y-%m-%d %H:%M} UTC" if operation.started_at is not None else ""
    return f"{operation.kind or 'an operation'}{by}{at} since its stop"


@dataclass(frozen=True, slots=True)
class Wake(Undo):
    """The CVMs stopped by the runs of a playbook: the only CVMs to start.

    Attributes:
        loaded: the playbook; `run_id` has its name.
        include_gpus: whether to start CVMs with GPUs too.
        touched: by the CVM's key, why the claim on the CVM has ended.
    """

    UP_THEN = "that were up before the stops"
    UP_NOW = "that are up now, or that the playbook stopped"

    loaded: LoadedPlaybook | None = None
    include_gpus: bool = False
    touched: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The source of the limits as text."""
        return "the runs to wake from"

    @property
    def doer(self) -> str:
        """The runs with the stops of the CVMs, as text."""
        return f"the runs of {self.run_id}"

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Return True if the list of CVMs lacks a fact of a stopped CVM, or its number of GPUs."""
        is_ours = self._by_cvm.find(cvm.ref) is not None
        return is_ours and ((cvm.gpus is None and not self.include_gpus) or Undo.lacks_facts(self, cvm))

    @property
    def playbook(self) -> Playbook:
        """A playbook with a single start step for every CVM; `filter_target` then keeps the stopped CVMs."""
        step = {"name": "wake", "action": "start", "select": {"all": "true"}}
        description = f"Start the CVMs stopped by {self.run_id} and untouched since."
        made = Playbook.model_validate({"name": name_wake(self.run_id), "description": description, "steps": [step]})
        if self.loaded is None:
            return made
        of = self.loaded.playbook
        return made.model_copy(update={"limits": of.limits, "notify": of.notify, "workspaces": of.workspaces})

    def filter_target(self, cvm: Cvm, step: object, reason: Reason | None) -> Reason | None:
        """Return the reason not to start a CVM; None for a CVM stopped by the playbook and untouched since."""
        target = self._by_cvm.find(cvm.ref)
        if target is None:
            return Reason(SkipReason.NOT_OWED)
        if is_up(cvm.status, in_progress=cvm.in_progress):
            return Reason(SkipReason.ALREADY_UP, cvm.status)
        touched = self.touched.get(target.ref.key)
        if touched is not None:
            return Reason(SkipReason.DRIFTED, touched)
        if not self.include_gpus and cvm.gpus != 0:
            return Reason(SkipReason.FACT_UNKNOWN, "gpus", "wake") if cvm.gpus is None else Reason(SkipReason.GPU)
        return Undo.filter_target(self, cvm, step, reason)
