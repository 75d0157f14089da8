"""The rules of a run's control: fresh statuses, limits of failures, freezes, the last reads, and endings."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.action import Action
from orchestrator.engine.context import EarlierProgress, SettleSettings
from orchestrator.engine.job import RequestPhase
from orchestrator.engine.rate.gate import LONG_PAUSE
from orchestrator.engine.read.status import Observation
from orchestrator.engine.run_control import RunControl
from orchestrator.outcome import Ending, Outcome, Reason, SkipReason
from orchestrator.playbook.resolved_steps import OwnLimits, PlannedStep
from orchestrator.playbook.value_types import Share
from orchestrator.reply import Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, work_of

pytestmark = pytest.mark.anyio

WITHHELD = Reason(SkipReason.PROTECTED, "name kms-*")
STEP = PlannedStep("stop", Action.STOP, 600)


class Controlled:
    """The control of a run with these targets, one for each CVM of a fake cloud."""

    def __init__(self, *jobs: dict[str, Any], **options: Any) -> None:  # noqa: ANN401 - fields of jobs, and of a fleet
        self.cloud = FakeCloud(len(jobs))
        self.jobs = [work_of(ref, **fields) for ref, fields in zip(self.cloud.refs, jobs, strict=True)]
        self.fleet = Fleet(self.cloud, jobs=self.jobs, **options)
        self.control = RunControl(self.fleet.context, self.fleet.workspace, EarlierProgress())

    def apply(self, *reads: StatusRead | str | None) -> None:
        """Apply fresh statuses; a text stands for a CVM without a fresh status."""
        fresh = {
            job.ref.key: Observation(read, 0.0)
            for job, read in zip(self.jobs, reads, strict=True)
            if not isinstance(read, str)
        }
        self.control.apply_statuses(fresh)

    def results(self) -> list[tuple[Outcome | None, str | None, str | None]]:
        """Outcome, reason and code of every target."""
        records = {
            each["cvm"]["name"]: each
            for event in ("failed", "settled")
            for each in self.fleet.trail.of(f"target.{event}")
        }
        found = [records.get(job.ref.name, {}) for job in self.jobs]
        return [(job.outcome, each.get("reason"), each.get("code")) for job, each in zip(self.jobs, found, strict=True)]


@pytest.mark.parametrize(
    ("fields", "read", "expected"),
    [
        ({}, StatusRead("running"), (None, None, None)),
        ({}, StatusRead("stopped"), (Outcome.SKIPPED, "already stopped when its turn came", "already_down")),
        ({}, StatusRead("stopped", in_progress=True), (None, None, None)),
        ({"billed": True}, StatusRead("exited"), (Outcome.SETTLED, None, None)),
        (
            {"action": Action.START},
            StatusRead("running"),
            (Outcome.SKIPPED, "already running when its turn came", "already_up"),
        ),
        ({"action": Action.RESTART}, StatusRead("running"), (None, None, None)),
        (
            {"action": Action.RESTART},
            StatusRead("stopped"),
            (Outcome.FAILED, "stopped when its turn came, so not restarted", None),
        ),
        ({}, None, (Outcome.GONE, "no such CVM any more: it was deleted meanwhile", None)),
        (
            {"action": Action.START},
            None,
            (Outcome.FAILED, "no such CVM any more: it was deleted meanwhile", None),
        ),
        ({"withheld": WITHHELD}, StatusRead("running"), (Outcome.NOT_SENT, WITHHELD.text, "protected")),
        ({"withheld": WITHHELD}, "not read", (Outcome.NOT_SENT, WITHHELD.text, "protected")),
        ({}, "not read", (None, None, None)),
        ({"phase": RequestPhase.ACCEPTED}, None, (None, None, None)),
        ({"phase": RequestPhase.IN_DOUBT}, None, (None, None, None)),
        ({"outcome": Outcome.REFUSED}, None, (Outcome.REFUSED, None, None)),
    ],
)
async def test_a_fresh_status_ends_an_unsent_target_with_nothing_left_to_do(
    fields: dict[str, Any], read: StatusRead | str | None, expected: tuple[Outcome | None, str | None, str | None]
) -> None:
    controlled = Controlled({"phase": RequestPhase.ACCEPTED}, fields)
    controlled.apply(StatusRead("running"), read)
    assert controlled.results() == [(None, None, None), expected]
    if isinstance(read, StatusRead) and expected[0] is not None:
        assert controlled.jobs[1].status == read.status


async def test_refreshed_statuses_are_those_of_open_targets() -> None:
    controlled = Controlled({"outcome": Outcome.SETTLED}, {})
    controlled.cloud.status_script = lambda _ref, _since: StatusRead("stopped")
    await controlled.control.refresh_statuses(controlled.jobs)
    assert [job.outcome for job in controlled.jobs] == [Outcome.SETTLED, Outcome.SKIPPED]


FAILED, SETTLED = {"outcome": Outcome.FAILED}, {"outcome": Outcome.SETTLED}


@pytest.mark.parametrize(
    ("limit", "ending"), [("1", Ending.MAX_FAILURES), ("2", None), ("50%", None), ("25%", Ending.MAX_FAILURES)]
)
async def test_more_failures_than_the_limit_end_the_run(limit: str, ending: Ending | None) -> None:
    controlled = Controlled(FAILED, FAILED, SETTLED, {}, max_failures=limit)
    controlled.control.count_failures()
    assert controlled.control.ending is ending


async def test_a_cvm_of_two_steps_counts_once_for_a_percentage_of_failures() -> None:
    controlled = Controlled(FAILED, SETTLED, max_failures="49%")
    controlled.control.count_failures()
    assert controlled.control.ending is Ending.MAX_FAILURES
    again = Controlled(FAILED, SETTLED, max_failures="50%")
    again.control.jobs.extend(work_of(job.ref, step="again") for job in again.jobs)
    again.control.count_failures()
    assert again.control.ending is None
    more = Controlled(FAILED, SETTLED, max_failures="49%")
    more.control.jobs.extend(work_of(job.ref, step="again") for job in more.jobs)
    more.control.count_failures()
    assert more.control.ending is Ending.MAX_FAILURES


@pytest.mark.parametrize(
    ("limit", "ending"), [("0", Ending.MAX_FAILURES), ("1", None), ("50%", None), ("49%", Ending.MAX_FAILURES)]
)
async def test_a_limit_of_a_step_counts_the_failures_of_the_step_alone(limit: str, ending: Ending | None) -> None:
    first = {"step": "first", **FAILED}
    controlled = Controlled(first, first, FAILED, {})
    own = PlannedStep("stop", Action.STOP, 600, limits=OwnLimits(max_failures=Share.parse(limit)))
    controlled.control.count_failures(STEP)
    assert controlled.control.ending is None
    controlled.control.count_failures(own)
    assert controlled.control.ending is ending


class Freeze:
    """A freeze, or no freeze, at every time."""

    def __init__(self, entry: str | None) -> None:
        self.entry, self.asked = entry, list[datetime]()

    def find_freeze(self, moment: datetime) -> str | None:
        self.asked.append(moment)
        return self.entry


@pytest.mark.parametrize(
    ("fields", "entry", "is_frozen"),
    [
        ({}, "Sat 00:00-24:00", True),
        ({}, None, False),
        ({"outcome": Outcome.SETTLED}, "Sat 00:00-24:00", False),
        ({"phase": RequestPhase.ACCEPTED}, "Sat 00:00-24:00", False),
    ],
)
async def test_a_freeze_ends_the_run_before_an_unsent_request(
    fields: dict[str, Any], entry: str | None, is_frozen: bool
) -> None:
    freeze = Freeze(entry)
    controlled = Controlled({"outcome": Outcome.SETTLED}, fields, freeze=freeze)
    controlled.control.check_freeze(STEP, controlled.jobs)
    assert controlled.control.ending is (Ending.FROZEN if is_frozen else None)
    assert controlled.control.frozen_by == (entry if is_frozen else None)
    assert all(moment.tzinfo is UTC for moment in freeze.asked)


async def test_a_freeze_neither_forbids_starts_nor_replaces_an_ending() -> None:
    controlled = Controlled({"action": Action.START}, freeze=Freeze("always"))
    controlled.control.check_freeze(PlannedStep("start", Action.START, 600), controlled.jobs)
    assert controlled.control.ending is None
    ended = Controlled({}, freeze=Freeze("always"))
    ended.control.halt(Ending.MAX_FAILURES)
    ended.control.check_freeze(STEP, ended.jobs)
    assert (ended.control.ending, ended.control.frozen_by) == (Ending.MAX_FAILURES, None)
    free = Controlled({})
    free.control.check_freeze(STEP, free.jobs)
    assert free.control.ending is None


STARTED = {"action": Action.START, **SETTLED}


@pytest.mark.parametrize(
    ("fields", "status", "expected"),
    [
        (SETTLED, "stopped", (Outcome.SETTLED, None)),
        (
            SETTLED,
            "running",
            (Outcome.RESURRECTED, "it was seen down, and read once more its status is 'running' again"),
        ),
        (SETTLED, "stopping", (Outcome.UNSETTLED, "it was seen down, but read once more its status is 'stopping'")),
        (STARTED, "running", (Outcome.SETTLED, None)),
        (STARTED, "stopped", (Outcome.FAILED, "it was seen running, and read once more its status is 'stopped' again")),
    ],
)
async def test_a_settled_target_is_confirmed_by_its_last_status(
    fields: dict[str, Any], status: str, expected: tuple[Outcome, str | None]
) -> None:
    controlled = Controlled(fields, SETTLED, {})
    statuses = {"web-0": status, "web-1": "stopped"}
    controlled.cloud.status_script = lambda ref, _since: StatusRead(statuses[ref.name])
    assert await controlled.control.verify_settled(controlled.jobs) == []
    (outcome, reason, _), (other, _, _), (open_one, _, _) = controlled.results()
    assert (outcome, reason) == expected
    assert (other, open_one) == (Outcome.SETTLED, None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [(SETTLED, (Outcome.SETTLED, None)), (STARTED, (Outcome.FAILED, "it was seen running, and was deleted later"))],
)
async def test_a_deleted_cvm_fails_only_if_the_cvm_was_to_run(
    fields: dict[str, Any], expected: tuple[Outcome, str | None]
) -> None:
    controlled = Controlled(fields, STARTED)
    controlled.cloud.status_script = lambda _ref, _since: StatusRead("stopped")
    controlled.cloud.gone.add("web-0")
    assert await controlled.control.verify_settled(controlled.jobs) == []
    (outcome, reason, _), (other, _, _) = controlled.results()
    assert (outcome, reason, other) == (*expected, Outcome.FAILED)


async def test_a_target_superseded_by_a_later_step_is_not_read_again() -> None:
    controlled = Controlled({"is_superseded": True, **SETTLED})
    controlled.cloud.status_script = lambda _ref, _since: StatusRead("running")
    assert await controlled.control.verify_settled(controlled.jobs) == []
    assert controlled.jobs[0].outcome is Outcome.SETTLED


async def test_a_settled_target_without_a_readable_status_is_unsettled() -> None:
    controlled = Controlled(SETTLED, settle=SettleSettings(cloud_down=1e9))
    controlled.cloud.batch = lambda _uuids: Reply(http_status=200, problem="not JSON")

    async def read_state(_ref: object) -> Reply[StatusRead]:
        return Reply(http_status=200, problem="not JSON")

    controlled.cloud.read_state = read_state  # type: ignore[assignment,method-assign]
    assert await controlled.control.verify_settled(controlled.jobs) == []
    assert controlled.results() == [
        (Outcome.UNSETTLED, "it was seen down, but its status can't be read once more", None)
    ]


class HaltedWave:
    """A wave that records its halts."""

    def __init__(self) -> None:
        self.halts: list[dict[str, bool]] = []

    def halt(self, **how: bool) -> None:
        self.halts.append(how)


QUIETLY = {"at_once": False, "stop_watching": False, "hurry": False}
AT_ONCE = {"at_once": True, "stop_watching": True, "hurry": False}
IN_A_HURRY = {"at_once": True, "stop_watching": True, "hurry": True}


@pytest.mark.parametrize(
    ("ending", "is_cut_off", "how"),
    [
        (Ending.MAX_FAILURES, False, QUIETLY),
        (Ending.MAX_FAILURES, True, QUIETLY),
        (Ending.SIGINT, False, QUIETLY),
        (Ending.SIGINT, True, IN_A_HURRY),
        (Ending.CANCELLED, True, IN_A_HURRY),
        (Ending.KEY_REFUSED, False, AT_ONCE),
        (Ending.CLOUD_DOWN, False, AT_ONCE),
        (Ending.TIMED_OUT, False, AT_ONCE),
    ],
)
async def test_an_ending_stops_the_watch_of_a_wave_only_without_readable_statuses(
    ending: Ending, is_cut_off: bool, how: dict[str, bool]
) -> None:
    controlled, wave = Controlled({}), HaltedWave()
    controlled.control.wave = wave  # type: ignore[assignment]
    if is_cut_off:
        controlled.fleet.gate.pause(LONG_PAUSE + 1)
    controlled.control.halt(ending)
    assert wave.halts == [how]


async def test_a_later_outage_stops_the_watch_of_an_interrupted_run_alone() -> None:
    controlled, wave = Controlled({}), HaltedWave()
    controlled.control.wave = wave  # type: ignore[assignment]
    controlled.control.check_interruption()
    assert wave.halts == []
    controlled.control.halt(Ending.SIGTERM)
    controlled.fleet.gate.pause(LONG_PAUSE + 1)
    controlled.control.check_interruption()
    assert wave.halts == [QUIETLY, IN_A_HURRY]
    assert controlled.control.ending is Ending.SIGTERM
