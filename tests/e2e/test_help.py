"""Help and shell completion: what people see before they have read anything else."""

import re

import pytest

from tests.e2e.site import Site

COMMANDS = (
    "validate",
    "schema",
    "test",
    "plan",
    "run",
    "resume",
    "restore",
    "runs",
    "show",
    "savings",
    "schedule",
    "schedule explain",
    "audit",
    "audit verify",
    "store",
    "store check",
    "simulate",
    "completion",
)


def test_the_help_of_every_command_shows_an_example(site: Site) -> None:
    commands = ("", *COMMANDS)
    for command, ended in zip(commands, site.run_each(*((*name.split(), "--help") for name in commands)), strict=True):
        assert (ended.code, ended.err) == (0, "")
        assert f"Example: {'echo' if command == 'completion' else f'orchestrator {command}'}" in ended.out


def test_without_a_command_the_help_is_shown_and_nothing_is_done(site: Site) -> None:
    ended = site.run()
    assert (ended.code, ended.out) == (2, "")
    assert all(command in ended.err for command in COMMANDS if " " not in command)


def test_a_completion_script_registers_the_command_with_its_shell(site: Site) -> None:
    registers = {"bash": "complete -o", "zsh": "compdef", "fish": "complete --no-files"}
    results = site.run_each(*(("completion", shell) for shell in registers))
    for (shell, words), ended in zip(registers.items(), results, strict=True):
        assert (ended.code, words in ended.out) == (0, True)
        assert f"_ORCHESTRATOR_COMPLETE={shell}_complete" in ended.out


@pytest.mark.parametrize(("typed", "offered"), [("orchestrator resu", "resume"), ("orchestrator plan ti", "tidy")])
def test_completion_offers_commands_and_the_playbooks_of_the_folder(site: Site, typed: str, offered: str) -> None:
    (site.folder / "playbooks").mkdir()
    (site.folder / "playbooks" / "tidy.yaml").touch()
    env = {"_ORCHESTRATOR_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    assert site.run(env=env).out == f"plain,{offered}\n"


def test_help_and_errors_show_no_escape_of_their_own_source(site: Site) -> None:
    for ended in site.run_each(("completion", "--help"), ("completion",), ("audit", "export", "--format", "x", "y")):
        assert not re.search(r"\\[bnt]", ended.out + ended.err)
