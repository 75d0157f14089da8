"""The live view of a fleet run."""

from orchestrator.report.fleet.live import FleetProgress, WorkspaceProgress
from orchestrator.report.run.live import Progress
from tests.report.fleet.fleets import workspace_run
from tests.report.runs import STYLE, console


def runs(*each: tuple[str, ...], finished: bool = True) -> FleetProgress:
    states = [workspace_run(n, *outcomes, finished=finished).state for n, outcomes in enumerate(each)]
    return FleetProgress(
        [WorkspaceProgress(f"prod-{n}", Progress(state, lambda: 5.0, lambda: 0)) for n, state in enumerate(states)]
    )


def drawn(progress: FleetProgress, height: int = 24, width: int = 80) -> str:
    target, file = console(width)
    target.print(progress.build_view(height))
    return STYLE.sub("", file.getvalue())


def test_the_view_has_a_line_for_every_workspace_and_the_total() -> None:
    text = drawn(runs(("settled", "refused"), ("settled",)))
    assert "3/3" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["prod-0", "2/2", "finished", "1", "settled", "1", "refused"] in rows
    assert ["prod-1", "1/1", "finished", "1", "settled"] in rows


def test_a_small_screen_shows_trouble_first_and_counts_the_other_workspaces() -> None:
    progress = runs(*[("settled",)] * 40)
    progress.runs[39].progress.trouble = lambda: "the API is down"
    text = drawn(progress, height=10)
    assert "prod-39" in text
    assert "the API is down" in text
    assert "and 36 more workspaces: 36 finished" in text
    assert len(text.splitlines()) < 10


def test_the_plain_line_counts_cvms_and_workspaces_and_names_trouble() -> None:
    progress = runs(("settled",), ("settled",))
    progress.runs[1].progress.trouble = lambda: "the API is down"
    assert progress.line().endswith("2 of 2 CVMs done, 2 of 2 workspaces finished; prod-1: the API is down")


def test_the_note_of_an_interruption_is_shown() -> None:
    progress = runs(("settled",))
    progress.note = "Sending nothing more."
    assert "Sending nothing more." in drawn(progress)


def test_a_long_trouble_leaves_the_names_of_the_workspaces_whole() -> None:
    progress = runs(("settled",), ("settled",))
    progress.runs[1].progress.trouble = lambda: "the API is down, and the next probe is in a while, " * 3
    rows = drawn(progress, width=60).splitlines()
    assert rows[2].startswith("prod-1")
    assert all(len(row) <= 60 for row in rows)


def test_an_ending_run_shows_the_number_to_finish_once() -> None:
    progress = runs(("settled",), finished=False)
    progress.runs[0].progress.is_ending = lambda: True
    progress.runs[0].progress.state.stages.update({"settled": -1, "settling": 1})
    row = drawn(progress).splitlines()[1]
    assert row.split() == ["prod-0", "0/1", "ending", "1", "to", "finish"]


def test_the_time_left_is_a_lower_bound_until_every_run_knows_its_own() -> None:
    progress = runs(("settled",), ("settled",), finished=False)
    for each, seconds in zip(progress.runs, (None, 42.0), strict=True):
        each.progress.state.stages.update({"settled": -1, "settling": 1})
        each.progress.seconds_left = lambda seconds=seconds: seconds  # type: ignore[method-assign, misc]
    assert "0/2  at least 42s left" in drawn(progress)
    progress.runs[0].progress.seconds_left = lambda: 7.0  # type: ignore[method-assign]
    assert "0/2  about 42s left" in drawn(progress)
