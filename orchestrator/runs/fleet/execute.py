"""Carry out a fleet run: the canary workspace, then all other runs at once, and the last record of the fleet log."""

from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from orchestrator.audit.events import Event
from orchestrator.audit.fleet_log import FleetEvent
from orchestrator.errors import AuditError
from orchestrator.outcome import Ending, Exit
from orchestrator.runs.execute import carry_out
from orchestrator.runs.fleet.result import (
    AfterCanary,
    MemberEnd,
    choose_ending,
    combine_exit_codes,
    decide_after_canary,
    has_too_many_failures,
    name_interruption,
    sum_counts,
)
from orchestrator.runs.fleet.start import OpenFleet, OpenMember
from orchestrator.runs.status import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.audit.record import Record
    from orchestrator.engine.result import RunResult


@dataclass(frozen=True, slots=True)
class FleetResult:
    """Result of a fleet run.

    Attributes:
        exit_code: the exit code of the command.
        ending: the ending of the run with the most important exit code.
        ends: the end of every run, in the order of the settings.
        has_finished: whether every run is finished.
    """

    exit_code: Exit
    ending: Ending
    ends: tuple[MemberEnd, ...]
    has_finished: bool


Carry = Callable[[OpenMember, StopRequest], "Awaitable[RunResult | None]"]
"""Carries out the run of one workspace; None for a run left at once."""


async def carry_out_member(member: OpenMember, stop: StopRequest) -> "RunResult | None":
    """Carry out the run of one workspace without a person."""
    assert member.session is not None  # noqa: S101 - finished runs are not carried out
    assert member.opened is not None  # noqa: S101 - the same
    return await carry_out(member.session, member.opened, stop)


async def carry_out_fleet(fleet: OpenFleet, stop: StopRequest, carry: Carry = carry_out_member) -> FleetResult:
    """Carry out all runs of a fleet run, and write the last record of the fleet log.

    A failure of one run does not stop the others. All logs and claims are closed at the end.

    Args:
        fleet: the fleet run.
        stop: the request to end all runs. Sent requests are still watched.
        carry: carries out the run of one workspace.

    Raises:
        AuditError: when the fleet log can't be written.
        ExceptionGroup: the bugs of single runs, after the end of all other runs.
    """
    control = _FleetControl(fleet, stop, carry)
    with fleet:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(control.forward_stop)
                await control.carry_out_all()
                group.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True), suppress(AuditError):
                await record_end(fleet, control.list_ends())
            raise
        ends = control.list_ends()
        result = await record_end(fleet, ends)
    if control.bugs:
        raise ExceptionGroup("some runs of the fleet run ended with a bug", control.bugs)
    return result


@dataclass(slots=True)
class _FleetControl:
    """The common control of all runs.

    Attributes:
        fleet: the fleet run.
        stop: the request to end all runs.
        carry: carries out the run of one workspace.
        stops: the stop request of every run that began.
        results: the result of every run that ended.
        bugs: the exceptions of runs.
    """

    fleet: OpenFleet
    stop: StopRequest
    carry: Carry
    stops: dict[str, StopRequest] = field(default_factory=dict)
    results: "dict[str, RunResult]" = field(default_factory=dict)
    bugs: list[Exception] = field(default_factory=list)

    async def carry_out_all(self) -> None:
        """Carry out the canary workspace, then all others at the same time."""
        open_members = [member for member in self.fleet.members if member.opened is not None]
        first, ending = self.fleet.first, None
        if first is not None:
            if first.opened is not None:
                await self._carry_out(first, None)
            match decide_after_canary(self._describe_end(first)):
                case AfterCanary.WAIT:
                    return
                case AfterCanary.END:
                    ending = Ending.CANARY_FAILED
                case AfterCanary.BEGIN:
                    pass
        async with anyio.create_task_group() as group:
            for member in open_members:
                if member is not first:
                    group.start_soon(self._carry_out, member, ending)

    async def forward_stop(self) -> None:
        """Pass the request to end on to every run."""
        await self.stop.requested.wait()
        self._end_all(self.stop.ending)

    async def _carry_out(self, member: OpenMember, ending: Ending | None) -> None:
        """Carry out one run; a run with an ending sends nothing new."""
        stop = self.stops[member.name] = StopRequest()
        if self.stop.requested.is_set():
            ending = self.stop.ending
        elif ending is None and self._has_too_many_failures():
            ending = Ending.MAX_FAILURES
        if ending is not None:
            stop.request_end(ending, by=self.stop.by)
        with self._watch_failures(member):
            try:
                result = await self.carry(member, stop)
            except Exception as bug:  # noqa: BLE001 - the other runs continue; raised at the end
                self.bugs.append(bug)
            else:
                if result is not None:
                    self.results[member.name] = result

    @contextmanager
    def _watch_failures(self, member: OpenMember) -> "Iterator[None]":
        """Check the total of failures after every record of a run."""

        def check(record: "Record") -> None:
            if record["event"] == Event.TARGET_FAILED and self._has_too_many_failures():
                self._end_all(Ending.MAX_FAILURES)

        assert member.opened is not None  # noqa: S101 - finished runs are not carried out
        if self.fleet.max_failures is not None:
            member.opened.log.observers.append(check)
        yield

    def _has_too_many_failures(self) -> bool:
        counts = [member.state.counts for member in self.fleet.members]
        return has_too_many_failures(counts, self.fleet.max_failures, self.fleet.target_count)

    def _end_all(self, ending: Ending) -> None:
        for stop in self.stops.values():
            if not stop.requested.is_set():
                stop.request_end(ending, by=self.stop.by)

    def list_ends(self) -> tuple[MemberEnd, ...]:
        """Describe the end, or the present state, of every run."""
        return tuple(map(self._describe_end, self.fleet.members))

    def _describe_end(self, member: OpenMember) -> MemberEnd:
        result = self.results.get(member.name)
        if member.state.finished is not None:
            return describe_finished(member)
        if result is not None:
            return MemberEnd(member.name, member.run_id, result.ending, result.exit_code)
        if self.stop.requested.is_set():
            code = _CODES.get(self.stop.ending, Exit.SIGINT)
            return MemberEnd(member.name, member.run_id, self.stop.ending, code)
        return MemberEnd(member.name, member.run_id)


_CODES = {Ending.SIGTERM: Exit.SIGTERM, Ending.CANCELLED: Exit.ENDED_EARLY}


def describe_finished(member: OpenMember) -> MemberEnd:
    """Describe the end of a run by its log; without an ending for an unfinished run."""
    finished = member.state.finished
    if finished is None:
        return MemberEnd(member.name, member.run_id)
    ending = Ending(finished.ending) if finished.ending else None
    return MemberEnd(member.name, member.run_id, ending, Exit(finished.exit_code), finished.hash)


async def record_end(fleet: OpenFleet, ends: tuple[MemberEnd, ...]) -> FleetResult:
    """Combine the ends of all runs, and write the last record, as `record_result`."""
    codes = [end.exit_code for end in ends if end.exit_code is not None]
    left_out = bool(fleet.state.started.left_out) or len(codes) < len(ends)
    code = combine_exit_codes(codes, left_out=left_out)
    return await record_result(
        fleet, FleetResult(code, choose_ending(ends), ends, all(end.has_finished for end in ends))
    )


async def record_result(fleet: OpenFleet, result: FleetResult) -> FleetResult:
    """Write the last record: the fleet run is finished once every run is.

    Raises:
        AuditError: when the fleet log can't be written.
    """
    if result.has_finished:
        fleet.log.record(FleetEvent.FLEET_FINISHED, **finished_fields(fleet, result))
    else:
        fleet.log.record(
            FleetEvent.FLEET_INTERRUPTED, reason=name_interruption(result.ends), exit_code=int(result.exit_code)
        )
    await fleet.log.flush()
    return result


def finished_fields(fleet: OpenFleet, result: FleetResult) -> dict[str, object]:
    """Build the fields of `fleet.finished`."""
    counts = sum_counts(member.state.counts for member in fleet.members)
    return {
        "exit_code": int(result.exit_code),
        "ending": result.ending.value,
        "counts": {outcome.value: number for outcome, number in counts.items()},
        "runs": [end.document() for end in result.ends],
        "left_out": fleet.state.started.left_out,
    }
