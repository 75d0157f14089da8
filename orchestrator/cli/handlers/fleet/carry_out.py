"""A fleet run in front of people: signals, live view or plain lines, and the summary."""

import signal
from functools import partial

import anyio
import structlog

from orchestrator.cli.carry_out import Signals, choose_display, find_trouble
from orchestrator.cli.event_log import configure_log
from orchestrator.cli.handlers.fleet.reading import describe_outcome
from orchestrator.cli.handlers.fleet.show import print_outcome
from orchestrator.cli.handlers.show import find_exit_code
from orchestrator.cli.print_error import print_error
from orchestrator.engine.result import RunResult
from orchestrator.engine.run import Run
from orchestrator.errors import OrchestratorError
from orchestrator.outcome import Ending, Exit
from orchestrator.report.fleet.live import FleetProgress, WorkspaceProgress
from orchestrator.report.fleet.totals import WorkspaceRun
from orchestrator.report.run.live import Progress
from orchestrator.runs.execute import carry_out, explain_early_end
from orchestrator.runs.fleet.execute import FleetResult, carry_out_fleet
from orchestrator.runs.fleet.start import OpenFleet, OpenMember
from orchestrator.runs.status import StopRequest
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.runs.workspaces import name_workspace
from orchestrator.settings.load import Settings


async def carry_out_in_view(settings: Settings, fleet: OpenFleet, *, as_json: bool) -> int:
    """Carry out a fleet run, show its progress, and print its summary; returns the exit code.

    The first Ctrl-C or SIGTERM interrupts all runs; a second exits at once.

    Args:
        settings: the settings, with all workspaces.
        fleet: the fleet run; all logs and claims are closed before the return.
        as_json: whether stdout is for a JSON document.
    """
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        return await _carry_out(settings, fleet, as_json=as_json)
    except anyio.get_cancelled_exc_class():
        # The signal came before the receiver below was ready. The logs have begun, so the user has to know the id.
        code = Exit.SIGTERM if getattr(on_sigterm, "was_called", False) else Exit.SIGINT
        _print_end(settings, fleet, int(code), as_json=as_json)
        return int(code)


async def _carry_out(settings: Settings, fleet: OpenFleet, *, as_json: bool) -> int:
    configure_log(settings.log)
    event = "fleet.resumed" if fleet.state.was_resumed else "fleet.started"
    structlog.get_logger().info(event, fleet_id=fleet.fleet_id, workspaces=len(fleet.members))
    view = _FleetView(fleet)
    failure: Exception | None = None
    result: FleetResult | None = None
    signals = Signals(view.interrupt, view.progress)
    # Signals are handled until the end of the output, so that no signal can cut the output off.
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        async with anyio.create_task_group() as group:
            group.start_soon(signals.listen, received, group.cancel_scope)
            for show in choose_display(view.progress, as_json=as_json):
                group.start_soon(show, group.cancel_scope)
            try:
                result = await carry_out_fleet(fleet, view.stop, view.carry)
            except Exception as caught:  # noqa: BLE001 - raised again below, after the summary
                failure = caught
            group.cancel_scope.cancel()
        code = signals.exit_code if result is None else int(result.exit_code)
        if failure is not None:
            code = int(failure.exit_code if isinstance(failure, OrchestratorError) else Exit.BUG)
        _print_end(settings, fleet, code, as_json=as_json)
        for error in view.list_errors():
            print_error(error, as_json=False)
    if failure is not None:
        raise failure
    return code


def _print_end(settings: Settings, fleet: OpenFleet, code: int, *, as_json: bool) -> None:
    store = run_store(settings)
    runs = tuple(
        WorkspaceRun(
            member.name,
            member.state,
            find_exit_code(member.state),
            store.get_run(member.run_id).location,
            is_unfinished=member.state.finished is None,
        )
        for member in fleet.members
    )
    location = fleet_store(settings).get_fleet(fleet.fleet_id).location
    print_outcome(describe_outcome(fleet.state, runs, code, location), as_json=as_json)


class _FleetView:
    """The progress of all runs, the request to end them, and their results.

    Attributes:
        progress: the progress for a person.
        stop: the request to end all runs.
    """

    def __init__(self, fleet: OpenFleet) -> None:
        self.stop = StopRequest()
        self._fleet = fleet
        self._by_name = {member.name: _make_progress(member) for member in fleet.members}
        self.progress = FleetProgress([WorkspaceProgress(name, found) for name, found in self._by_name.items()])
        self._results: dict[str, RunResult] = {}

    def interrupt(self, ending: Ending) -> None:
        """End all runs: nothing more is sent, and sent requests are watched."""
        self.stop.request_end(ending)

    async def carry(self, member: OpenMember, stop: StopRequest) -> RunResult:
        """Carry out the run of one workspace, with its progress."""
        assert member.session is not None  # noqa: S101 - finished runs are not carried out
        assert member.opened is not None  # noqa: S101 - the same
        result = await carry_out(member.session, member.opened, stop, partial(self._follow, member))
        self._results[member.name] = result
        return result

    def _follow(self, member: OpenMember, run: Run) -> None:
        """Show the progress of a run from its beginning."""
        assert member.session is not None  # noqa: S101 - the same
        progress = self._by_name[member.name]
        progress.is_ending = lambda: run.is_ending
        progress.trouble = partial(find_trouble, run, member.session)

    def list_errors(self) -> list[OrchestratorError]:
        """List the errors to fix before the resume, with the names of their workspaces."""
        errors = []
        for member in self._fleet.members:
            if member.opened is None or member.session is None:
                continue
            error = explain_early_end(self._results.get(member.name), member.opened.log, member.session.endpoint)
            if error is not None:
                hint = error.hint and error.hint.replace(member.run_id, self._fleet.fleet_id)
                error.hint = hint
                errors.append(name_workspace(error, member.name))
        return errors


def _make_progress(member: OpenMember) -> Progress:
    session = member.session
    if session is None:
        return Progress(member.state, lambda: 1.0, lambda: 0)
    gate, is_adaptive = session.gate, session.limits.adaptive
    return Progress(member.state, lambda: gate.budget.rate, lambda: gate.passed, adaptive=is_adaptive)
