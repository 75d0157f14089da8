"""`schedule explain`, and what `validate` says of a schedule, by the installed command."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.site import COMMAND, Ended, Site
from tests.e2e.test_start import LISTED, loaded

NIGHTLY = Path(__file__).parents[2] / "playbooks" / "nightly-cost-stop.yaml"
SCHEDULE = '{cron: "30 2 * * *", timezone: Europe/Berlin, not_on: ["2027-03-30"], until: 2027-10-31}'
MOVED = "moved from 02:30, a skipped time: clocks went from 02:00 to 03:00"
HOLIDAYS = """\
BEGIN:VCALENDAR
BEGIN:VEVENT
DTSTART;VALUE=DATE:20200501
RRULE:FREQ=YEARLY
SUMMARY:Labour Day
END:VEVENT
END:VCALENDAR
"""


def playbook(site: Site, schedule: str, more: str = "") -> str:
    """A playbook with this schedule; returns its path."""
    file = site.folder / "scheduled.yaml"
    steps = "steps:\n  - {action: stop, select: {all: true}}\n"
    file.write_text(f"name: scheduled\n{more}schedule: {schedule}\n{steps}")
    return str(file)


def explain(site: Site, schedule: str, *args: str) -> Ended:
    return site.run("schedule", "explain", playbook(site, schedule), *args)


def test_a_table_says_when_it_fires_when_not_and_why(site: Site) -> None:
    ended = explain(site, SCHEDULE, "--from", "2027-03-27", "--to", "2027-03-31")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "scheduled: at 02:30 every day, Europe/Berlin",
        "until 2027-10-31",
        "not on 2027-03-30",
        "",
        "local                        UTC                note",
        "Sat 2027-03-27 02:30 +01:00  2027-03-27 01:30Z",
        f"Sun 2027-03-28 03:00 +02:00  2027-03-28 01:00Z  {MOVED}",
        "Mon 2027-03-29 02:30 +02:00  2027-03-29 00:30Z",
        "Tue 2027-03-30 02:30 +02:00  2027-03-30 00:30Z  skipped: excluded by `not_on`: 2027-03-30",
        "Wed 2027-03-31 02:30 +02:00  2027-03-31 00:30Z",
        "",
        "4 firings, 1 skipped from Sat 2027-03-27 00:00 +01:00 to Thu 2027-04-01 00:00 +02:00",
    ]


def test_stops_and_wakes_are_in_one_list(site: Site) -> None:
    wake = "{cron: '0 7 * * *', timezone: Europe/Berlin}\nwake: {cron: '0 6 * * MON', not_on: '2027-03-29'}"
    ended = explain(site, wake, "--from", "2027-03-28", "--to", "2027-03-29")
    assert ended.out.splitlines()[:-2] == [
        "scheduled: at 07:00 every day, Europe/Berlin",
        "wake: at 06:00 on Monday, Europe/Berlin",
        "wake not on 2027-03-29",
        "",
        "local                        UTC                note",
        "Sun 2027-03-28 07:00 +02:00  2027-03-28 05:00Z  stop",
        "Mon 2027-03-29 06:00 +02:00  2027-03-29 04:00Z  wake skipped: excluded by `not_on`: 2027-03-29",
        "Mon 2027-03-29 07:00 +02:00  2027-03-29 05:00Z  stop",
    ]
    document = explain(site, wake, "--from", "2027-04-05", "--to", "2027-04-05", "--json").document
    assert document["wake"]["words"] == "at 06:00 on Monday, Europe/Berlin"
    assert [(each["planned"][11:16], each.get("wake")) for each in document["firings"]] == [
        ("04:00", True),
        ("05:00", None),
    ]


def test_json_is_one_document_with_the_same(site: Site) -> None:
    ended = explain(site, SCHEDULE, "--from", "2027-10-30T12:00", "--to", "2027-11-01T01:30Z", "--json")
    assert ended.code == 0
    document = ended.document
    assert (document["from"], document["to"]) == ("2027-10-30T10:00:00Z", "2027-11-01T01:30:01Z")
    assert document["schedule"]["words"] == "at 02:30 every day, Europe/Berlin"
    assert document["firings"] == [
        {
            "planned": "2027-10-31T00:30:00Z",
            "local": "2027-10-31T02:30:00+02:00",
            "wanted": "2027-10-31T02:30",
            "starts": "2027-10-31T00:30:00Z",
            "latest": "2027-10-31T00:30:00Z",
            "decision": "fold",
            "note": "first of two; no second firing at 02:30 +01:00",
        }
    ]
    assert [each["reason"] for each in document["left_out"]] == ["after `until`, 2027-10-31"]


def test_without_dates_it_is_about_the_next_thirty_days(site: Site) -> None:
    ended = explain(site, '{cron: "0 * * * *", timezone: UTC}', "--json")
    assert len(ended.document["firings"]) in (720, 721)


def test_a_year_of_the_nightly_stop_holds_no_surprise(site: Site) -> None:
    """Each weekday of 2027 but for the days that it names, at the same time on the clock, summer and winter."""
    ended = site.run("schedule", "explain", str(NIGHTLY), "--from", "2027-01-01", "--to", "2027-12-31", "--json")
    document = ended.document
    assert len(document["firings"]) + len(document["left_out"]) == 261
    assert {each["local"][11:16] for each in document["firings"]} == {"19:30"}
    assert {each["decision"] for each in document["firings"]} == {"plain"}
    assert {each["wanted"][:10] for each in document["left_out"]} == {
        *(f"2027-12-{day}" for day in (24, 27, 28, 29, 30, 31)),
        "2027-01-01",
    }


@pytest.mark.parametrize("command", ["explain", "validate"])
def test_a_playbook_with_a_broken_calendar_is_refused_by_line(site: Site, command: str) -> None:
    path = playbook(site, '{cron: "30 2 * * *", timezone: UTC, not_on: holidays.ics}')
    words = ("schedule", "explain") if command == "explain" else ("validate",)
    (site.folder / "holidays.ics").write_text("<html>")
    ended = site.run(*words, path, "--json")
    assert (ended.code, ended.fault["code"], ended.fault["line"]) == (2, "playbook", 2)
    assert "schedule.not_on[0]: the calendar" in ended.fault["message"]


def test_a_run_does_not_look_at_the_calendar(site: Site) -> None:
    """A holiday that can't be read holds up no stop that somebody starts."""
    path = playbook(site, '{cron: "30 2 * * *", timezone: UTC, not_on: gone.ics}')
    assert site.run("plan", path).code == 0


def test_holidays_of_a_calendar_beside_the_playbook_are_left_out(site: Site) -> None:
    (site.folder / "holidays.ics").write_text(HOLIDAYS)
    schedule = '{cron: "30 2 * * *", timezone: UTC, not_on: holidays.ics}'
    ended = explain(site, schedule, "--from", "2031-05-01", "--to", "2031-05-01")
    assert (ended.code, "skipped: excluded by `not_on`: Labour Day (holidays.ics)" in ended.out) == (0, True)
    assert "No firing in this time; next firing: Fri 2031-05-02 02:30 +00:00." in ended.out


def test_what_can_not_be_explained_is_told_with_a_hint(site: Site) -> None:
    faults = {
        ("schedule", "explain", site.playbook()): ("the playbook has no schedule", "add `schedule: {cron:"),
        ("schedule", "explain", str(NIGHTLY), "--from", "soon"): ("--from: must be a date or a time", "2027-12-24T"),
        ("schedule", "explain", str(NIGHTLY), "--to", "2027-02-30"): ("--to: there is no such day", "YYYY-MM-DD"),
        ("schedule", "explain", str(NIGHTLY), "--to", "2020-01-01"): ("--to is before --from", "give --from too"),
        ("schedule", "explain", "nightly"): ("there is no playbook 'nightly'", "path"),
        ("schedule", "show"): ("no such command 'show'", "orchestrator schedule --help"),
    }
    results = site.run_each(*((*words, "--json") for words in faults))
    for (message, hint), ended in zip(faults.values(), results, strict=True):
        assert (ended.code, message in ended.fault["message"], hint in (ended.fault["hint"] or "")) == (2, True, True)


def test_only_the_variables_that_the_schedule_needs_have_to_be_given(site: Site) -> None:
    more = "vars:\n  zone: {required: true}\n  teepod: {required: true}\n"
    path = playbook(site, '{cron: "30 2 * * *", timezone: "${zone}"}', more)
    refused = site.run("schedule", "explain", path)
    assert (refused.code, "the variable 'zone' has no value" in refused.err) == (2, True)
    assert "Asia/Kolkata" in site.run("schedule", "explain", path, "--var", "zone=Asia/Kolkata").out


def test_validate_says_in_words_what_a_schedule_means(site: Site) -> None:
    ended = site.run("validate", playbook(site, '{cron: "30 2 * * MON-FRI", timezone: UTC, from: 2151-01-01}'))
    says = "  due at 02:30 on Monday through Friday, UTC; next: Fri 2151-01-01 02:30 +00:00\n"
    assert (ended.code, says in ended.out) == (0, True)
    over = site.run("validate", playbook(site, '{cron: "30 2 * * *", timezone: UTC, until: 2020-01-01}'))
    assert over.out.endswith("  due at 02:30 every day, UTC; no firing within a year\n")
    (document,) = site.run("validate", str(NIGHTLY), "--json").document
    assert document["schedule"]["words"] == "at 19:30 on Monday through Friday, Europe/Berlin"
    (without,) = site.run("validate", site.playbook(), "--json").document
    assert without["schedule"] is None


def test_a_reader_that_leaves_early_is_no_error(site: Site) -> None:
    path = playbook(site, '{cron: "*/5 * * * *", timezone: UTC}')
    shell = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {COMMAND} schedule explain {path} | head -1"],
        capture_output=True,
        text=True,
        check=False,
        env=site.environment,
        cwd=site.folder,
    )
    assert (shell.returncode, shell.stdout, shell.stderr) == (
        0,
        "scheduled: every fifth minute of every hour, UTC\n",
        "",
    )


def test_calendars_and_cron_are_loaded_only_where_a_playbook_asks_for_them(site: Site) -> None:
    without, cron = site.run_each(
        ("validate", site.playbook()),
        ("validate", playbook(site, '{cron: "30 2 * * *", timezone: UTC}')),
        envs=[LISTED] * 2,
    )
    assert (without.code, cron.code) == (0, 0)
    libraries = {"cronsim", "icalendar", "dateutil"}
    assert loaded(without) & libraries == set()
    assert loaded(cron) & libraries == {"cronsim"}


@pytest.mark.parametrize("bare", ["20261201", "2027", "8", "1.5"])
def test_a_number_without_a_unit_is_no_time_to_snooze_until(site: Site, bare: str) -> None:
    (site.folder / "playbooks").mkdir()
    Path(playbook(site, '{cron: "30 2 * * *", timezone: UTC}')).rename(site.folder / "playbooks" / "scheduled.yaml")
    ended = site.run("snooze", "scheduled", "--until", bare, "--json")
    assert (ended.code, "must be a date, a time or a duration" in ended.fault["message"]) == (2, True)
