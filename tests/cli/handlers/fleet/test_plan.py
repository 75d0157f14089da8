"""The log lines of the runs of a fleet run."""

import io
import sys

import pytest

from orchestrator.audit.replay import RunState
from orchestrator.cli.handlers.fleet.plan import observe_members
from orchestrator.settings.load import Settings
from orchestrator.settings.workspaces import WorkspaceSection
from tests.logs import START, LogBuilder


class Screen(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_terminal  # type: ignore[method-assign] # as the test has it


@pytest.mark.parametrize("is_terminal", [True, False])
def test_on_a_terminal_the_view_stands_for_the_starts_of_all_runs(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    screen = Screen(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    observer = observe_members(Settings(workspaces={"prod": WorkspaceSection(api_key_env="KEY")}))("prod")
    log = LogBuilder.start(START).finish(0)
    for record in log.records:
        observer.on_record(record, RunState())
    observer.on_warning("interrupting", note="one line stands for all runs")
    shown = screen.getvalue()
    assert ("run.started" in shown) is not is_terminal
    assert "run.finished" in shown
    assert "interrupting" not in shown
