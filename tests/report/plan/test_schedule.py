"""A schedule as text."""

from orchestrator.playbook.firings import list_firings
from orchestrator.report.plan.schedule import firing_rows, head_lines
from tests.playbook.times import timetable, utc

SPRING = utc(2027, 3, 27), utc(2027, 3, 29)
TABLE = timetable("30 2 * * *", jitter="10m", not_on="2027-03-27")


def lines(width: int) -> list[str]:
    return [line for line, _ in firing_rows(list_firings(TABLE, *SPRING), width)]


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (160, 100, 80, 79, 60, 46, 45, 40, 28):
        assert max(map(len, lines(width))) <= width, width


def test_on_a_narrow_terminal_the_words_stand_below_the_times() -> None:
    assert lines(40) == [
        "local                        UTC",
        "Sat 2027-03-27 02:30 +01:00",
        "    2027-03-27 01:30Z",
        "    skipped: excluded by `not_on`:",
        "    2027-03-27",
        "Sun 2027-03-28 03:00 +02:00",
        "    2027-03-28 01:00Z",
        "    starts at 03:08:22; moved from",
        "    02:30, a skipped time: clocks went",
        "    from 02:00 to 03:00",
    ]


def test_lines_have_a_flag_for_real_firings() -> None:
    assert [fires for _, fires in firing_rows(list_firings(TABLE, *SPRING), 160)] == [False, False, True]


def test_the_name_of_a_calendar_event_has_no_control_characters() -> None:
    class Loud:
        def event_at(self, *_: object) -> str:
            return "\x1b[2Jfair"

    loud = timetable("30 2 * * *", calendars={"a.ics": Loud()}, not_on="a.ics")
    text = "\n".join(line for line, _ in firing_rows(list_firings(loud, *SPRING), 160))
    assert ("\x1b" in text, "fair" in text) == (False, True)


def test_the_head_says_what_the_schedule_says() -> None:
    table = timetable("*/15 8-18 * * MON-FRI", "UTC", until="2027-05-01", **{"from": "2027-01-01T08:00"})
    assert head_lines(table)[1:] == ["from 2027-01-01 08:00:00", "until 2027-05-01"]
