"""`orchestrator cvms`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import click
from rich.console import Console

from orchestrator.cli.consoles import PIPE_WIDTH, stdout_console
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.out_file import STDOUT, check_place, write_out
from orchestrator.cvm import Cvm
from orchestrator.errors import UsageError
from orchestrator.playbook.keep import KeepList
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.narrowing import build_select
from orchestrator.playbook.order import Rank, rank_target
from orchestrator.playbook.schema import Protect
from orchestrator.playbook.select import describe_unmatched
from orchestrator.playbook.steps import Select
from orchestrator.report.inventory.csv import build_inventory_csv
from orchestrator.report.inventory.text import print_inventory
from orchestrator.runs.documents import write_document
from orchestrator.runs.fleet.members import read_members
from orchestrator.runs.inventory import InventoryReading, read_inventories, read_inventory
from orchestrator.runs.inventory_file import build_inventory, describe_cvm
from orchestrator.runs.keeping import KeepReader
from orchestrator.runs.session import Endpoint, limits_of, open_endpoint, open_session
from orchestrator.runs.stores import read_clock
from orchestrator.runs.workspaces import choose_names
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import safe_text


def list_cvms(
    selectors: Mapping[str, Sequence[str]],
    excludes: tuple[str, ...],
    workspaces: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    order: str,
    form: str,
    out: Path | None,
    save: Path | None,
    simulate: bool,
) -> None:
    """Print, write or save the inventory."""
    select = Select.model_validate(build_select(selectors, excludes))
    settings = load_settings(config, assignments)
    members = read_members(settings, choose_names(settings, workspaces, simulate=simulate))
    if save == STDOUT:
        raise UsageError("--save needs a file", hint="use --json for JSON on stdout")
    if save is not None and len(members) > 1:
        raise UsageError("--save needs one workspace", hint="add --workspace with a single name, or use --json")
    for file in (out, save):
        check_place(file)
    if save is not None and out not in {None, STDOUT} and os.path.realpath(save) == os.path.realpath(str(out)):
        raise UsageError("--save and -o name the same file", file=save, hint="name two files")
    if members:
        readings = anyio.run(read_inventories, members, select, LogObserver)
    else:
        with open_endpoint(settings, simulate=simulate) as where:
            readings = [anyio.run(_read, settings, where, select)]
    every = [member.settings for member in members] or [settings]
    keep = None if simulate else KeepReader().read_list(settings, read_clock(settings))
    listed = [
        _Listed(cvm, each.guards.protect, each.workspace_name, keep)
        for each, reading in zip(every, readings, strict=True)
        for cvm in reading.cvms
    ]
    listed.sort(key=lambda each: _rank(each.cvm, order))
    if save is not None:
        pieces: list[str] = []
        # In the order of the list, which decides the survivors and the order of an offline plan.
        write_document(build_inventory(readings[0], every[0].guards.protect, keep), pieces.append)
        write_out(save, "".join(pieces).encode())
    joined = InventoryReading.join(readings)
    _write(joined, listed, form, out)
    for sentence in describe_unmatched([select], joined.every):
        click.echo(f"hint: {safe_text(sentence, 400)}", err=True)


async def _read(settings: Settings, where: Endpoint, select: Select) -> InventoryReading:
    async with open_session(settings, where, limits_of(Limits(), settings), LogObserver(settings), few=True) as it:
        return await read_inventory(it, select)


def _rank(cvm: Cvm, order: str) -> Rank:
    if order == "age":
        return (cvm.age is None, -(cvm.age or 0), *rank_target("name", cvm.ref, None))
    first = (not cvm.ref.name,) if order == "name" else ()
    return (*first, *rank_target(order, cvm.ref, cvm.usd_per_hour))  # type: ignore[arg-type] # checked by click


@dataclass(frozen=True, slots=True)
class _Listed:
    """A listed CVM.

    Attributes:
        cvm: the CVM.
        protect: the protection of the settings for its workspace.
        name: the workspace by its name in the settings; None for the default key.
        keep: the exemptions; None for a simulated cloud.
    """

    cvm: Cvm
    protect: Protect
    name: str | None
    keep: KeepList | None

    def document(self) -> dict[str, Any]:
        """Build the entry of the CVM."""
        entry = describe_cvm(self.cvm, self.protect, self.keep)
        return entry if self.name is None else {**entry, "workspace_name": self.name}


def _write(found: InventoryReading, listed: Sequence[_Listed], kind: str, out: Path | None) -> None:
    cvms, names = [each.cvm for each in listed], [each.name for each in listed if each.name is not None]
    keep = listed[0].keep if listed else None
    if kind == "text" and out in {None, STDOUT}:
        print_inventory(stdout_console(), found, cvms, names, keep)
        return
    text = StringIO()
    if kind == "text":
        print_inventory(Console(file=text, width=PIPE_WIDTH, color_system=None), found, cvms, names, keep)
    elif kind == "csv":
        text.write(build_inventory_csv(each.document() for each in listed))
    else:
        write_document([each.document() for each in listed], text.write)
    if out is None or out == STDOUT:
        click.echo(text.getvalue(), nl=False)
    else:
        write_out(out, text.getvalue().encode())
