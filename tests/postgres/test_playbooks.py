"""`playbooks push`, `playbooks list` and `snooze` over a real server."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.handlers.playbooks import list_playbooks, push_folder, read_folder
from orchestrator.cli.handlers.schedule import explain_schedule
from orchestrator.cli.handlers.snooze import snooze_playbook
from orchestrator.errors import PlaybookError, SettingsError, UsageError
from orchestrator.runs import stores
from tests.postgres.cluster import PASSWORD, Cluster

STEPS = "steps:\n  - {action: stop, select: {name: ['dev-*']}}\n"
NIGHTLY = 'name: nightly\nschedule: {cron: "0 2 * * *", timezone: Europe/Berlin}\nworkspaces: [prod]\n' + STEPS
ICS = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//x//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20261101T000000Z\r\n"
    "DTSTART;VALUE=DATE:20261225\r\nSUMMARY:Christmas\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
TWO_DAYS = timedelta(days=2)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with two playbooks, and a file of another tool."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    folder = tmp_path / "playbooks"
    folder.mkdir()
    (folder / "nightly.yaml").write_text(NIGHTLY)
    (folder / "byhand.yaml").write_text(
        f"name: byhand\nvars:\n  team: {{required: true}}\n{STEPS.replace('dev', '${team}')}"
    )
    (folder / "compose.yml").write_text("services: {}\n")
    return folder


@pytest.fixture
def call(cluster: Cluster, database: str, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a handler as a user of the database; returns exit code, stdout and stderr."""

    def call_handler(handler: Callable[..., int], *args: Any, user: str = "oli_operator", **options: Any) -> Any:  # noqa: ANN401 - as the handler
        setting = (f"store.url={cluster.url(database, user)}", "audit.state_dir=state")
        code = handler(*args, None, setting, **{"as_json": False, **options})
        return code, *capsys.readouterr()

    return call_handler


def test_a_push_says_what_it_changed_and_the_list_names_the_person(folder: Path, call: Call) -> None:
    assert call(push_folder, folder, prune=False) == (
        0,
        "added byhand\nadded nightly\nthe team store has 2 playbooks: 0 unchanged by this push\n",
        "",
    )
    (folder / "nightly.yaml").write_text(NIGHTLY.replace("0 2", "0 3"))
    (folder / "byhand.yaml").unlink()
    code, out, err = call(push_folder, folder, prune=False)
    assert (code, out.splitlines()[0]) == (0, "changed nightly")
    assert err == f"kept byhand: not in {folder}; remove with --prune\n"
    _, out, _ = call(push_folder, folder, prune=True, as_json=True)
    assert json.loads(out) == {
        "playbooks": [{"name": "byhand", "change": "removed"}, {"name": "nightly", "change": "unchanged"}],
        "calendars": [],
        "warnings": [],
    }
    _, out, _ = call(list_playbooks, as_json=True)
    (listed,) = json.loads(out)
    assert (listed["playbook"], listed["file"], "@" in listed["pushed_by"]) == ("nightly", "nightly.yaml", True)
    assert call(list_playbooks)[1].startswith("nightly  pushed by ")


def test_a_schedule_without_a_workspace_is_warned_about(folder: Path, call: Call) -> None:
    (folder / "nightly.yaml").write_text(NIGHTLY.replace("workspaces: [prod]\n", ""))
    code, out, err = call(push_folder, folder, prune=False)
    assert (code, "added nightly" in out) == (0, True)
    assert err.startswith("warning: nightly.yaml: the schedule names no workspace")
    assert len(json.loads(call(push_folder, folder, prune=False, as_json=True)[1])["warnings"]) == 1


@pytest.mark.usefixtures("folder")
def test_an_empty_store_says_how_to_push(call: Call) -> None:
    assert "playbooks push DIR" in call(list_playbooks)[1]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("bad.yaml", "name: bad\nschedule: {cron: '61 * * * *', timezone: UTC}\n" + STEPS, ("schedule.cron", 2)),
        ("bad.yaml", "name: bad\nsteps: [\n", ("YAML", 3)),
        ("twice.yaml", NIGHTLY, ("the name 'nightly' is also used in nightly.yaml", 1)),
        (
            "needs.yaml",
            'name: needs\nschedule: {cron: "0 2 * * *", timezone: UTC}\nvars:\n  team: {required: true}\n'
            + STEPS.replace("dev", "${team}"),
            ("team", 4),
        ),
        (
            "off.yaml",
            NIGHTLY.replace("nightly", "off").replace("Berlin}", 'Berlin, not_on: ["../off.ics"]}'),
            ("can't be read", 2),
        ),
        (
            "frozen.yaml",
            "name: frozen\nguards: {not_during: [{timezone: UTC, on: [../playbooks/days.ics]}]}\n" + STEPS,
            ("the calendar ../playbooks/days.ics lies outside of the folder", 2),
        ),
    ],
)
def test_an_invalid_playbook_is_refused_with_file_and_line_and_nothing_is_pushed(
    folder: Path, call: Call, name: str, text: str, fault: tuple[str, int]
) -> None:
    (folder / name).write_text(text)
    (folder / "days.ics").write_text(ICS)
    with pytest.raises(PlaybookError) as refused:
        call(push_folder, folder, prune=True)
    assert fault[0] in refused.value.message
    assert (refused.value.file, refused.value.line) == (str(folder / name), fault[1])
    assert json.loads(call(list_playbooks, as_json=True)[1]) == []


def test_all_invalid_playbooks_are_named_at_once(folder: Path) -> None:
    for name in "abc":
        (folder / f"{name}.yaml").write_text(f"name: {name}\nsteps: 1\n")
    with pytest.raises(PlaybookError) as refused:
        read_folder(folder)
    assert len(refused.value.more) == 2


def test_calendars_go_with_their_playbooks(folder: Path, call: Call) -> None:
    (folder / "nightly.yaml").write_text(NIGHTLY.replace("Berlin}", "Berlin, not_on: [off/days.ics]}"))
    (folder / "off").mkdir()
    (folder / "off" / "days.ics").write_text(ICS)
    assert "added calendar off/days.ics" in call(push_folder, folder, prune=False)[1]
    (folder / "launches.ics").write_text(ICS)
    frozen = "name: frozen\nguards: {not_during: [{timezone: UTC, on: [launches.ics]}]}\n" + STEPS
    (folder / "frozen.yaml").write_text(frozen)
    assert "added frozen\nadded calendar launches.ics" in call(push_folder, folder, prune=False)[1]
    outside = folder.parent / "days.ics"
    outside.write_text(ICS)
    (folder / "nightly.yaml").write_text(NIGHTLY.replace("Berlin}", f"Berlin, not_on: ['{outside}']}}"))
    with pytest.raises(PlaybookError, match="lies outside of the folder"):
        call(push_folder, folder, prune=False)


def test_bad_input_of_a_push(folder: Path, call: Call) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        call(push_folder, folder / "none", prune=False)
    (folder.parent / "empty").mkdir()
    with pytest.raises(UsageError, match="no playbooks found"):
        call(push_folder, folder.parent / "empty", prune=True)
    with pytest.raises(SettingsError, match="no rights") as refused:
        call(push_folder, folder, prune=False, user="wes_worker")
    assert "orchestrator_operator" in str(refused.value.hint)
    with pytest.raises(SettingsError, match=r"store\.url is not set"):
        push_folder(folder, None, (), prune=False, as_json=False)


def test_a_snooze_is_in_the_store_for_all_machines(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call(push_folder, folder, prune=False)
    options = {"clear": False, "listed": False}
    code, out, _ = call(snooze_playbook, "nightly", "2d", **options)
    assert (code, "2 firings skipped" in out, "next firing:" in out) == (0, True, True)
    _, out, _ = call(snooze_playbook, None, None, **{**options, "listed": True}, user="vic_viewer")
    assert out.startswith("nightly: snoozed until ")
    assert "no longer snoozed; next firing" in call(snooze_playbook, "nightly", None, **{**options, "clear": True})[1]
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__NOT_DURING", '[{"timezone": "UTC", "on": ["00:00..24:00"]}]')
    frozen = call(snooze_playbook, "nightly", None, **{**options, "clear": True})[1]
    assert frozen == "nightly is not snoozed.\n", "every firing is frozen by the settings"
    with pytest.raises(UsageError, match="no playbook 'nightli' with a schedule") as refused:
        call(snooze_playbook, "nightli", "2d", **options)
    assert "nightly" in str(refused.value.hint)
    with pytest.raises(UsageError, match="has no schedule"):
        call(snooze_playbook, "byhand", "2d", **options)


def test_a_snooze_goes_by_the_clock_of_the_store(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call(push_folder, folder, prune=False)
    monkeypatch.setattr(stores, "utc_now", lambda: datetime(2020, 1, 1, tzinfo=UTC))
    begun = datetime.now(UTC)
    options = {"clear": False, "listed": False, "as_json": True}
    snoozed = json.loads(call(snooze_playbook, "nightly", "2d", **options)[1])
    assert begun - timedelta(minutes=1) < datetime.fromisoformat(snoozed["since"]) < begun + timedelta(minutes=1)
    assert datetime.fromisoformat(snoozed["snoozed_until"]) - datetime.fromisoformat(snoozed["since"]) == TWO_DAYS


def test_the_firings_of_a_pushed_playbook_are_explained_with_its_snooze(
    folder: Path, call: Call, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(push_folder, folder, prune=False)
    call(snooze_playbook, "nightly", "2d", clear=False, listed=False)
    (folder / "nightly.yaml").write_text(NIGHTLY.replace("0 2", "0 5"))
    monkeypatch.setenv("ORCHESTRATOR_STORE__URL", cluster.url(database, "vic_viewer"))

    def explain(playbook: str, *_: object, **__: object) -> int:
        explain_schedule(playbook, None, None, (), as_json=True)
        return 0

    pushed, edited = (json.loads(call(explain, each)[1]) for each in ("nightly", "playbooks/nightly.yaml"))
    assert (pushed["file"], pushed["schedule"]["cron"]) == ("team store: nightly.yaml", "0 2 * * *")
    assert (edited["file"], edited["schedule"]["cron"]) == ("playbooks/nightly.yaml", "0 5 * * *")
    assert [each["code"] for each in pushed["left_out"]] == ["snoozed", "snoozed"]
    monkeypatch.setenv("ORCHESTRATOR_STORE__URL", "postgresql://vic_viewer@127.0.0.1:1/none")
    _, out, err = call(explain, "nightly")
    assert json.loads(out)["schedule"]["cron"] == "0 5 * * *"
    assert err.startswith("warning: the team store can't be read, the playbook of this machine is shown: ")
