"""The shared options: one declaration for every command."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import orchestrator.cli.commands
from orchestrator.cli.main import DOCS, group
from orchestrator.cli.options import format_option, json_option, out_option

SHORT = {"--yes": "-y", "--quiet": "-q", "--verbose": "-v", "--version": "-V", "--out": "-o", "--help": "-h"}


def every_command(command: click.Command = group) -> Iterator[tuple[click.Command, click.Context]]:
    context = click.Context(command, **command.context_settings)
    context.help_option_names = ["-h", "--help"]
    yield command, context
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        assert isinstance(command, click.Group)
        inner = command.get_command(context, name)
        assert inner is not None
        yield from every_command(inner)


def every_option() -> Iterator[tuple[str, click.Option]]:
    for command, context in every_command():
        for option in command.get_params(context):
            if isinstance(option, click.Option):
                yield str(command.name), option


def test_a_common_option_has_its_short_form_on_every_command() -> None:
    for name, option in every_option():
        for long, short in SHORT.items():
            if long in option.opts or short in option.opts:
                assert {long, short} <= set(option.opts), f"{name} {option.opts}"


def test_a_command_with_json_has_it_as_the_short_form_of_a_format() -> None:
    having = [{name for name, option in every_option() if long in option.opts} for long in ("--json", "--format")]
    assert having[0]
    assert having[0] <= having[1]
    for name, option in every_option():
        if "--format" in option.opts:
            assert isinstance(option.type, click.Choice)
            assert ("json" in option.type.choices) is (name in having[0]), name


def called(command: click.Command, *args: str) -> str:
    """What a command was called with, or the error."""
    return CliRunner().invoke(command, args).output.strip()


@pytest.mark.parametrize(
    ("args", "form"),
    [
        ((), "text"),
        (("--json",), "json"),
        (("--format", "json"), "json"),
        (("--json", "--format", "json"), "json"),
        (("--format", "csv"), "csv"),
        (("-o", "x.csv"), "csv"),
        (("-o", "x.JSON"), "json"),
        (("-o", "x.txt"), "text"),
        (("-o", "x"), "text"),
        (("-o", "x.csv", "--json"), "json"),
        (("-o", "x.csv", "--format", "text"), "text"),
    ],
)
def test_the_format_is_that_of_the_option_else_of_the_suffix(args: tuple[str, ...], form: str) -> None:
    @click.command
    @format_option("text", "json", "csv", by_suffix=True)
    @out_option("Write there.")
    def command(form: str, out: Path | None) -> None:
        del out
        click.echo(form)

    assert called(command, *args) == form


def test_a_suffix_of_no_format_is_refused_unless_a_format_is_given() -> None:
    @click.command
    @format_option("text", "csv", by_suffix=True)
    @out_option("Write there.")
    def command(form: str, out: Path | None) -> None:
        del out
        click.echo(form)

    refusal = "--out x.doc: no format has the suffix .doc; use .txt, .csv, or --format."
    assert refusal in called(command, "--out", "x.doc")
    assert called(command, "--out", "x.doc", "--format", "csv") == "csv"


def test_json_and_another_format_exclude_each_other() -> None:
    @click.command
    @json_option
    def command(*, as_json: bool) -> None:
        click.echo(as_json)

    assert "--json and --format text exclude each other" in called(command, "--json", "--format", "text")
    assert [called(command, *args) for args in ((), ("--json",), ("--format", "json"))] == ["False", "True", "True"]


def test_a_command_offers_only_its_own_formats() -> None:
    @click.command
    @format_option("ecs", "csv")
    def command(form: str) -> None:
        click.echo(form)

    assert called(command) == "ecs"
    assert "No such option" in called(command, "--json")
    assert "is not one of" in called(command, "--format", "json")


def test_every_help_ends_with_a_line_that_names_the_docs() -> None:
    for command, context in every_command():
        shown = " ".join(command.get_help(context).split())
        assert shown.endswith(DOCS), command.name
        has_run = any(param.name in {"run_id", "logs"} for param in command.params)
        assert ("RUN_ID is a run id" in shown) is has_run, command.name


def test_the_help_names_a_page_of_the_source() -> None:
    assert (Path(__file__).parents[2] / DOCS.split()[1]).is_file()


def test_every_handler_of_fleet_runs_exists() -> None:
    commands = Path(orchestrator.cli.commands.__file__).parent.glob("*.py")
    names = [name for file in commands for name in re.findall(r'fleet_handler\("([\w.]+)"', file.read_text())]
    assert len(names) == 8
    for name in names:
        module, _, function = name.partition(".")
        assert callable(getattr(import_module(f"orchestrator.cli.handlers.fleet.{module}"), function))
