"""The number of targets at every stage over time."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.full.progress import count_stages
from tests.logs import asked, cvm, ended, finished, stopped, target
from tests.report.documents import document

MOMENTS = st.floats(0, 1000, allow_nan=False)


@st.composite
def targets(draw: st.DrawFn) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for _ in range(draw(st.integers(0, 8))):
        times = sorted(draw(st.lists(MOMENTS, min_size=3, max_size=3)))
        known = draw(st.integers(0, 3))
        asked_at, accepted_at, ended_at = (at if number < known else None for number, at in enumerate(times))
        outcome = draw(st.sampled_from(["settled", "failed", "gone"]))
        fields = {"intent_s": asked_at, "accepted_s": accepted_at, "ended_s": ended_at}
        made.append({**fields, "outcome": outcome, "taken_up_by": None, "planned_s": 0.0})
    return made


@given(targets(), st.floats(0.1, 1000))
def test_every_target_is_in_one_count_at_each_moment(made: list[dict[str, object]], length: float) -> None:
    found = count_stages(made, length)
    for counts in zip(found.waiting, found.asked, found.settling, found.as_wanted, found.otherwise, strict=True):
        assert sum(counts) == len(made)
        assert min(counts) >= 0


def test_at_the_end_the_counts_are_the_outcomes() -> None:
    one, two, three = cvm(1), cvm(2), cvm(3)
    report = document(
        [target(each) for each in (one, two, three)],
        *stopped(one, 1),
        asked(two, 2),
        ended(two, 3, "refused"),
        finished(10, 6),
    )
    found = count_stages(report["targets"], report["times"]["length_s"])
    assert (found.waiting[-1], found.as_wanted[-1], found.otherwise[-1]) == (1, 1, 1)


def test_an_ended_target_with_a_follow_up_is_in_no_count() -> None:
    times = {"planned_s": 0.0, "intent_s": 1.0, "accepted_s": 2.0, "ended_s": 5.0}
    made = {**times, "outcome": "unsettled", "taken_up_by": "pull"}
    found = count_stages([made], 10)
    assert found.otherwise[-1] == found.as_wanted[-1] == found.settling[-1] == 0
    assert max(found.settling) == 1


def test_a_target_selected_later_is_in_no_earlier_count() -> None:
    times = {"planned_s": 5.0, "intent_s": 6.0, "accepted_s": 7.0, "ended_s": 8.0}
    found = count_stages([{**times, "outcome": "settled", "taken_up_by": None}], 10)
    stages = (found.waiting, found.asked, found.settling, found.as_wanted, found.otherwise)
    begin = round(5 / found.seconds_each)
    assert [sum(counts[:begin]) for counts in stages] == [0] * 5
    assert sum(counts[begin] for counts in stages) == 1
