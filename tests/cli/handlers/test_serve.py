"""The warnings of the service about its settings."""

from typing import Any

from structlog.testing import capture_logs

from orchestrator.cli.handlers.serve import _Serving
from orchestrator.settings.load import Settings
from tests.runs.signers import SECTION


def test_a_schedule_without_exemption_is_warned_about() -> None:
    opened: Any = None
    serving = _Serving(Settings(approval=SECTION), "playbooks", opened, None)
    with capture_logs() as logged:
        for name in ("nightly", "nightly (wake)", "other", "other (wake)"):
            serving._emit_event("schedule.watched", playbook=name, next=None)
    warned = [each["playbook"] for each in logged if each["event"] == "schedule.needs_approval"]
    assert warned == ["other", "other (wake)"]
