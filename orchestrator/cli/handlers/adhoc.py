"""`orchestrator stop`, `shutdown`, `start` and `restart`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio

from orchestrator.action import Action
from orchestrator.cli.cvm_list import read_names
from orchestrator.cli.handlers.plan import print_result, write_plan
from orchestrator.cli.handlers.run import run_in_session
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.options import require_no_skip
from orchestrator.cli.plan_file import check_place
from orchestrator.errors import UsageError
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.narrowing import build_select
from orchestrator.runs.adhoc import build_playbook, is_identifier, request_named
from orchestrator.runs.prepare import NO_OVERRIDES, Overrides, find_refusal
from orchestrator.runs.session import Endpoint, Session, limits_of, open_endpoint, open_session
from orchestrator.runs.start import RunRequest, plan_request
from orchestrator.runs.stores import run_store
from orchestrator.runs.workspaces import choose_names
from orchestrator.settings.load import Settings, load_settings

_MOST_NAMES = 5
"""Most names in a command of a hint."""


def act(
    action: Action,
    *,
    cvms: tuple[str, ...],
    sources: tuple[str, ...],
    selectors: Mapping[str, Sequence[str]],
    excludes: tuple[str, ...],
    workspaces: tuple[str, ...],
    skip: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    out: Path | None,
    simulate: bool,
    yes: bool,
    ignore_running: bool,
    as_json: bool,
    overrides: Overrides = NO_OVERRIDES,
) -> int:
    """Act on named or selected CVMs: plan, confirm, act, watch until settled."""
    names = _read_choice(action, cvms, sources, selectors, excludes)
    loaded = None if names else build_playbook(action, build_select(selectors, excludes))
    every = load_settings(config, assignments)
    members = choose_names(every, workspaces, simulate=simulate)
    if len(members) > 1:
        if loaded is None:
            raise _refuse_names(action, names, workspaces, len(members))
        from orchestrator.cli.handlers.fleet.plan import PlaybookRequest, refuse_plan_file  # noqa: PLC0415 - seldom needed
        from orchestrator.cli.handlers.fleet.run import FleetCommand, run_fleet  # noqa: PLC0415 - the same

        refuse_plan_file(members, has_out=out is not None)
        fleet_order = PlaybookRequest(loaded, ignore_running=ignore_running, overrides=overrides)
        return run_fleet(every, members, FleetCommand(fleet_order, skip, yes, expect, as_json))
    require_no_skip(skip)
    settings = every.for_workspace(members[0]) if members else every
    if out is not None:
        if simulate:
            raise UsageError("--out excludes --simulate", hint="a simulated cloud ends with this command")
        check_place(out)
    else:
        run_store(settings).prepare()
    order = _Order(action, names, loaded, out, ignore_running, overrides)
    with open_endpoint(settings, simulate=simulate) as where:
        return anyio.run(partial(_open_and_act, settings, where, order, yes=yes, expect=expect, as_json=as_json))


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of a command line: named CVMs, or the playbook of selector options."""

    action: Action
    names: list[str]
    loaded: LoadedPlaybook | None
    out: Path | None
    ignore_running: bool
    overrides: Overrides

    async def make_request(self, session: Session) -> RunRequest:
        if self.loaded is not None:
            limits = limits_of(Limits(), session.settings)
            return RunRequest(self.loaded, limits, ignore_running=self.ignore_running)
        return await request_named(session, self.action, self.names, ignore_running=self.ignore_running)


async def _open_and_act(
    settings: Settings, where: Endpoint, order: _Order, *, yes: bool, expect: int | None, as_json: bool
) -> int:
    limits, observer = limits_of(Limits(), settings), LogObserver(settings)
    async with open_session(settings, where, limits, observer, few=order.out is not None) as session:
        request = replace(await order.make_request(session), overrides=order.overrides)
        if order.out is None:
            return await run_in_session(session, request, yes=yes, expect=expect, as_json=as_json)
        found = await plan_request(session, request)
    written = None
    if find_refusal(found.plan, is_named=request.is_named) is None:
        written = write_plan(order.out, found, request.loaded, where.base_url)
    return print_result(
        found.plan,
        None,
        order.out,
        written,
        form="json" if as_json else "text",
        is_named=request.is_named,
        needs_approval=bool(settings.approval.keys),
    )


def _refuse_names(action: Action, names: Sequence[str], workspaces: Sequence[str], count: int) -> UsageError:
    """Return the error for named CVMs in several workspaces: a CVM belongs to one workspace, a name may to many."""
    options = " ".join(f"--workspace {shlex.quote(each)}" for each in workspaces)
    if any(map(is_identifier, names)):
        hint = f"`orchestrator cvms {options}` lists the workspace of every CVM; name this workspace"
    else:
        chosen = (
            " ".join(f"--name {shlex.quote(name)}" for name in names) if len(names) <= _MOST_NAMES else "--name PATTERN"
        )
        hint = f"name one workspace, or select by name in all: orchestrator {action} {chosen} {options}"
    return UsageError(f"named CVMs need one workspace, but {count} workspaces match", hint=hint)


def _read_choice(
    action: Action,
    cvms: tuple[str, ...],
    sources: tuple[str, ...],
    selectors: Mapping[str, Sequence[str]],
    excludes: tuple[str, ...],
) -> list[str]:
    """Read the named CVMs; empty for selector options."""
    if (cvms or sources) and (selectors or excludes):
        raise UsageError("CVMs and selector options exclude each other", hint="name the CVMs, or select by options")
    names = read_names(cvms, sources)
    if not names and not selectors:
        raise UsageError(
            f"{action} needs CVMs or a selector option",
            hint=f"for example: orchestrator {action} web-1, or orchestrator {action} --teepod prod-1",
        )
    return names
