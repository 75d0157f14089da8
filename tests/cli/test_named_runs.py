"""The runs named on a command line: `last` at a terminal and without one."""

import io
from pathlib import Path

import pytest

from orchestrator.audit.fleet_store import FileFleetStore
from orchestrator.audit.store import FileRunStore
from orchestrator.cli import named_runs
from orchestrator.cli.named_runs import find_logs, find_run_to_change, name_order
from orchestrator.cli.terminal_input import TerminalInput
from orchestrator.errors import UsageError

FLEET_ID = "fleet-20261124T080000Z-0000"
RUN_ID = "20261123T080000Z-4f2a"
STARTED = '{"actor":"root@host","playbook":{"name":"nightly\\u001b[2J"},"ts":"2026-11-23T08:00:00.000000Z"}\n'


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileRunStore:
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(tmp_path))
    store = FileRunStore(tmp_path)
    store.prepare()
    store.path_of(RUN_ID).write_text(STARTED)
    return store


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The screen of a terminal behind the process."""
    screen = io.StringIO()
    monkeypatch.setattr(named_runs, "open_terminal", lambda: TerminalInput(-1, screen))
    return screen


def test_a_command_with_effects_takes_last_at_a_terminal_and_names_the_run(
    store: FileRunStore, screen: io.StringIO
) -> None:
    assert find_run_to_change(store, "last").run_id == RUN_ID
    shown = screen.getvalue()
    assert shown.startswith(f"The last run is {RUN_ID}: nightly")
    assert "started 2026-11-23T08:00:00Z by root@host" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("text", ["", "[]\n", "{}\n", "[" * 100_000])
def test_an_unreadable_log_is_named_by_its_id(store: FileRunStore, screen: io.StringIO, text: str) -> None:
    store.path_of(RUN_ID).write_text(text)
    find_run_to_change(store, "last")
    assert screen.getvalue() == f"The last run is {RUN_ID}.\n"


def test_without_a_terminal_a_command_with_effects_refuses_last_alone(
    store: FileRunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_runs, "open_terminal", lambda: None)
    with pytest.raises(UsageError, match="`last` needs a terminal"):
        find_run_to_change(store, "last")
    with pytest.raises(UsageError, match="`last` needs a terminal"):
        find_logs(("last",), None, (), every=False, to_change=True)
    FileFleetStore(tmp_path).create_log(FLEET_ID, [("fleet.started", {})]).close()
    with pytest.raises(UsageError, match="`last` needs a terminal"):
        name_order("last", None, (), to_change=True)
    assert find_run_to_change(store, RUN_ID[:10]).run_id == RUN_ID
    assert name_order("last", None, (), to_change=False) == FLEET_ID


def test_last_is_the_newest_order_a_fleet_run_or_a_run_of_its_own(
    store: FileRunStore, tmp_path: Path, screen: io.StringIO
) -> None:
    def find_last() -> str:
        return name_order("last", None, (), to_change=False)

    assert (find_last(), find_logs(("last",), None, (), every=False)) == ("last", (store.path_of(RUN_ID),))
    started: dict[str, object] = {"playbook": {"name": "everywhere"}, "actor": "root@host"}
    FileFleetStore(tmp_path).create_log(FLEET_ID, [("fleet.started", started)]).close()
    assert find_last() == FLEET_ID, "it began later, and none of its runs has begun"
    store.path_of("20261124T080000Z-1111").write_text(f'{{"fleet":"{FLEET_ID}"}}\n')
    assert find_last() == FLEET_ID, "the newest run is one of its runs"
    (log,) = find_logs(("last",), None, (), every=False, to_change=True)
    assert log == tmp_path / "fleets" / f"{FLEET_ID}.jsonl"
    assert screen.getvalue().startswith(f"The last run is {FLEET_ID}: everywhere, started ")
    store.path_of("20261124T090000Z-2222").write_text(STARTED)
    assert find_last() == "last"
