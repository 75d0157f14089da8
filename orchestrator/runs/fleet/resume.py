"""The resume of a fleet run: its unfinished runs continue, its finished runs stay as they are."""

import json
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import anyio

from orchestrator.audit.claims import Claim
from orchestrator.audit.fleet_log import FleetEvent, FleetRun, FleetState
from orchestrator.audit.fleet_store import void_error
from orchestrator.audit.grouped_writer import write_in_groups
from orchestrator.audit.log import AuditLog
from orchestrator.audit.store import RunStore, StoredRun, require_sound
from orchestrator.audit.verify import Reading
from orchestrator.errors import NotConfirmedError, OrchestratorError, SettingsError, UsageError
from orchestrator.playbook.value_types import Share
from orchestrator.runs.claims import claim_again
from orchestrator.runs.fleet.members import (
    LeftOut,
    Member,
    Observe,
    open_sessions,
    read_members,
    read_usable_members,
    require_descriptors,
)
from orchestrator.runs.fleet.plan import leave_out, report_slow_reads
from orchestrator.runs.fleet.start import OpenFleet, OpenMember
from orchestrator.runs.frozen import Applied
from orchestrator.runs.resume import ReopenedRun, ResumePlan, reopen_run, report_warnings
from orchestrator.runs.session import Session
from orchestrator.runs.stores import claim_store
from orchestrator.runs.workspaces import name_errors
from orchestrator.settings.load import Settings


@dataclass(frozen=True, slots=True)
class ReopenedFleet:
    """An unfinished fleet run with all logs reopened.

    Attributes:
        stored: the fleet log in its store.
        log: the fleet log, held by this process.
        reading: the result of reading the fleet log.
        state: the replayed state of the fleet log.
        runs: every run by workspace, in the order of the settings; empty for a finished fleet run.
    """

    stored: StoredRun
    log: AuditLog
    reading: Reading
    state: FleetState
    runs: Mapping[str, ReopenedRun]

    @property
    def open_runs(self) -> dict[str, ReopenedRun]:
        """The unfinished runs by workspace."""
        return {name: run for name, run in self.runs.items() if run.state.finished is None}

    def read_members(self, settings: Settings) -> tuple[Member, ...]:
        """Read the key of every workspace with an unfinished run; errors as in `read_usable_members`."""
        return self._require_urls(read_members(settings, self.open_runs))

    def read_usable_members(
        self, settings: Settings, skip: Collection[str]
    ) -> tuple[tuple[Member, ...], tuple[LeftOut, ...]]:
        """Read the keys; leave the workspaces of `skip` without a usable key out.

        Raises:
            SettingsError: when a key is missing or unusable; the error names the workspace.
            UsageError: when the settings lack a workspace, or when its address is not the address of the run.
        """
        # Without the canary workspace, the other workspaces would wait for its end.
        may_skip = {*skip} - {self.state.started.first}
        members, left_out = read_usable_members(settings, tuple(self.open_runs), may_skip)
        return self._require_urls(members), left_out

    def _require_urls(self, members: tuple[Member, ...]) -> tuple[Member, ...]:
        for member in members:
            with name_errors(member.name):
                member.endpoint.require_url(self.runs[member.name].state.started.cloud_url)
        return members

    def apply_settings(self, members: Iterable[Member], assignments: Iterable[str] = ()) -> dict[str, Applied]:
        """Apply the settings of every workspace stricter than the recorded values.

        Raises:
            UsageError: when a value of the command line would have no effect.
        """
        assignments = tuple(assignments)
        applied = {}
        for member in members:
            with name_errors(member.name):
                applied[member.name] = self.runs[member.name].apply_settings(member.settings, assignments)
        return applied

    async def record_resume(self, **fields: object) -> None:
        """Record `fleet.resumed`; the state follows the log from here on."""
        self.log.observers.append(self.state.apply_record)
        self.log.record_resumed(
            self.reading.torn, FleetEvent.FLEET_RESUMED, unterminated=self.reading.unterminated, **fields
        )
        await self.log.flush()

    def describe_open(self, members: Iterable[OpenMember] = ()) -> OpenFleet:
        """Describe the fleet run with all runs; a run outside `members` is not carried out."""
        by_name = {member.name: member for member in members}
        limit = self.state.started.max_failures
        return OpenFleet(
            self.log,
            self.state,
            tuple(
                by_name.get(name) or OpenMember(name, run.state.run_id, run.state) for name, run in self.runs.items()
            ),
            None if limit is None else Share.parse(limit),
        )


@contextmanager
def reopen_fleet(fleet: StoredRun, store: RunStore, *, to_abandon: bool = False) -> Iterator[ReopenedFleet]:
    """Reopen the logs of a fleet run and of all its runs, for the length of the block.

    Args:
        fleet: the fleet run.
        store: the store of runs.
        to_abandon: whether to reopen a fleet run without a plan too, with the runs that began before the crash.

    Raises:
        RunHeldError: when another process carries the fleet run, or one of its runs, out.
        SettingsError: when a log is missing, can't be written, or was altered, or when too few files may be open.
        NotConfirmedError: when the fleet log has no plan, so that no request was sent; not with `to_abandon`.
    """
    state = FleetState(fleet.run_id)
    log, reading = fleet.open_log(state.apply_record)
    with ExitStack() as stack:
        stack.callback(log.close)
        require_sound(reading, fleet, "an altered log can't be continued; start a new run")
        if not state.has_plan and state.finished is None and not to_abandon:
            raise void_error(fleet, NotConfirmedError)
        planned = () if state.finished is not None else state.runs or tuple(_list_begun(store, fleet.run_id))
        require_descriptors(len(planned))
        runs = {run.workspace: _reopen_member(stack, store, run, state.fleet_id) for run in planned}
        write_in_groups([log, *(run.log for run in runs.values())])
        yield ReopenedFleet(fleet, log, reading, state, runs)


def _list_begun(store: RunStore, fleet_id: str) -> Iterator[FleetRun]:
    """List the runs of a fleet run without a plan, by the first records of all logs; a run without a plan is void."""
    for run in store.list_runs():
        with suppress(OSError, ValueError, AttributeError, RecursionError):
            started, _ = (json.loads(line) for line in islice(run.read_lines(), 2))
            if started.get("fleet") == fleet_id:
                yield FleetRun({"workspace": started.get("workspace_name"), "run_id": run.run_id})


def _reopen_member(stack: ExitStack, store: RunStore, run: FleetRun, fleet_id: str) -> ReopenedRun:
    """Reopen the log of one run; the log of a finished run is closed again."""
    with name_errors(run.workspace):
        reopened = stack.enter_context(reopen_run(store.get_run(run.run_id), in_fleet=True))
        if reopened.state.started.fleet != fleet_id:
            raise SettingsError(f"the log does not belong to fleet run {fleet_id}", file=reopened.stored.location)
        if reopened.state.run_id != run.run_id:
            raise SettingsError("the log is the log of another run", file=reopened.stored.location)
    if reopened.state.finished is not None:
        reopened.log.close()
    return reopened


@dataclass(frozen=True, slots=True)
class MemberResume:
    """The resume of one workspace's run.

    Attributes:
        name: the workspace.
        session: the connection to the cloud.
        run: the run with its open log.
        claim: the claim on the run's CVMs; None for a plan without a resume.
        plan: the plan of the resume.
    """

    name: str
    session: Session
    run: ReopenedRun
    claim: Claim | None
    plan: ResumePlan


@dataclass(frozen=True, slots=True)
class FleetResumePlan:
    """The plan of the resume of a fleet run.

    Attributes:
        fleet: the fleet run.
        members: the resume of every unfinished run, in the order of the settings.
        left_out: the unreachable workspaces; their runs stay unfinished.
    """

    fleet: ReopenedFleet
    members: tuple[MemberResume, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def doubtful(self) -> int:
        """Count the CVMs of old plans perhaps changed on purpose since, in all workspaces."""
        return sum(member.plan.doubtful for member in self.members)

    @property
    def is_doubtful(self) -> bool:
        """Check for a reason to ask a person before the resume."""
        return any(member.plan.is_doubtful for member in self.members)

    def report_warnings(self) -> None:
        """Report the warnings of every run to its observer."""
        for member in self.members:
            report_warnings(member.plan, member.session.observer, member.run.state.run_id)

    def document(self) -> dict[str, Any]:
        """Build the document of `resume FLEET_ID --dry-run --json`."""
        return {
            "fleet_id": self.fleet.state.fleet_id,
            "exit_code": 0,
            "dry_run": True,
            "workspaces": [
                {"workspace": member.name, **member.plan.document(member.run.state)} for member in self.members
            ],
            "finished": [name for name, run in self.fleet.runs.items() if run.state.finished is not None],
            "left_out": [each.document() for each in self.left_out],
        }


@asynccontextmanager
async def open_fleet_resume(
    fleet: ReopenedFleet,
    settings: Settings,
    observe: Observe,
    *,
    assignments: Iterable[str] = (),
    skip: Collection[str] = (),
    ignore_running: bool = False,
    break_freeze: str | None = None,
    dry_run: bool = False,
) -> AsyncIterator[FleetResumePlan]:
    """Connect to the workspaces of all unfinished runs, claim their CVMs, and plan the resume.

    Connections and claims last for the length of the block.

    Args:
        fleet: the fleet run.
        settings: the settings, with all workspaces.
        observe: returns the observer for the run of a workspace.
        assignments: the settings given on the command line, as `section.field=value`.
        skip: names of workspaces to leave out if unreachable.
        ignore_running: whether to act on CVMs claimed by other runs.
        break_freeze: the reason to act during a freeze.
        dry_run: whether to plan without claims.

    Raises:
        UsageError: when the settings don't fit the runs, or when a name of `skip` has no unfinished run.
        SettingsError: when a key or a claim is unusable.
        ClaimedError: when a live run claims one of the CVMs, unless ignored.
        GuardError: when a guard stricter than a plan's guard refuses the rest of a run.
        CloudError: when a workspace can't be read, and is not in `skip`; the error names all such workspaces.
    """
    members, left_out = fleet.read_usable_members(settings, skip)
    applied = fleet.apply_settings(members, assignments)
    limits = {name: each.limits for name, each in applied.items()}
    with ExitStack() as stack:
        claims: dict[str, Claim] = {}
        if not dry_run:
            claims = stack.enter_context(claim_open_runs(fleet, settings, ignore_running=ignore_running))
        async with open_sessions(members, limits, observe) as sessions:
            yield await plan_fleet_resume(
                fleet, sessions, applied, claims, skip=skip, left_out=left_out, break_freeze=break_freeze
            )


@contextmanager
def claim_open_runs(
    fleet: ReopenedFleet, settings: Settings, *, ignore_running: bool = False
) -> Iterator[dict[str, Claim]]:
    """Claim the CVMs of all unfinished runs by workspace, for the length of the block; errors name the workspace."""
    store = claim_store(settings)
    with ExitStack() as stack:
        claims = {}
        for name, run in fleet.open_runs.items():
            with name_errors(name):
                claims[name] = stack.enter_context(claim_again(store, run.state, ignore_running=ignore_running))
        yield claims


async def plan_fleet_resume(
    fleet: ReopenedFleet,
    sessions: Mapping[str, Session],
    applied: Mapping[str, Applied],
    claims: Mapping[str, Claim],
    *,
    skip: Collection[str] = (),
    left_out: Sequence[LeftOut] = (),
    break_freeze: str | None = None,
) -> FleetResumePlan:
    """Read the CVMs of all unfinished runs at the same time, and plan the resume.

    Arguments and errors as for `open_fleet_resume`; `left_out` are the workspaces left out already.
    """
    open_runs = fleet.open_runs
    for name in skip:
        if name not in open_runs:
            raise UsageError(
                f"--skip-unreachable names {name!r}, but no unfinished run of this fleet run has this name",
                hint=f"unfinished: {', '.join(open_runs)}" if open_runs else None,
            )
    usable = {name: run for name, run in open_runs.items() if name in sessions}
    plans: dict[str, MemberResume] = {}
    errors: dict[str, OrchestratorError] = {}

    async def plan_one(name: str, run: ReopenedRun) -> None:
        """Plan the resume of one run; keep its error."""
        claim = claims.get(name)
        try:
            plan = await run.plan(sessions[name], applied[name], claim, break_freeze=break_freeze)
            plans[name] = MemberResume(name, sessions[name], run, claim, plan)
        except OrchestratorError as error:
            errors[name] = sessions[name].endpoint.explain(error)

    async with anyio.create_task_group() as reports:
        reports.start_soon(report_slow_reads, sessions, plans, errors)
        async with anyio.create_task_group() as group:
            for name, run in usable.items():
                group.start_soon(plan_one, name, run)
        reports.cancel_scope.cancel()
    # Without the canary workspace, the other workspaces would wait for its end.
    unreachable = leave_out(errors, {*skip} - {fleet.state.started.first}, tuple(usable))
    members = tuple(plans[name] for name in usable if name in plans)
    return FleetResumePlan(fleet, members, (*left_out, *unreachable))


async def record_fleet_resume(plan: FleetResumePlan, *, ignore_running: bool = False) -> OpenFleet:
    """Record the resume in the fleet log, then in the log of every run to continue.

    Args:
        plan: the plan of the resume, with claims.
        ignore_running: whether the runs act on CVMs claimed by other runs.

    Raises:
        AuditError: when a log can't be written.
    """
    fleet, left_out = plan.fleet, [each.document() for each in plan.left_out]
    await fleet.record_resume(**({"left_out": left_out} if left_out else {}))
    members = []
    for each in plan.members:
        assert each.claim is not None  # noqa: S101 - only a dry run has no claim
        opened = await each.run.record_resume(each.session, each.plan, each.claim, ignore_running=ignore_running)
        members.append(OpenMember(each.name, opened.log.run_id, opened.state, each.session, opened))
    return fleet.describe_open(members)
