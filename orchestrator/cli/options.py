"""Options and groups shared by several commands."""

from collections.abc import Callable, Mapping
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from orchestrator.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])
_USUAL = {"text": "txt", "junit": "xml"}
_SUFFIXES = {"htm": "html", "txt": "text", "xml": "junit"}


def settings_options(command: _F, *, has_workspaces: bool = False) -> _F:
    """Add `--config`, `--profile` and `--set`.

    Args:
        command: the command.
        has_workspaces: whether to add `--workspace` too; the command takes `workspaces`.
    """

    @wraps(command)
    def decorated(*, profile: str | None, assignments: tuple[str, ...], **options: object) -> object:
        for other, is_given in (("--profile", profile is not None), ("--simulate", bool(options.get("simulate")))):
            if options.get("workspaces") and is_given:
                raise click.UsageError(f"--workspace and {other} exclude each other.")
        chosen = () if profile is None else (f"cloud.profile={profile}",)
        return command(assignments=(*assignments, *chosen), **options)

    setting = click.option(
        "--set",
        "assignments",
        metavar="SECTION.FIELD=VALUE",
        multiple=True,
        help="Set one setting, e.g. --set rate.burst=10.",
    )
    profile_name = click.option(
        "--profile",
        metavar="NAME",
        help="Use the key and address of a profile in the vendor's credentials file.",
    )
    config = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Settings file; default ./config.toml, else config.toml in your config folder.",
    )
    found: Any = config(profile_name(setting(decorated)))
    if has_workspaces:
        workspace = click.option(
            "--workspace",
            "workspaces",
            metavar="NAME",
            multiple=True,
            help="Use a workspace of the settings, by name; * and ? are wildcards.",
            shell_complete=_complete("complete_workspace"),
        )
        found = workspace(found)
    more: _F = found
    return more


workspace_options = partial(settings_options, has_workspaces=True)
"""Add `--workspace`, `--config`, `--profile` and `--set`."""


def playbook_options(command: _F, *, required: bool = True) -> _F:
    """Add `PLAYBOOK`, `--var` and `--simulate`. An optional `PLAYBOOK` can be replaced by another option."""
    command = click.option(
        "--simulate",
        is_flag=True,
        help="Use a simulated cloud for this command only.",
    )(command)
    command = variables_option(command)
    return playbook_argument(required=required)(command)


def playbook_argument(*, required: bool = True) -> Callable[[_F], _F]:
    """Add `PLAYBOOK`."""
    metavar = "PLAYBOOK" if required else "[PLAYBOOK]"
    return click.argument("playbook", metavar=metavar, required=required, shell_complete=_complete("complete_playbook"))


def playbooks_argument(command: _F) -> _F:
    """Add `[PLAYBOOK...]`."""
    complete = _complete("complete_playbook")
    return click.argument("playbooks", metavar="[PLAYBOOK...]", nargs=-1, shell_complete=complete)(command)


def cases_argument(command: _F) -> _F:
    """Add `[FILE...]`."""
    return click.argument("files", metavar="[FILE...]", nargs=-1, shell_complete=_complete("complete_cases"))(command)


def run_argument(metavar: str = "RUN_ID") -> Callable[[_F], _F]:
    """Add `RUN_ID`. The command takes `run_id`."""
    return click.argument("run_id", metavar=metavar, shell_complete=_complete("complete_run_id"))


def fleet_handler(function: str, *, changes: bool = False) -> Callable[[_F], _F]:
    """Hand the id of a fleet run over to a function, and every other id to the command. Stands next to the command.

    `last` is a fleet run if the newest order is one.

    Args:
        function: the function, such as `show.show_fleet` of `cli.handlers.fleet`; takes the options of the command.
        changes: whether the command has effects, except with `--dry-run`, so that `last` needs a terminal.
    """

    def decorate(command: _F) -> _F:
        @wraps(command)
        def decorated(*, run_id: str, **options: Any) -> object:  # noqa: ANN401 - the options of any command
            from orchestrator.cli.named_runs import name_order, names_fleet  # noqa: PLC0415 - the help does without

            to_change = changes and not options.get("dry_run")
            run_id = name_order(run_id, options["config"], options["assignments"], to_change=to_change)
            if not names_fleet(run_id):
                return command(run_id=run_id, **options)
            module, _, name = function.partition(".")
            return getattr(import_module(f"orchestrator.cli.handlers.fleet.{module}"), name)(run_id, **options)

        return decorated  # type: ignore[return-value] # the same options

    return decorate


def logs_argument(command: _F) -> _F:
    """Add `[PATH|RUN_ID]...`. The command takes `logs`."""
    complete = _complete("complete_run_id")
    return click.argument("logs", metavar="[PATH|RUN_ID]...", nargs=-1, shell_complete=complete)(command)


def narrow_options(command: _F) -> _F:
    """Add `--only` and `--exclude`."""
    command = click.option(
        "--exclude",
        metavar="KEY=VALUE",
        multiple=True,
        help="Leave out selected CVMs by a key of `select`, or by id: --exclude name='kms-*'.",
    )(command)
    return click.option(
        "--only",
        metavar="KEY=VALUE",
        multiple=True,
        help="Act only on selected CVMs with this value: same key OR, different keys AND.",
    )(command)


def require_no_skip(skip: tuple[str, ...]) -> None:
    """Refuse `--skip-unreachable` for a single workspace.

    Raises:
        UsageError: when a name is given.
    """
    if skip:
        raise UsageError(
            "--skip-unreachable needs several workspaces",
            hint="leave --skip-unreachable out, or choose more workspaces with --workspace",
        )


def _check_reason(ctx: click.Context, param: click.Parameter, reason: str | None) -> str | None:
    if reason is not None and not reason.strip():
        raise click.BadParameter("give a reason, such as 'incident 4711'.", ctx, param)
    return None if reason is None else reason.strip()


def format_option(*forms: str, by_suffix: bool = False, as_flag: bool = False) -> Callable[[_F], _F]:
    """Add `--format`, and `--json` as the short form of `--format json`. The command takes `form`.

    Args:
        *forms: the formats of the command, the default first.
        by_suffix: whether the suffix of `--out FILE` chooses the format by default.
        as_flag: whether the command takes `as_json` instead of `form`.
    """

    def decorate(command: _F) -> _F:
        @wraps(command)
        def decorated(*, form: str | None, **options: object) -> object:
            if options.pop("short_form", False):
                if form not in (None, "json"):
                    raise click.UsageError(f"--json and --format {form} exclude each other.")
                form = "json"
            if form is None:
                form = _find_format(options.get("out"), forms) if by_suffix else forms[0]
            return command(as_json=form == "json", **options) if as_flag else command(form=form, **options)

        more: Any = decorated
        if "json" in forms:
            said = "Print only one JSON document on stdout." if len(forms) == 2 else "The same as --format json."  # noqa: PLR2004 - text and JSON
            more = click.option("--json", "short_form", is_flag=True, help=said)(more)
        default = f"Default: the suffix of --out, else {forms[0]}." if by_suffix else f"Default: {forms[0]}."
        found: _F = click.option("--format", "form", type=click.Choice(forms), help=default)(more)
        return found

    return decorate


json_option = format_option("text", "json", as_flag=True)
"""Add `--format text|json`, and `--json` as its short form. The command takes `as_json`."""


def _find_format(out: object, forms: tuple[str, ...]) -> str:
    """Find the format for an output file by its suffix; without a suffix the default.

    Raises:
        BadOptionUsage: when the suffix belongs to no format of the command.
    """
    suffix = out.suffix.lower().removeprefix(".") if isinstance(out, Path) else ""
    if not suffix:
        return forms[0]
    form = _SUFFIXES.get(suffix, suffix)
    if form in forms:
        return form
    known = ", ".join(f".{_USUAL.get(each, each)}" for each in forms)
    raise click.BadOptionUsage("out", f"--out {out}: no format has the suffix .{suffix}; use {known}, or --format.")


def out_option(help_text: str, metavar: str = "FILE", *, required: bool = False) -> Callable[[_F], _F]:
    """Add `--out`.

    Args:
        help_text: the help.
        metavar: the name of the value in the help.
        required: whether the option must be given.
    """
    kind = click.Path(path_type=Path)
    return click.option("-o", "--out", type=kind, metavar=metavar, required=required, help=help_text)


def yes_option(help_text: str = "Do not ask for confirmation.") -> Callable[[_F], _F]:
    """Add `--yes`, with this help."""
    return click.option("-y", "--yes", is_flag=True, help=help_text)


def verbosity_options(command: _F) -> _F:
    """Add `--verbose` and `--quiet`, short forms of log settings."""

    @wraps(command)
    def decorated(*, verbose: bool, quiet: bool, assignments: tuple[str, ...], **options: object) -> object:
        if verbose and quiet:
            raise click.UsageError("--verbose and --quiet exclude each other.")
        more = ["log.cvms=each"] if verbose else ["log.cvms=by_teepod", "log.level=warning"] if quiet else []
        return command(assignments=(*assignments, *more), **options)

    quieter = click.option("-q", "--quiet", is_flag=True, help="Log only warnings and failures.")
    louder = click.option("-v", "--verbose", is_flag=True, help="Log every CVM, also on a terminal.")
    return louder(quieter(decorated))  # type: ignore[return-value] # has options more, which click gives it


def override_options(command: _F) -> _F:
    """Add `--break-freeze` and `--ignore-keep`. The command takes `overrides`."""

    @wraps(command)
    def decorated(*, break_freeze: str | None, ignore_keep: str | None, **options: object) -> object:
        from orchestrator.runs.prepare import Overrides  # noqa: PLC0415 - the help does without

        return command(overrides=Overrides(break_freeze, ignore_keep), **options)

    return break_freeze_option(ignore_keep_option(decorated))  # type: ignore[return-value] # click gives it more


def _complete(name: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """Return a completion with a late import, only while completing."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from orchestrator.cli import completion  # noqa: PLC0415 - see above

        found: list[Any] = getattr(completion, name)(ctx, param, incomplete)
        return found

    return complete


variables_option = click.option(
    "--var",
    "variables",
    metavar="NAME=VALUE",
    multiple=True,
    help="Set a variable of the playbook.",
    shell_complete=_complete("complete_variable"),
)
skip_unreachable_option = click.option(
    "--skip-unreachable",
    "skip",
    metavar="NAME",
    multiple=True,
    help="With several workspaces: leave this workspace out if the API can't be reached or refuses its key.",
)
ignore_keep_option = click.option(
    "--ignore-keep",
    metavar="REASON",
    callback=_check_reason,
    help="Act on exempted CVMs too (`orchestrator keep`, keep.file); REASON goes on record.",
)
break_freeze_option = click.option(
    "--break-freeze",
    metavar="REASON",
    callback=_check_reason,
    help="Act during a freeze (guards.not_during, only_during); REASON goes on record.",
)
ignore_running_option = click.option(
    "--ignore-running",
    is_flag=True,
    help="Act even on CVMs of another active run. Both runs may send requests to the same CVM, and you may be "
    "charged twice.",
)


class HintingGroup(click.Group):
    """A group with hints for wrong names of its commands.

    Attributes:
        other_names: names of commands in other programs, with the name here.
    """

    other_names: ClassVar[Mapping[str, str]] = {}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command as click does; for an unknown name, suggest the name here or the nearest known name."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib  # noqa: PLC0415 - only on this error

            known = self.list_commands(ctx)
            meant = self.other_names.get(name)
            close = [meant] if meant else difflib.get_close_matches(name, known, n=1)
            ctx.fail(f"no such command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)
