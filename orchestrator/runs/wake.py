"""The request to wake a playbook: start the CVMs stopped by its runs and untouched since."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio.to_thread

from orchestrator.audit.events import AnyEvent, RunPlanned, read_event
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, StoredRun, read_run, require_sound
from orchestrator.audit.target import Phase, TargetState
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.engine.read.operations import Histories, read_histories
from orchestrator.errors import ClaimedError, PlaybookError, SettingsError, UsageError
from orchestrator.outcome import Outcome, Reason, SkipReason, code_of
from orchestrator.playbook.guards import Denominator
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.wake import (
    Mention,
    RunFacts,
    RunKind,
    Wake,
    WakeClaim,
    WakeScan,
    describe_operation,
    find_foreign_operation,
    find_own_operations,
    scan_runs,
)
from orchestrator.runs.records import taken_down
from orchestrator.runs.session import Session, WorkspaceIdentity, limits_of, read_workspace
from orchestrator.runs.start import RunRequest
from orchestrator.settings.load import Settings
from orchestrator.text import join_names, plural
from orchestrator.times import parse_timestamp

_HINT = "without this log it is not certain which CVMs to start; start the CVMs by name: `orchestrator start`"
_IN_DOUBT = frozenset({Phase.SENDING, Phase.UNKNOWN})
_LONGEST_WAIT = timedelta(days=2)
"""The longest time from the id of a run to its begin: behind other runs, or without a worker."""
_UNREAD = "not down in the list a moment ago"


class WakeOrder:
    """The wake of a playbook, as a constraint of the plan. `read` decides about each CVM.

    Attributes:
        loaded: the playbook.
        wake: the CVMs to start; without CVMs before `read`.
        run_ids: the runs that stopped the CVMs.
    """

    def __init__(self, loaded: LoadedPlaybook) -> None:
        self.loaded = loaded
        section = loaded.playbook.wake
        self.wake = Wake(
            loaded.playbook.name, (), loaded=loaded, include_gpus=section is not None and section.include_gpus
        )
        self.run_ids: tuple[str, ...] = ()
        self._warnings: tuple[PlanWarning, ...] = ()

    async def read(self, session: Session) -> None:
        """Read the logs, the list of CVMs and the operation histories; decide about each CVM.

        Raises:
            ClaimedError: when a process still carries a run of the playbook out.
            SettingsError: when a log can't be read, or was altered.
            CloudError: when the list of CVMs can't be read.
        """
        inventory = await InventoryReader(session.cloud, session.gate, session.rng).read_all()
        workspace = await read_workspace(session, inventory.cvms)
        find = partial(find_claims, session.store, self.loaded.playbook.name, session.endpoint.base_url, workspace)
        scan, warnings = await anyio.to_thread.run_sync(find)
        wake = replace(
            self.wake,
            targets=tuple(each.taken for each in scan.claims),
            up_then=scan.up_then,
            touched={each.taken.ref.key: each.touched for each in scan.claims if each.touched is not None},
        )
        open_claims = list_open_claims(wake, scan.claims, inventory.cvms)
        histories = await read_histories(
            session.cloud, session.gate, session.rng, [each.taken.ref for each in open_claims]
        )
        touched = {each.taken.ref.key: _UNREAD for each in scan.claims if each not in open_claims}
        touched |= wake.touched
        touched |= find_touched(open_claims, histories)
        self.wake = replace(wake, touched=touched)
        self.run_ids = tuple(sorted({each.run_id for each in scan.claims if each.touched is None}))
        if histories.is_missing:
            warnings.append(_NO_HISTORY)
        self._warnings = tuple(warnings)

    @property
    def origin(self) -> str:
        """The origin of the CVMs as text, for a person."""
        runs = f"; stopped by {join_names(self.run_ids)}" if self.run_ids else ""
        return f"Wake of {self.loaded.playbook.name}{runs}\n"

    @property
    def wakes(self) -> dict[str, object]:
        """`wakes` of `run.started`: the playbook, and the runs with the stops."""
        return {"playbook": self.loaded.playbook.name, "runs": list(self.run_ids)}

    @property
    def source(self) -> str:
        """The source of the limits, as `PlanConstraint.source`."""
        return self.wake.source

    @property
    def moment(self) -> None:
        """No earlier moment, as `Undo.moment`."""

    @property
    def guards(self) -> Guards:
        """No guards of its own: the settings' guards apply, as to an undo."""
        return self.wake.guards

    def filter_target(self, cvm: Cvm, step: object, reason: Reason | None) -> Reason | None:
        """Return the reason not to start a CVM, as `Wake.filter_target`."""
        return self.wake.filter_target(cvm, step, reason)

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Return True for a missing fact, as `Wake.lacks_facts`."""
        return self.wake.lacks_facts(cvm)

    def whole_of_starts(self, cvms: Iterable[Cvm]) -> Denominator:
        """Return the denominator of `max_percent`, as `Wake.whole_of_starts`."""
        return self.wake.whole_of_starts(cvms)

    def apply_to_plan(self, plan: Plan, *, now: datetime, version: str) -> Plan:
        """Add missing CVMs and warnings to a plan, as `Wake.apply_to_plan`."""
        plan = self.wake.apply_to_plan(plan, now=now, version=version)
        return replace(plan, warnings=(*plan.warnings, *self._warnings))


def request_wake(loaded: LoadedPlaybook, settings: Settings, *, ignore_running: bool = False) -> RunRequest:
    """Make the request to wake a playbook.

    Args:
        loaded: the playbook.
        settings: the settings of the workspace.
        ignore_running: whether to act on CVMs claimed by another run.

    Raises:
        PlaybookError: when the playbook has no `wake`.
    """
    if loaded.playbook.wake is None:
        hint = 'add `wake: {cron: "0 7 * * MON-FRI"}` beside `schedule`'
        raise PlaybookError("the playbook has no `wake`", file=loaded.file, hint=hint)
    order = WakeOrder(loaded)
    return RunRequest(
        replace(loaded, playbook=order.wake.playbook),
        limits_of(loaded.playbook.limits, settings),
        order,
        ignore_running=ignore_running,
        wake=order,
    )


def find_claims(
    store: RunStore, playbook: str, cloud_url: str, workspace: WorkspaceIdentity
) -> tuple[WakeScan, list[PlanWarning]]:
    """Read the logs, newest first, until older logs can't change the claims of a playbook.

    Args:
        store: the store of runs.
        playbook: the name of the playbook.
        cloud_url: the address of the API.
        workspace: the workspace of the key.

    Raises:
        ClaimedError: when a process still carries a run of the playbook out.
        SettingsError: when a log can't be read, or was altered.
    """
    facts: list[RunFacts] = []
    other_keys: list[str] = []
    scan, last_wake = WakeScan(), None
    for run in store.list_runs():
        # The id of a run is made at its firing or its submission, perhaps long before its begin.
        if last_wake is not None and _named_before(run.run_id, last_wake):
            scan, last_wake = scan_runs(facts), None
            if scan.is_complete:
                break
        fold = _read_log(run)
        state = fold.state
        if not state.has_plan or state.cloud_ended or state.started.cloud_url != cloud_url:
            continue
        kind = _find_kind(state, playbook)
        if kind is not RunKind.OTHER and not _is_same_workspace(workspace, state):
            if kind is RunKind.STOP and _may_be_same(workspace, state):
                other_keys.append(state.run_id)
            continue
        if kind is RunKind.STOP and state.finished is None and (run.is_locked() or run.is_continued()):
            raise _refuse_live(run)
        facts.append(_collect_facts(fold, kind))
        if kind is RunKind.WAKE and last_wake is None:
            last_wake = facts[-1].begun_at
    scan = scan if scan.is_complete else scan_runs(facts)
    return scan, list(_list_warnings(scan, other_keys))


def _list_warnings(scan: WakeScan, other_keys: list[str]) -> Iterable[PlanWarning]:
    if scan.unfinished:
        names = join_names(scan.unfinished)
        message = f"stops of unfinished runs count only up to the end of their logs: {names}; resume these runs"
        yield PlanWarning(WarningCode.LATE_STOPS, message)
    if other_keys:
        message = f"the CVMs of {plural(len(other_keys), 'run')} with another API key are left alone: "
        yield PlanWarning(WarningCode.OTHER_KEY, message + join_names(other_keys))


def list_open_claims(wake: Wake, claims: Iterable[WakeClaim], cvms: Iterable[Cvm]) -> list[WakeClaim]:
    """List the claims on CVMs down and unchanged by logs and list."""
    open_keys = set()
    for cvm in cvms:
        reason = wake.filter_target(cvm, None, None)
        if reason is None or reason.code in {SkipReason.FACT_UNKNOWN, SkipReason.GPU}:
            open_keys |= {key for key in (cvm.ref.id, cvm.ref.uuid_key) if key}
    return [each for each in claims if open_keys & {each.taken.ref.id, each.taken.ref.uuid_key}]


def find_touched(claims: Iterable[WakeClaim], histories: Histories) -> dict[str, str]:
    """Find the claims ended according to the operation histories: by the CVM's key, the reason."""
    if histories.is_missing:
        return {}
    found = {}
    for claim in claims:
        key = claim.taken.ref.key
        page = histories.pages.get(key)
        if page is None:
            found[key] = f"its operation history can't be read: {histories.problems[key]}"
            continue
        own = claim.operations
        if own is None:  # the run did not come to its end, so this is the first read after the stop
            own = find_own_operations(page, claim.sent_at, claim.requests)
        foreign = find_foreign_operation(page, own)
        if foreign is not None:
            found[key] = describe_operation(foreign)
    return found


_NO_HISTORY = PlanWarning(
    WarningCode.NO_OPERATION_HISTORY,
    "the API has no operation history: a CVM that a person started and stopped again is started too",
)


def _named_before(run_id: str, wake: datetime) -> bool:
    """Check for an id made long before a wake, so that the run surely began before the wake."""
    try:
        named = datetime.strptime(run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return named < wake - _LONGEST_WAIT


def _read_log(run: StoredRun) -> "_LogFold":
    """Read a log; a log pruned meanwhile is empty.

    Raises:
        SettingsError: when the log can't be read, or was altered.
    """
    fold = _LogFold()
    try:
        require_sound(read_run(run, fold.apply_record), run, _HINT)
    except FileNotFoundError:
        return _LogFold()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"the audit log can't be read: {reason}", file=run.location, hint=_HINT) from error
    return fold


class _LogFold:
    """The state of a run, with all CVMs of its plan."""

    def __init__(self) -> None:
        self.state = RunState()
        self.skipped: list[Mention] = []

    def apply_record(self, record: Record) -> None:
        """Apply the next record."""
        event: AnyEvent = read_event(record)
        self.state.apply_event(event)
        if isinstance(event, RunPlanned):
            self.skipped = [
                Mention(CvmRef.of(each["cvm"]), each.get("status"), code_of(each) or SkipReason.NOT_SELECTED)
                for each in event.skipped
            ]


def _find_kind(state: RunState, playbook: str) -> RunKind:
    wakes: Any = state.started.wakes
    if wakes is not None and wakes.get("playbook") == playbook:
        return RunKind.WAKE
    is_ours = state.started.playbook.get("name") == playbook
    return RunKind.STOP if is_ours and state.started.wakeable else RunKind.OTHER


def _is_same_workspace(workspace: WorkspaceIdentity, state: RunState) -> bool:
    try:
        return workspace.compare_with(WorkspaceIdentity.from_record(state.started.record), "the run") is None
    except UsageError:
        return False


def _may_be_same(workspace: WorkspaceIdentity, state: RunState) -> bool:
    then = WorkspaceIdentity.from_record(state.started.record)
    return workspace.id is None or then.id is None


def _refuse_live(run: StoredRun) -> ClaimedError:
    hint = f"wake again after the end of this run: orchestrator show {run.run_id}"
    error = ClaimedError("a run of the playbook still stops CVMs", file=run.location, hint=hint)
    error.run_ids = (run.run_id,)
    return error


def _collect_facts(fold: _LogFold, kind: RunKind) -> RunFacts:
    state = fold.state
    for target in state.targets.values():
        # Of an unfinished run: the outcomes so far.
        target.outcome = target.outcome_so_far
    targets = [Mention(each.ref, each.before, is_done=_is_done(each)) for each in state.targets.values()]
    return RunFacts(
        state.run_id,
        kind,
        str(state.started.playbook.get("name")),
        (*targets, *fold.skipped),
        parse_timestamp(state.started.ts),
        parse_timestamp(state.planned.read_at or state.started.ts),
        tuple(_list_claims(state)) if kind is RunKind.STOP else (),
        state.planned.cvms_up,
        state.finished is not None,
    )


def _is_done(target: TargetState) -> bool:
    is_sent = target.billing is not None or target.phase in _IN_DOUBT
    return is_sent or target.outcome in {Outcome.SETTLED, Outcome.SKIPPED, Outcome.GONE}


def _list_claims(state: RunState) -> Iterable[WakeClaim]:
    by_cvm: dict[str, list[TargetState]] = {}
    for target in state.targets.values():
        by_cvm.setdefault(target.ref.key, []).append(target)
    for taken in taken_down(state):
        targets = by_cvm[taken.ref.key]
        read = [each.operations for each in targets if each.operations is not None]
        operations = tuple(each for ids in read for each in ids)
        sent = min(each.first_sent_at for each in targets if each.first_sent_at is not None)
        requests = sum(each.attempts for each in targets)
        is_read = bool(read) or state.finished is not None
        yield WakeClaim(taken, state.run_id, operations if is_read else None, parse_timestamp(sent), requests)
