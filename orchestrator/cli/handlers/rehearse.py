"""`orchestrator rehearse`."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import click
from rich.console import Console

from orchestrator.cli.consoles import PIPE_WIDTH, redraws, stdout_console
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.out_file import STDOUT, check_place, write_out
from orchestrator.errors import SettingsError, UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook, parse_assignments
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.select import needs_uptime
from orchestrator.playbook.steps import Select
from orchestrator.rehearsal.assumptions import assume
from orchestrator.rehearsal.faults import NO_FAULTS, describe_source, find_faults, load_faults
from orchestrator.rehearsal.fleet import Fleet
from orchestrator.rehearsal.rehearse import AnswerOption, Rehearsal, Rehearsed, rehearse
from orchestrator.rehearsal.result import build_result
from orchestrator.rehearsal.seeds import compare_seeds, rehearse_seeds
from orchestrator.reply import Reply
from orchestrator.report.rehearsal import print_rehearsal, print_seeds
from orchestrator.runs.api_profile import ApiProfile, fingerprint_workspace
from orchestrator.runs.inventory import read_inventory
from orchestrator.runs.inventory_file import read_inventory_file
from orchestrator.runs.keeping import KeepReader, load_keep_file
from orchestrator.runs.prepare import Overrides
from orchestrator.runs.session import Endpoint, limits_of, name_in_store, open_endpoint, open_session
from orchestrator.runs.stores import api_profile_store
from orchestrator.runs.uptimes import read_uptimes
from orchestrator.runs.workspaces import choose_names
from orchestrator.settings.load import Settings, load_settings
from orchestrator.times import utc_now

_EVERYTHING = Select.model_validate({"all": True})


def rehearse_playbook(
    playbook: str,
    variables: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    workspaces: tuple[str, ...],
    inventory: Path | None,
    faults: str | None,
    seeds: int | None,
    seed: int,
    settle: str | None,
    answer: AnswerOption,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    overrides: Overrides,
    simulate: bool,
    form: str,
    out: Path | None,
) -> int:
    """Rehearse a playbook, and print the result. Sends no changing request."""
    check_place(out)
    if seeds is not None and form == "html":
        raise UsageError("--seeds excludes --format html", hint="write the report of a single seed: --seed N")
    if inventory is not None and simulate:
        raise UsageError("--inventory and --simulate exclude each other")
    loaded = load_playbook(find_playbook(playbook), parse_assignments(variables))
    file = None if faults is None else find_faults(faults)
    found = NO_FAULTS if file is None else load_faults(file)
    settings = _choose_settings(load_settings(config, assignments), workspaces, loaded, simulate=simulate)
    fleet, url, profile = _read_fleet(settings, loaded, inventory, simulate=simulate)
    found.require_teepods(sorted(fleet.teepods), file)
    rehearsal = Rehearsal(
        loaded=loaded,
        settings=settings,
        limits=limits_of(loaded.playbook.limits, settings),
        fleet=fleet,
        cloud_url=url,
        assumptions=assume(profile, settle, fleet.latency),
        faults=found,
        faults_source=None if file is None else describe_source(file, found),
        answer=answer,
        narrowing=Narrowing.parse_options(only, exclude),
        overrides=overrides,
    )
    if seeds is not None:
        _rehearse_many(rehearsal, range(seed, seed + seeds), form, out)
    else:
        _rehearse_once(rehearsal, seed, form, out)
    return int(Exit.OK)


def _choose_settings(
    every: Settings, workspaces: tuple[str, ...], loaded: LoadedPlaybook, *, simulate: bool
) -> Settings:
    """Choose the workspace of the rehearsal.

    Raises:
        UsageError: when several workspaces match.
    """
    names = choose_names(every, workspaces, loaded.playbook.workspaces, simulate=simulate)
    if len(names) > 1:
        message = f"a rehearsal needs one workspace, and {len(names)} match"
        raise UsageError(message, hint=f"name one workspace, such as --workspace {names[0]}")
    return every.for_workspace(names[0]) if names else every


def _read_fleet(
    settings: Settings, loaded: LoadedPlaybook, inventory: Path | None, *, simulate: bool
) -> tuple[Fleet, str, ApiProfile]:
    """Read the fleet, the address on record, and the profile of the API."""
    if inventory is not None:
        return _read_saved_fleet(settings, inventory), settings.find_base_url(), _read_known_profile(settings)
    with open_endpoint(settings, simulate=simulate) as where:
        fleet = anyio.run(_read_live_fleet, settings, where, loaded)
        return fleet, where.base_url, ApiProfile() if simulate else _read_profile(settings, where)


def _read_saved_fleet(settings: Settings, inventory: Path) -> Fleet:
    """Read the fleet from an inventory file; exemptions as in `plan --inventory`."""
    saved, file = read_inventory_file(inventory), settings.keep.file
    cvms = saved.facts_at(saved.read_at)
    keep = (*(() if file is None else load_keep_file(file)), *saved.keep)
    return Fleet(cvms, saved.read_at, saved.workspace, str(inventory), exemptions=keep)


class _LatencyObserver(LogObserver):
    """Observes the latency of replies.

    Attributes:
        latency: the shortest latency, in seconds; 0 without a reply.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.latency = 0.0
        self.on_reply = self._measure

    def _measure(self, reply: Reply[object]) -> None:
        if reply.value is not None:
            self.latency = min(self.latency or reply.latency, reply.latency)


async def _read_live_fleet(settings: Settings, where: Endpoint, loaded: LoadedPlaybook) -> Fleet:
    """Read the fleet from the cloud, by reading requests alone."""
    observer = _LatencyObserver(settings)
    async with open_session(settings, where, limits_of(Limits(), settings), observer, few=True) as session:
        reading = await read_inventory(session, _EVERYTHING)
        selects = [step.select for step in loaded.playbook.acting_steps]
        lacking = [cvm for cvm in reading.cvms if any(needs_uptime(select, cvm) for select in selects)]
        if lacking:
            reading = replace(reading, cvms=await read_uptimes(session, reading.cvms, lacking))
    source = "the simulated cloud" if where.simulated else where.base_url
    return Fleet(
        reading.cvms,
        reading.read_at,
        reading.workspace,
        source,
        observer.latency,
        reading.is_stable,
        () if where.simulated else KeepReader().read_every(settings),
    )


def _read_known_profile(settings: Settings) -> ApiProfile:
    """Read the profile of the API if the settings have a key; an inventory file needs no profile."""
    try:
        where = Endpoint.from_settings(settings)
    except SettingsError:
        return ApiProfile()
    return _read_profile(settings, where)


def _read_profile(settings: Settings, where: Endpoint) -> ApiProfile:
    workspace = name_in_store(settings, where.api_key)
    profiles = api_profile_store(settings, workspace, LogObserver(settings).on_warning)
    return profiles.read_profile(where.base_url, fingerprint_workspace(where.api_key), utc_now())


def _rehearse_once(rehearsal: Rehearsal, seed: int, form: str, out: Path | None) -> None:
    with TemporaryDirectory(prefix="orchestrator-rehearsal-") as folder:
        found = rehearse(rehearsal, seed, Path(folder))
        document = build_result(rehearsal, found)
        if form == "html":
            from orchestrator.report.rehearsal_page import render_rehearsal  # noqa: PLC0415 - only this format

            _write_bytes(render_rehearsal(document, _read_report(found)), out)
            return
    _write(document, lambda console: print_rehearsal(console, document), form, out)


def _rehearse_many(rehearsal: Rehearsal, seeds: range, form: str, out: Path | None) -> None:
    with click.progressbar(
        rehearse_seeds(rehearsal, seeds),
        length=len(seeds),
        label="Rehearsing",
        show_pos=True,
        hidden=not redraws(sys.stderr),
        file=sys.stderr,
    ) as results:
        document = compare_seeds(list(results))
    _write(document, lambda console: print_seeds(console, rehearsal.loaded.playbook.name, document), form, out)


def _write(document: dict[str, Any], print_text: Callable[[Console], None], form: str, out: Path | None) -> None:
    """Write a result as text or JSON."""
    if form == "text" and out in {None, STDOUT}:
        print_text(stdout_console())
        return
    text = StringIO()
    if form == "text":
        print_text(Console(file=text, width=PIPE_WIDTH, color_system=None))
    else:
        text.write(json.dumps(document, indent=2) + "\n")
    if out is None or out == STDOUT:
        click.echo(text.getvalue(), nl=False)
    else:
        write_out(out, text.getvalue().encode())


def _write_bytes(data: bytes, out: Path | None) -> None:
    if out is None or out == STDOUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_out(out, data)


def _read_report(found: Rehearsed) -> dict[str, Any] | None:
    """Read the report of a rehearsed run from its log; None for a run without a start."""
    from orchestrator.audit.store import FileRun  # noqa: PLC0415 - only the format that was asked for
    from orchestrator.report.full.reading import read_run_document  # noqa: PLC0415 - the same

    if found.state is None:
        return None
    return read_run_document(FileRun(found.log), even_if_altered=False)[0]
