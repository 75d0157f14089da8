"""`orchestrator plan --inventory`."""

from functools import partial
from pathlib import Path

import anyio
import click

from orchestrator.cli.handlers.plan import PlanCommand, print_result
from orchestrator.errors import UsageError
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook, parse_assignments
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.runs.inventory_file import read_inventory_file
from orchestrator.runs.offline_plan import plan_offline
from orchestrator.runs.workspaces import choose_settings
from orchestrator.settings.load import Settings, load_settings
from orchestrator.settings.workspaces import match_workspaces
from orchestrator.text import safe_text
from orchestrator.times import format_clock, timestamp


def show_offline_plan(command: PlanCommand, playbook: str, inventory: Path) -> int:
    """Print the plan of a playbook for the CVMs of an inventory file. Sends no request."""
    for given, name, hint in (
        (command.simulate, "--simulate", "an inventory file needs no cloud"),
        (command.skip, "--skip-unreachable", "an inventory file needs no cloud"),
        (command.out, "--out", "a plan file needs the present inventory; leave --inventory out"),
    ):
        if given:
            raise UsageError(f"--inventory excludes {name}", hint=hint)
    loaded = load_playbook(find_playbook(playbook), parse_assignments(command.variables))
    narrowing = Narrowing.parse_options(command.only, command.exclude)
    settings = _choose_settings(load_settings(command.config, command.assignments), command.workspaces, loaded)
    saved = read_inventory_file(inventory)
    plan = anyio.run(partial(plan_offline, settings, loaded, saved, narrowing=narrowing, overrides=command.overrides))
    read_at = format_clock(saved.read_at)
    if command.form == "text":
        click.echo(f"From the inventory file {safe_text(inventory, 4096)}, read {read_at}.")
    code = print_result(
        plan,
        loaded.playbook.description,
        None,
        None,
        details=command.details,
        form=command.form,
        now=saved.read_at,
        extra={
            "inventory": {"file": str(inventory), "read_at": timestamp(saved.read_at), "workspace": saved.workspace}
        },
    )
    if command.form == "md":
        click.echo(f"Planned from an inventory file, read {read_at}.")
    return code


def _choose_settings(every: Settings, workspaces: tuple[str, ...], loaded: LoadedPlaybook) -> Settings:
    """Return the settings of the only workspace; without a choice, the settings outside of `[workspaces]`."""
    if workspaces:
        return choose_settings(every, match_workspaces(tuple(every.workspaces), workspaces, "--workspace"))
    if loaded.playbook.workspaces and every.workspaces:
        return choose_settings(every, loaded.playbook.workspaces)
    return every
