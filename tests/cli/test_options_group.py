"""A wrong command name gets the right name as a hint."""

import pytest
from click.testing import CliRunner

from orchestrator.cli.main import _OTHER_NAMES, group


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ls", "cvms"),
        ("list", "cvms"),
        ("status", "runs"),
        ("kill", "stop"),
        ("undo", "restore"),
        ("apply", "run"),
        ("help", "--help"),
        ("validat", "validate"),
        ("audit verifyy", "verify"),
        ("audit check", "verify"),
        ("audit rm", "prune"),
        ("schedule explains", "explain"),
    ],
)
def test_a_wrong_command_gets_the_right_command_as_a_hint(typed: str, meant: str) -> None:
    ended = CliRunner().invoke(group, typed.split())
    assert ended.exit_code == 2
    assert f"no such command {typed.rsplit(maxsplit=1)[-1]!r}. Did you mean {meant!r}?" in ended.output


def test_an_unlike_name_gets_no_hint() -> None:
    assert "Did you mean" not in CliRunner().invoke(group, ["xyzzy"]).output


def test_the_names_of_other_programs_lead_to_commands_and_hide_none() -> None:
    known = group.list_commands(None)  # type: ignore[arg-type] # not read
    for other, name in _OTHER_NAMES.items():
        assert other not in known
        assert name.startswith("--") or name.split()[0] in known
