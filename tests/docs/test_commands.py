"""The command line in the docs is the command line there is."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from orchestrator.cli.main import group
from tests.docs.pages import ROOT, Block, blocks

_ENDS = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>>"})


def every_command(command: click.Command = group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it, groups included."""
    yield " ".join(("orchestrator", *path)), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from every_command(inner, (*path, name))


def lines() -> Iterator[tuple[Block, str]]:
    """Every line in a shell block that calls orchestrator."""
    for block in blocks("sh", "console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            typed = line.strip().removeprefix("$ ")
            if typed.startswith("orchestrator "):
                yield block, typed


def arguments(line: str) -> list[str]:
    """The words of a shell line up to a redirection, a pipe, or the next command."""
    words = shlex.split(line, comments=True)[1:]
    end = next((number for number, word in enumerate(words) if word in _ENDS), len(words))
    return words[:end]


def parse(words: list[str]) -> None:
    """Parse as click would, without calling the command.

    Raises:
        click.UsageError: when it can't be parsed.
    """
    command: click.Command = group
    context = None
    while True:
        context = command.make_context(command.name, list(words), parent=context)
        if not isinstance(command, click.Group):
            return
        rest = [*context._protected_args, *context.args]
        _, found, words = command.resolve_command(context, rest)
        assert found is not None
        command = found


@pytest.mark.parametrize(("block", "line"), [pytest.param(*each, id=f"{each[0]} {each[1]}") for each in lines()])
def test_commands_in_the_docs_can_be_typed(block: Block, line: str) -> None:
    """Each line that calls orchestrator names a command and options that exist."""
    try:
        parse(arguments(line))
    except click.exceptions.Exit:
        return  # --version and --help leave early
    except click.ClickException as error:
        pytest.fail(f"{block}: {line}: {error.format_message()}")


def test_a_wrong_line_would_be_found() -> None:
    """The check above is one: an unknown option and an unknown command fail it."""
    for line in ("orchestrator run x --jes", "orchestrator rum x", "orchestrator audit check x"):
        with pytest.raises(click.UsageError):
            parse(arguments(line))


def test_every_command_and_option_is_in_the_reference() -> None:
    """cli.md has a section for each command, and in it each of its options."""
    reference = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (orchestrator [^\n]+)\n(.*?)(?=^##|\Z)", reference, re.DOTALL | re.MULTILINE))
    for name, command in every_command():
        if isinstance(command, click.Group):
            continue
        for option in command.params:
            for spelling in option.opts if isinstance(option, click.Option) else ():
                assert f"`{spelling}`" in sections[name], f"{name} {spelling}"
