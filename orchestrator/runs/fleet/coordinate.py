"""Coordinate a fleet run over many workers: a run per workspace, under one plan.

Each worker plans its run (a member of the fleet run), reports the totals of the plan, and waits for the verdict. The
coordinator checks all plans together, writes the fleet log, and gives the verdicts: the canary workspace first, no new
requests after too many failures. The coordinator has no connection to a cloud, and needs no API key.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio

from orchestrator import __version__
from orchestrator.audit.fleet_log import FleetEvent, FleetState
from orchestrator.audit.log import AuditLog
from orchestrator.errors import CloudError, GuardError, NotConfirmedError, OrchestratorError, UsageError
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.value_types import Share
from orchestrator.runs.fleet.members import LeftOut
from orchestrator.runs.fleet.plan import (
    PlanTotals,
    check_fleet,
    leave_out,
    refuse_totals,
    refuse_without_matches,
)
from orchestrator.runs.fleet.result import (
    AfterCanary,
    MemberEnd,
    choose_ending,
    combine_exit_codes,
    decide_after_canary,
    name_interruption,
    sum_counts,
)
from orchestrator.runs.records import guard_fields

GO, REFUSE = "go", "refuse"
"""Verdicts on a member, beside an `Ending`: a member with an ending sends nothing more, and ends so."""

_POLL_EVERY_S = 0.5
_ENDED = frozenset({"finished", "void", "left"})


@dataclass(frozen=True, slots=True)
class Member:
    """The run of one workspace, as the store shows the run.

    Attributes:
        workspace: name of the workspace.
        run_id: the run.
        state: state of the run in the store, such as `planning`.
        totals: the totals of its plan; None before the report.
        verdict: `GO`, `REFUSE`, or an `Ending`; None before a verdict.
        exit_code: exit code of an ended run.
        reason: reason of a run without a log, or of an early end.
        failed: number of failed targets so far.
        end: its `run.finished` record; None for an unfinished run.
    """

    workspace: str
    run_id: str
    state: str
    totals: PlanTotals | None = None
    verdict: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    failed: int = 0
    end: Mapping[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether no worker will continue the run by itself."""
        return self.state in _ENDED

    @property
    def is_void(self) -> bool:
        """Whether the run ended without a log, such as cancelled during its wait for another run."""
        return self.state == "void"

    def describe_end(self) -> MemberEnd:
        """Describe the end, or the present state."""
        code = None if self.exit_code is None else Exit(self.exit_code)
        if self.is_void:
            return MemberEnd(self.workspace, self.run_id, Ending.CANCELLED if code is Exit.ENDED_EARLY else None, code)
        if self.end is None:
            return MemberEnd(self.workspace, self.run_id, None, code if self.has_ended else None)
        return MemberEnd(self.workspace, self.run_id, Ending(self.end["ending"]), code, self.end["hash"])


class FleetBoard(Protocol):
    """The members of one fleet run in the store. Statements wait for a database that is down."""

    async def list_members(self) -> Sequence[Member]:
        """List the members, by name of the workspace."""
        ...

    async def give_verdict(self, run_ids: Collection[str], verdict: str) -> None:
        """Give members a verdict. An ending replaces `GO`; nothing replaces an ending."""
        ...

    async def open_log(self, first: Mapping[str, object]) -> tuple[AuditLog, FleetState]:
        """Begin the fleet log with `fleet.started`, or continue with `fleet.resumed`; the state follows the log.

        The owner of the board closes the log.
        """
        ...


@dataclass(frozen=True, slots=True)
class FleetOrder:
    """The order for a fleet run.

    Attributes:
        loaded: the playbook.
        base_guards: the guards of the coordinator's settings, without the guards of single workspaces.
        expect: the number of targets to confirm; None for any number.
        skip: names of workspaces to leave out if unreachable.
        about: further fields of `fleet.started`, such as `actor`, `trigger`, `submitted`.
        may_be_empty: whether a plan without a match is no error, as for a wake.
    """

    loaded: LoadedPlaybook
    base_guards: Guards
    expect: int | None = None
    skip: Collection[str] = ()
    about: Mapping[str, object] = field(default_factory=dict)
    may_be_empty: bool = False

    @property
    def first(self) -> str | None:
        """Name of the canary workspace; None without a canary."""
        return self.loaded.playbook.fleet.first

    @property
    def max_failures(self) -> Share | None:
        """The most failures in all workspaces; None without a limit."""
        playbook = self.loaded.playbook
        return playbook.limits.max_failures if playbook.fleet.max_failures is None else playbook.fleet.max_failures


@dataclass(frozen=True, slots=True)
class CheckedOrder:
    """The plans of all members, checked together.

    Attributes:
        left_out: the unreachable workspaces, left out on request.
        guards: the checks of the total.
        targets: the number of targets by run.
    """

    left_out: tuple[LeftOut, ...]
    guards: tuple[GuardCheck, ...]
    targets: Mapping[str, int]


def is_planned(members: Sequence[Member]) -> bool:
    """Return True once every member reported its plan, or ended."""
    return all(member.totals is not None or member.has_ended for member in members)


def check_order(order: FleetOrder, members: Sequence[Member]) -> CheckedOrder:
    """Check the plans of all members together.

    Raises:
        CloudError: when a workspace can't be read, and may not be left out.
        GuardError: when a guard of the total refuses the order.
        NoMatchError: when the selectors match no CVM in any workspace.
        OrchestratorError: when a member refused its plan, or the number of targets is not the expected number.
    """
    names = [member.workspace for member in members]
    errors = {member.workspace: _explain_end(member) for member in members if member.totals is None}
    # Without the canary workspace, the other workspaces would begin unproven.
    left_out = leave_out(errors, {*order.skip} - {order.first}, names)
    planned = [(member.run_id, member.totals) for member in members if member.totals is not None]
    totals = [each for _, each in planned]
    checks = check_fleet(order.loaded, order.base_guards, totals)
    refusal = refuse_totals(checks)
    if refusal is not None:
        raise refusal
    if not order.may_be_empty and not any(each.has_matches for each in totals):
        raise refuse_without_matches(len(totals))
    number = sum(each.targets for each in totals)
    if order.expect not in {None, number}:
        hint = "make a plan with `orchestrator plan`, then submit again"
        raise NotConfirmedError(f"--expect {order.expect}, but the plan has {number} targets", hint=hint)
    return CheckedOrder(left_out, checks, {run_id: each.targets for run_id, each in planned})


def _explain_end(member: Member) -> OrchestratorError:
    """Return the error of a member without a plan."""
    kinds: dict[int | None, type[OrchestratorError]] = {Exit.CLOUD: CloudError, Exit.USAGE: UsageError}
    return kinds.get(member.exit_code, GuardError)(member.reason or "the run was ended before its plan")


def choose_verdicts(
    members: Sequence[Member], *, first: str | None, limit: Share | None, targets: int
) -> dict[str, list[str]]:
    """Choose the verdicts due now: the runs by verdict.

    Args:
        members: all members that take part.
        first: name of the canary workspace.
        limit: the most failures in all workspaces; a percentage is of `targets`.
        targets: the number of targets of all members.
    """
    due: dict[str, list[str]] = {}
    canary = next((member for member in members if member.workspace == first), None)
    others: str | None = GO
    if canary is not None:
        after = AfterCanary.END if canary.is_void else decide_after_canary(canary.describe_end())
        others = {AfterCanary.BEGIN: GO, AfterCanary.END: Ending.CANARY_FAILED.value}.get(after)
    has_failed = limit is not None and sum(member.failed for member in members) > limit.of(targets)
    for member in members:
        wanted = Ending.MAX_FAILURES.value if has_failed else GO if member is canary else others
        if wanted is not None and not member.has_ended and member.verdict in {None, GO} and member.verdict != wanted:
            due.setdefault(wanted, []).append(member.run_id)
    return due


def is_over(members: Sequence[Member], first: str | None) -> bool:
    """Return True once every member ended, or the canary's run waits for a person."""
    canary = next((member for member in members if member.workspace == first), None)
    waits = canary is not None and canary.has_ended and canary.end is None and not canary.is_void
    return waits or all(member.has_ended for member in members)


@dataclass(frozen=True, slots=True)
class FleetEnd:
    """The end of a fleet run.

    Attributes:
        exit_code: exit code of the fleet run.
        has_finished: whether every member is finished.
    """

    exit_code: Exit
    has_finished: bool = True


Sleep = Callable[[float], Awaitable[object]]


async def coordinate_fleet(
    board: FleetBoard, order: FleetOrder, *, has_log: bool, sleep: Sleep = anyio.sleep
) -> FleetEnd:
    """Coordinate a fleet run from its present state to its end.

    Args:
        board: the members.
        order: the order.
        has_log: whether an earlier coordinator began the fleet log.
        sleep: waits for some seconds.

    Raises:
        OrchestratorError: when the order is refused; nothing was sent.
        AuditError: when the fleet log can't be written.
    """
    log, state = await board.open_log({}) if has_log else (None, FleetState())
    if state.finished is not None:  # the coordinator before died after the last record
        return FleetEnd(Exit(state.finished.exit_code))
    if not state.has_plan:
        members = await board.list_members()
        while not is_planned(members):
            await sleep(_POLL_EVERY_S)
            members = await board.list_members()
        try:
            checked = check_order(order, members)
        except OrchestratorError:
            await board.give_verdict([member.run_id for member in members], REFUSE)
            raise
        if log is None:
            log, state = await board.open_log(_started_fields(order, members, checked))
        log.record(FleetEvent.FLEET_PLANNED, **_planned_fields(members, checked))
        await log.flush()
    assert log is not None  # noqa: S101 - a plan is in a log
    taking_part = {run.run_id for run in state.runs}
    targets = state.planned.targets
    while True:
        members = [member for member in await board.list_members() if member.run_id in taking_part]
        verdicts = choose_verdicts(members, first=order.first, limit=order.max_failures, targets=targets)
        for verdict, run_ids in verdicts.items():
            await board.give_verdict(run_ids, verdict)
        if is_over(members, order.first):
            return await _record_end(log, state, members)
        await sleep(_POLL_EVERY_S)


def _started_fields(order: FleetOrder, members: Sequence[Member], checked: CheckedOrder) -> dict[str, object]:
    loaded, limit = order.loaded, order.max_failures
    left_out = {each.name for each in checked.left_out}
    return {
        **order.about,
        "version": __version__,
        "playbook": {"name": loaded.playbook.name, "path": loaded.path, "sha256": loaded.sha256},
        "vars": dict(loaded.variables),
        "workspaces": [member.workspace for member in members if member.workspace not in left_out],
        "first": order.first,
        "max_failures": None if limit is None else str(limit),
        "left_out": [each.document() for each in checked.left_out],
    }


def _planned_fields(members: Sequence[Member], checked: CheckedOrder) -> dict[str, object]:
    return {
        "runs": [
            {"workspace": member.workspace, "run_id": member.run_id, "targets": checked.targets[member.run_id]}
            for member in members
            if member.run_id in checked.targets
        ],
        "guards": [guard_fields(check) for check in checked.guards],
    }


async def _record_end(log: AuditLog, state: FleetState, members: Sequence[Member]) -> FleetEnd:
    """Write the last record: the fleet run is finished once every member is, or ended without a log."""
    ends = tuple(member.describe_end() for member in members)
    void = {member.run_id for member in members if member.is_void}
    unbegun = [
        {"workspace": member.workspace, "run_id": member.run_id, "reason": member.reason or "the run did not begin"}
        for member in members
        if member.is_void
    ]
    codes = [end.exit_code for end in ends if end.exit_code is not None]
    left_out = bool(state.started.left_out or unbegun) or len(codes) < len(ends)
    code = combine_exit_codes(codes, left_out=left_out)
    logged = tuple(end for end in ends if end.run_id not in void)
    if not all(end.has_finished for end in logged):
        reason = name_interruption(logged)
        log.record(FleetEvent.FLEET_INTERRUPTED, reason=reason, exit_code=int(code), unbegun=unbegun)
        await log.flush()
        return FleetEnd(code, has_finished=False)
    counts = sum_counts(
        {Outcome(outcome): number for outcome, number in member.end["counts"].items()}
        for member in members
        if member.end is not None
    )
    log.record(
        FleetEvent.FLEET_FINISHED,
        exit_code=int(code),
        ending=choose_ending(ends).value,
        counts={outcome.value: number for outcome, number in counts.items()},
        runs=[end.document() for end in logged],
        left_out=state.started.left_out,
        unbegun=unbegun,
    )
    await log.flush()
    return FleetEnd(code)
