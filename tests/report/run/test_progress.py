"""The estimate of the time left."""

from orchestrator.audit.replay import RunState
from orchestrator.report.run.progress import time_left
from tests.report.run.test_live import SENT
from tests.report.runs import run


def test_the_time_left_is_sending_plus_one_settling() -> None:
    state = run(*SENT)
    assert time_left(state, 0.5, None) is None
    assert time_left(state, 0.5, 30.0) == 2 / 0.5 + 30.0
    assert time_left(RunState(), 0.5, None) == 0.0
