"""What the page about schedules shows is what comes out."""

from datetime import UTC, datetime
from pathlib import Path

from orchestrator.playbook.firings import list_firings
from orchestrator.playbook.load import load_playbook
from orchestrator.playbook.timetable import load_timetable
from orchestrator.report.plan.schedule import firing_rows, head_lines
from tests.docs.pages import ROOT, blocks

GOOD_FRIDAY = """\
BEGIN:VCALENDAR
BEGIN:VEVENT
DTSTART;VALUE=DATE:20270326
SUMMARY:Good Friday
END:VEVENT
END:VCALENDAR
"""


def test_the_table_in_the_docs_is_that_of_the_playbook_above_it(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/schedule.md"
    (example,) = (block for block in blocks("yaml") if block.page == page)
    (table,) = (block for block in blocks("") if block.page == page)
    (tmp_path / "p.yaml").write_text(example.text, encoding="utf-8")
    (tmp_path / "holidays.ics").write_text(GOOD_FRIDAY, encoding="utf-8")
    timetable = load_timetable(load_playbook(tmp_path / "p.yaml", {}))
    assert timetable is not None
    found = list_firings(timetable, datetime(2027, 3, 25, 23, tzinfo=UTC), datetime(2027, 3, 28, 22, tzinfo=UTC))
    lines = [*head_lines(timetable), "", *(line for line, _ in firing_rows(found, 160))]
    assert table.text.splitlines() == [*lines, "…"]
