"""`orchestrator cvms`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import anyio
import click
from rich.console import Console

from orchestrator.cli.consoles import PIPE_WIDTH, stdout_console
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.out_file import STDOUT, check_place, write_out
from orchestrator.cvm import Cvm
from orchestrator.errors import UsageError
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.narrowing import build_select
from orchestrator.playbook.order import Rank, rank_target
from orchestrator.playbook.steps import Select
from orchestrator.report.inventory.csv import build_inventory_csv
from orchestrator.report.inventory.text import print_inventory
from orchestrator.runs.documents import write_document
from orchestrator.runs.inventory import InventoryReading, read_inventory
from orchestrator.runs.inventory_file import build_inventory, describe_cvm
from orchestrator.runs.session import Endpoint, limits_of, open_endpoint, open_session
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import safe_text


def list_cvms(
    selectors: Mapping[str, Sequence[str]],
    excludes: tuple[str, ...],
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
    if save == STDOUT:
        raise UsageError("--save needs a file", hint="use --json for JSON on stdout")
    for file in (out, save):
        check_place(file)
    if save is not None and out not in {None, STDOUT} and os.path.realpath(save) == os.path.realpath(str(out)):
        raise UsageError("--save and -o name the same file", file=save, hint="name two files")
    with open_endpoint(settings, simulate=simulate) as where:
        found = anyio.run(_read, settings, where, select)
    found = replace(found, cvms=tuple(sorted(found.cvms, key=lambda cvm: _rank(cvm, order))))
    if save is not None:
        pieces: list[str] = []
        write_document(build_inventory(found, settings.guards.protect), pieces.append)
        write_out(save, "".join(pieces).encode())
    _write(found, settings, form, out)
    for sentence in found.unmatched:
        click.echo(f"hint: {safe_text(sentence, 400)}", err=True)


async def _read(settings: Settings, where: Endpoint, select: Select) -> InventoryReading:
    async with open_session(settings, where, limits_of(Limits(), settings), LogObserver(settings.log), few=True) as it:
        return await read_inventory(it, select)


def _rank(cvm: Cvm, order: str) -> Rank:
    if order == "age":
        return (cvm.age is None, -(cvm.age or 0), *rank_target("name", cvm.ref, None))
    first = (not cvm.ref.name,) if order == "name" else ()
    return (*first, *rank_target(order, cvm.ref, cvm.usd_per_hour))  # type: ignore[arg-type] # checked by click


def _write(found: InventoryReading, settings: Settings, kind: str, out: Path | None) -> None:
    if kind == "text" and out in {None, STDOUT}:
        print_inventory(stdout_console(), found, found.cvms)
        return
    text = StringIO()
    protect = settings.guards.protect
    if kind == "text":
        print_inventory(Console(file=text, width=PIPE_WIDTH, color_system=None), found, found.cvms)
    elif kind == "csv":
        text.write(build_inventory_csv(describe_cvm(cvm, protect) for cvm in found.cvms))
    else:
        write_document([describe_cvm(cvm, protect) for cvm in found.cvms], text.write)
    if out is None or out == STDOUT:
        click.echo(text.getvalue(), nl=False)
    else:
        write_out(out, text.getvalue().encode())
