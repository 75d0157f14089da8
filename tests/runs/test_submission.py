"""The order for a run of a worker."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import NotConfirmedError, PlaybookError, SettingsError
from orchestrator.playbook.load import load_playbook
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.runs.freeze import MAX_CARRIED, carry_calendars
from orchestrator.runs.prepare import Overrides
from orchestrator.runs.submission import Submission
from orchestrator.settings.load import load_settings
from tests.runs.sessions import request_of

SOURCE = """\
name: démo
vars: {teepod: {required: true}}
steps:
  - name: force-stop
    action: stop
    select: {teepod: ["${teepod}"]}
"""


@pytest.fixture
def order(tmp_path: Path) -> Submission:
    file = tmp_path / "demo.yaml"
    file.write_text(SOURCE)
    narrowing = Narrowing.parse_options(("name=web-*",), ("id=cvm_1",))
    return Submission(
        load_playbook(file, {"teepod": "prod-1"}), 3, narrowing, overrides=Overrides("incident 4711", "ann says so")
    )


def test_an_order_survives_the_store(order: Submission) -> None:
    read = Submission.from_document(json.loads(json.dumps(order.document())))
    assert read == order
    assert read.loaded.data == SOURCE.encode()


def test_the_request_has_the_submitter_and_the_limits_of_the_worker(
    order: Submission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, ("rate.requests_per_second=3",))
    request = order.build_request(settings, "r1", {"by": "ann@host"})
    assert (request.run_id, request.limits.requests_per_second) == ("r1", 3)
    assert request.overrides == Overrides("incident 4711", "ann says so")
    assert request.origin_fields == {"actor": "ann@host", "submitted": {"by": "ann@host"}}
    assert request.narrowing == order.narrowing


@pytest.mark.parametrize(
    "change",
    [
        {"playbook": {"file": "demo.yaml", "source": SOURCE + "\n", "sha256": "0" * 64}},
        {"playbook": None},
        {"playbook": {}},
        {"vars": {}},
        {"narrowing": {"only": 7}},
    ],
)
def test_a_changed_order_is_refused(order: Submission, change: dict[str, object]) -> None:
    with pytest.raises((SettingsError, PlaybookError)):
        Submission.from_document(order.document() | change)


@pytest.mark.anyio
async def test_the_plan_must_have_the_expected_number_of_targets(order: Submission) -> None:
    class Plan:
        targets = (1, 2)

    with pytest.raises(NotConfirmedError, match="--expect 3, but the plan has 2 targets"):
        await order.confirm_plan(Plan())  # type: ignore[arg-type] # the targets alone count
    assert await Submission(request_of().loaded).confirm_plan(Plan())  # type: ignore[arg-type] # the same


def test_calendars_of_freezes_go_with_the_order(tmp_path: Path) -> None:
    file, content = tmp_path / "demo.yaml", "BEGIN:VCALENDAR\r\nÄ"
    file.write_text(SOURCE + "guards: {not_during: {timezone: UTC, on: [launches.ics, SAT]}}\n")
    (tmp_path / "launches.ics").write_bytes(content.encode())
    document = Submission(carry_calendars(load_playbook(file, {"teepod": "prod-1"}))).document()
    (tmp_path / "launches.ics").unlink()
    found = Submission.from_document(json.loads(json.dumps(document)))
    assert found.loaded.calendars == {"launches.ics": content}
    assert carry_calendars(found.loaded) == found.loaded, "a carried calendar needs no file"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"a\0b", "no UTF-8 text"),
        (b"\xff", "no UTF-8 text"),
        (b"a" * (MAX_CARRIED + 1), "1,000,000 bytes"),
    ],
)
def test_a_calendar_that_cannot_be_stored_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(SOURCE + "guards: {only_during: {timezone: UTC, on: launches.ics}}\n")
    if content is not None:
        (tmp_path / "launches.ics").write_bytes(content)
    with pytest.raises(PlaybookError, match=f"launches.ics of a freeze can't be stored.*{reason}"):
        carry_calendars(load_playbook(file, {"teepod": "prod-1"}))
