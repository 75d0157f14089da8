"""`orchestrator`: the group of all commands. The file of a command is imported only on a call."""

import gc
import importlib
import os
import sys
from functools import partial

import click

from orchestrator import __version__
from orchestrator.cli.consoles import WHEN, colour
from orchestrator.cli.options import HintingGroup

_COMMANDS = {
    "init": ("orchestrator.cli.commands.init", "Create settings and a first playbook in a folder."),
    "validate": ("orchestrator.cli.commands.validate", "Check playbooks without a network."),
    "test": ("orchestrator.cli.commands.test", "Compare the plans of playbooks with their cases."),
    "schema": ("orchestrator.cli.commands.schema", "Print the JSON Schema of playbooks."),
    "plan": ("orchestrator.cli.commands.plan", "Show the plan of a playbook. Changes nothing."),
    "rehearse": ("orchestrator.cli.commands.rehearse", "Carry a playbook out on a copy of the fleet, in seconds."),
    "cvms": ("orchestrator.cli.commands.cvms", "List the CVMs of the workspace: every replica, with its price."),
    "stop": ("orchestrator.cli.commands.adhoc", "Stop CVMs by name, id, file or selector options."),
    "shutdown": ("orchestrator.cli.commands.adhoc", "Shut down CVMs by name, id, file or selector options."),
    "start": ("orchestrator.cli.commands.adhoc", "Start CVMs by name, id, file or selector options."),
    "restart": ("orchestrator.cli.commands.adhoc", "Restart CVMs by name, id, file or selector options."),
    "run": ("orchestrator.cli.commands.run", "Execute a playbook."),
    "resume": ("orchestrator.cli.commands.resume", "Continue an interrupted run."),
    "approve": ("orchestrator.cli.commands.approve", "Answer the question of a run, or approve a plan file."),
    "abandon": ("orchestrator.cli.commands.abandon", "End an interrupted run without sending requests."),
    "restore": ("orchestrator.cli.commands.restore", "Undo a run: start the stopped CVMs."),
    "wake": ("orchestrator.cli.commands.wake", "Start the CVMs stopped by a playbook, unless touched since."),
    "runs": ("orchestrator.cli.commands.runs", "List runs, newest first."),
    "show": ("orchestrator.cli.commands.show", "Show the result of a run."),
    "report": ("orchestrator.cli.commands.report", "Write a report of one run: text, HTML, JSON, CSV or Markdown."),
    "reconcile": ("orchestrator.cli.commands.reconcile", "Compare a run's charges with the vendor's usage records."),
    "savings": ("orchestrator.cli.commands.savings", "Show the savings of stopped CVMs."),
    "schedule": ("orchestrator.cli.commands.schedule", "Show the schedule of a playbook."),
    "serve": ("orchestrator.cli.commands.serve", "Run the schedules of playbooks until stopped, with a page."),
    "keep": ("orchestrator.cli.commands.keep", "Exempt CVMs from stops until a time."),
    "snooze": ("orchestrator.cli.commands.snooze", "Skip a playbook's firings for a time."),
    "audit": ("orchestrator.cli.commands.audit", "Verify, show, export, seal and prune audit logs."),
    "doctor": (
        "orchestrator.cli.commands.doctor",
        "Check settings, key, API, state folder, channels and playbooks.",
    ),
    "worker": ("orchestrator.cli.commands.team", "Carry out submitted runs of the team store until stopped."),
    "watch": ("orchestrator.cli.commands.team", "Follow a run of the team store to its end."),
    "cancel": ("orchestrator.cli.commands.team", "Cancel a run of the team store for good."),
    "workers": ("orchestrator.cli.commands.team", "List the workers of the team store, and waiting runs."),
    "playbooks": ("orchestrator.cli.commands.playbooks", "Push playbooks to the team store, and list them."),
    "store": ("orchestrator.cli.commands.store", "Create and check the team store in PostgreSQL."),
    "whoami": ("orchestrator.cli.commands.whoami", "Show the workspace and the source of the API key."),
    "simulate": ("orchestrator.cli.commands.simulate", "Serve a simulated Phala Cloud on this machine."),
    "completion": ("orchestrator.cli.commands.completion", "Print the completion script of a shell."),
}

_OTHER_NAMES = {
    "ls": "cvms",
    "list": "cvms",
    "ps": "cvms",
    "inventory": "cvms",
    "kill": "stop",
    "halt": "shutdown",
    "poweroff": "shutdown",
    "reboot": "restart",
    "status": "runs",
    "history": "runs",
    "log": "show",
    "logs": "show",
    "undo": "restore",
    "rollback": "restore",
    "continue": "resume",
    "apply": "run",
    "check": "validate",
    "lint": "validate",
    "verify": "audit verify",
    "daemon": "serve",
    "diagnose": "doctor",
    "login": "whoami",
    "migrate": "store migrate",
    "help": "--help",
    "version": "--version",
}
"""Names of commands in other programs, with the name here."""

DOCS = f"Docs: docs/reference/cli.md in the source distribution (cvm_orchestrator-{__version__}.tar.gz)."
"""The last line of every help. The documentation has no public address; the wheel has no documentation."""

_RUN_NAMES = (
    "RUN_ID is a run id, the beginning of one run's id, or `last` for the newest run or fleet run. "
    "The id of a fleet run (`fleet-…`) stands for all its runs."
)

COMPLETING = "_ORCHESTRATOR_COMPLETE"
"""The variable of click for completion: a completion script starts the command with it."""

_NEW_OBJECTS = 500_000
"""Number of new objects between two garbage collections; Python's default is 700."""


# `consoles.choose` reads the value before the command line is parsed; here click checks and documents the option.
_COLOUR = click.Option(
    ["--color"], type=click.Choice(WHEN), expose_value=False, help="Colour of the output; default auto."
)


class _LazyGroup(HintingGroup):
    """A group with the names and help of its commands; only the called command is imported."""

    other_names = _OTHER_NAMES

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List all command names, in the order of use."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command with this name."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command = module.COMMANDS[cmd_name] if hasattr(module, "COMMANDS") else module.command
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker; every module above has one
        _add_shared_parts(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list of the help without imports of commands."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in _COMMANDS.items()])


def _add_shared_parts(command: click.Command) -> None:
    """Add `--color` and the last lines of the help to a command and its subcommands."""
    if not any(param.name == "color" for param in command.params):
        has_run = any(param.name in {"run_id", "logs"} for param in command.params)
        command.params.append(_COLOUR)
        command.epilog = "\n\n".join([command.epilog or "", *([_RUN_NAMES] if has_run else []), DOCS])
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        _add_shared_parts(each)


@click.group(
    cls=_LazyGroup,
    params=[_COLOUR],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"\b\nExample: orchestrator run emergency-stop-teepod --simulate --var teepod=prod-1\n\n{DOCS}",
)
@click.version_option(__version__, "-V", "--version", prog_name="orchestrator")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Stop fleets of Phala Cloud CVMs by playbook: planned, rate limited, watched until settled, audited."""
    ctx.color = colour()


def _skip_unneeded_work() -> None:
    """Skip unneeded work of libraries, for a quick start of the process."""
    # Nearly all objects made at the start stay: garbage collection took a tenth of the time.
    gc.set_threshold(_NEW_OBJECTS)
    # The search for plugins reads the metadata of every installed package; and a plugin would see the API key.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # httpx loads rich and pygments for its own command line, and httpcore loads trio. Both work without these modules.
    # None marks a module as missing.
    for name in ("httpx._main", "trio"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type] # documented for sys.modules; typeshed leaves it out


def main() -> None:
    """Run the command line, and exit with the exit code of the contract."""
    _skip_unneeded_work()
    if COMPLETING in os.environ:
        from orchestrator.cli.completion import register_shells  # noqa: PLC0415 - only while completing

        register_shells()
    from orchestrator.cli.print_error import exit_of  # noqa: PLC0415 - needs the errors, which completion does not

    code = exit_of(partial(group.main, prog_name="orchestrator", standalone_mode=False), sys.argv[1:])
    # The end of the process frees all memory; a last garbage collection is not needed.
    gc.freeze()
    sys.exit(code)
