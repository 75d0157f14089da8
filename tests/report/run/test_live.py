"""The live view of a run: stages, rate and time left."""

import pytest
from rich.text import Text

from orchestrator.report.run.live import Progress, _View
from orchestrator.runs.outage_text import outage_text
from tests.report.runs import about, console, run

BILLING = {"triggered": True, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.002", "notes": []}
SENT = [
    ("action.intent", about(0, attempt=1)),
    ("action.accepted", about(0, attempt=1, billing=BILLING)),
]


def test_the_settle_time_is_the_median_of_ended_cvms() -> None:
    state = run(*SENT, ("target.settled", about(0, outcome="settled", status="stopped", seconds=7.0)))
    progress = Progress(state, lambda: 5.0, lambda: 1)
    assert progress._settle_seconds() == 7.0
    for seconds in (1.0, 100.0):
        state.durations.append(seconds)
    assert progress._settle_seconds() == 7.0
    assert Progress(run(), lambda: 5.0, lambda: 0)._settle_seconds() is None


@pytest.mark.parametrize("note", [None, "stopping"])
def test_the_view_shows_stages_troubles_and_the_note(note: str | None) -> None:
    state = run(*SENT, ("target.failed", about(1, outcome="failed", reason="no way", seconds=3.0)))
    progress = Progress(state, lambda: 5.0, lambda: 3)
    progress.note = note
    target, file = console()
    target.print(progress._build_view())
    text = file.getvalue()
    assert "1/3" in text
    assert "1 settling" in text
    assert "failed: no way" in text
    assert ("stopping" in text) is (note is not None)
    assert progress.line().endswith("1 waiting, 1 settling, 1 failed")


def test_a_view_on_a_narrowed_terminal_is_removed_completely() -> None:
    target, file = console(80)
    with _View(Text("x" * 80 + "\nshort"), console=target, auto_refresh=False, transient=True) as view:
        view.refresh()
        file.truncate(0)
        target.width = 30
        view.refresh()
        assert file.getvalue().count("\x1b[1A") == 3, "the first line has three rows now, the second one"
        file.truncate(0)
        view.refresh()
        assert file.getvalue().count("\x1b[1A") == 3, "as many as were drawn"


@pytest.mark.parametrize(
    ("passed", "said"), [(40, "8.0 requests a second (burst), limit 5"), (20, "4.0 requests a second, limit 5")]
)
def test_a_rate_above_the_limit_is_a_burst(passed: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("orchestrator.report.run.live.time.monotonic", lambda: now[0])
    counts = iter([0, passed])
    progress = Progress(run(*SENT), lambda: 5.0, lambda: next(counts))
    progress._measure_rate()
    now[0] = 5.0
    target, file = console()
    target.print(progress._build_view())
    assert said in file.getvalue()


def test_an_ending_run_counts_targets_to_finish_and_not_sent() -> None:
    state = run(*SENT, ("target.settled", about(1, outcome="settled", status="stopped", seconds=3.0)))
    progress = Progress(state, lambda: 5.0, lambda: 3)
    progress.is_ending = lambda: True
    target, file = console()
    target.print(progress._build_view())
    text = file.getvalue()
    assert "1/2  1 to finish" in text
    assert "1 not sent" in text
    assert not any(word in text for word in ("waiting", "left"))
    assert progress.line().endswith("1 to finish, 1 settled, 1 not sent")


def test_the_view_shows_the_trouble_in_red() -> None:
    progress = Progress(run(*SENT), lambda: 5.0, lambda: 1)
    progress.trouble = lambda: outage_text("HTTP 502: bad \x1b[1mgateway", 7.6, 300.0)
    target, file = console()
    target.print(progress._build_view())
    said = "The API is down (HTTP 502: bad"
    (line,) = (line for line in file.getvalue().splitlines() if said in line)
    assert "\x1b[1;31m" in line
    assert "next probe in 8s, the run gives up in 5m." in progress.line()
