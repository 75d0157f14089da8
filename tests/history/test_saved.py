"""What runs saved, by their logs."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit.store import FileRunStore
from orchestrator.billing.savings import By
from orchestrator.history.index import Index
from orchestrator.history.logs import read_entries
from orchestrator.history.saved import SavingsReport, add_up_savings
from orchestrator.times import timestamp
from tests.logs import LogBuilder, build_stop, cvm

BEGUN = datetime(2026, 11, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = BEGUN + 24 * HOUR


def of(
    state: Path,
    *,
    by: By = "playbook",
    since: datetime = BEGUN - 24 * HOUR,
    simulated: bool = False,
    fleet: str | None = None,
) -> SavingsReport:
    with Index(state) as index:
        entries = read_entries(FileRunStore(state).list_runs(), index)
        return add_up_savings(entries, by, since, NOW, simulated=simulated, fleet=fleet)


def stood(found: SavingsReport) -> float:
    """Hours, to the minute."""
    return round(found.together.stood / HOUR, 1)


def start_of(begun: datetime, *numbers: int, action: str = "start") -> LogBuilder:
    made = LogBuilder.start(begun, playbook="morning").plan(*((n, action, "stopped") for n in numbers))
    for number in numbers:
        made.end(number, action)
    return made.finish()


def test_from_a_stop_to_the_start_of_a_later_run(tmp_path: Path) -> None:
    build_stop(BEGUN, 1, 2).write(tmp_path)
    start_of(BEGUN + 10 * HOUR, 1).write(tmp_path)
    found = of(tmp_path)
    assert stood(found) == 10 + 24
    assert (found.together.open, found.together.times, found.runs) == (1, 2, 2)
    assert [(row.key, row.times) for row in found.rows] == [("nightly", 2)]
    assert abs(found.together.compute.usd - 34 * Decimal("0.12")) < Decimal("0.01")


def test_a_start_that_is_only_on_its_way_ends_it_as_well_and_one_that_was_not_taken_does_not(tmp_path: Path) -> None:
    build_stop(BEGUN, 1, 2).write(tmp_path)
    made = LogBuilder.start(BEGUN + 5 * HOUR).plan((1, "start", "stopped"), (2, "start", "stopped"))
    made.end(1, "start", "unsettled")
    made.record_target("action.intent", 2, "start", attempt=1)
    made.record_target("action.failed", 2, "start", attempt=1, reason="balance")
    made.record_target("target.failed", 2, "start", outcome="failed", status="stopped", seconds=1.0).finish(6)
    made.write(tmp_path)
    assert stood(of(tmp_path)) == 5 + 24


def test_a_cvm_that_a_later_list_shows_running_was_started_by_somebody_in_between(tmp_path: Path) -> None:
    build_stop(BEGUN, 1, 2, 3).write(tmp_path)
    LogBuilder.start(BEGUN + 6 * HOUR).plan((1, "stop", "running"), others={2: "running", 3: "stopped"}).finish().write(
        tmp_path
    )
    found = of(tmp_path)
    assert stood(found) == 6 + 6 + 24
    assert found.together.seen == 2


def test_a_list_read_before_the_stop_and_confirmed_after_it_does_not_end_it(tmp_path: Path) -> None:
    build_stop(BEGUN, 1).write(tmp_path)
    read_at = timestamp(BEGUN - HOUR)
    LogBuilder.start(BEGUN + HOUR).plan(others={1: "running"}, read_at=read_at).finish().write(tmp_path)
    assert stood(of(tmp_path)) == 24


def test_a_log_that_does_not_say_when_its_list_was_read_is_given_five_minutes(tmp_path: Path) -> None:
    build_stop(BEGUN, 1).write(tmp_path)
    LogBuilder.start(BEGUN + timedelta(minutes=4)).plan(others={1: "running"}, read_at=None).finish().write(tmp_path)
    assert stood(of(tmp_path)) == 24
    LogBuilder.start(BEGUN + timedelta(minutes=6)).plan(others={1: "running"}, read_at=None).finish().write(tmp_path)
    assert stood(of(tmp_path)) == 0.1


@pytest.mark.parametrize("outcome", ["refused", "failed", "unsettled", "resurrected"])
def test_a_stop_after_which_the_cvm_was_not_seen_to_stay_down_saves_nothing(tmp_path: Path, outcome: str) -> None:
    LogBuilder.start(BEGUN).plan((1, "stop", "running")).end(1, outcome=outcome).finish(6).write(tmp_path)
    found = of(tmp_path)
    assert (stood(found), found.together.times, len(found.together.stops)) == (0, 0, 1)


def test_one_that_came_back_up_ends_what_an_earlier_run_had_saved(tmp_path: Path) -> None:
    build_stop(BEGUN, 1).write(tmp_path)
    made = LogBuilder.start(BEGUN + 3 * HOUR).plan((1, "stop", "stopping"))
    made.end(1, outcome="resurrected").finish(6).write(tmp_path)
    assert stood(of(tmp_path)) == 3


def test_what_was_not_up_before_is_no_saving(tmp_path: Path) -> None:
    LogBuilder.start(BEGUN).plan((1, "stop", "error")).end(1).finish().write(tmp_path)
    assert stood(of(tmp_path)) == 0


def test_a_cvm_that_was_deleted_stands_still_until_that_was_seen(tmp_path: Path) -> None:
    made = LogBuilder.start(BEGUN).plan((1, "stop", "running"))
    made.record_target("action.intent", 1, attempt=1)
    made.record_target("action.accepted", 1, attempt=1, observed=False, billing={})
    made.wait(hours=1).record_target("target.settled", 1, outcome="gone", status=None, seconds=3600.0)
    made.finish().write(tmp_path)
    build_stop(BEGUN, 2, suffix="0002").write(tmp_path)
    gone = [{"cvm": cvm(2), "status": "stopped", "reason": "drifted: no longer in the list"}]
    later = LogBuilder.start(BEGUN + 4 * HOUR).record("run.planned", targets=[], skipped=gone, steps=[])
    later.finish().write(tmp_path)
    found = of(tmp_path)
    assert (stood(found), found.together.open) == (1 + 4, 0)


def test_an_escalated_shutdown_is_one_standstill_and_one_stop(tmp_path: Path) -> None:
    made = LogBuilder.start(BEGUN).plan((1, "shutdown", "running"))
    made.record_target("action.intent", 1, "shutdown", attempt=1)
    made.record_target("action.accepted", 1, "shutdown", attempt=1, observed=False, billing={"triggered": True})
    where: dict[str, Any] = {"step": "shutdown", "cvm": cvm(1)}
    made.record("action.escalated", **where, action="shutdown", to="stop", reason="did not settle")
    made.record("action.intent", **where, action="stop", attempt=2)
    made.record("action.accepted", **where, action="stop", attempt=2, observed=False, billing={"triggered": True})
    made.record("target.settled", **where, action="stop", outcome="settled", status="stopped", seconds=9.0)
    made.finish().write(tmp_path)
    found = of(tmp_path)
    assert (stood(found), found.together.times, len(found.together.stops)) == (24, 1, 1)


def test_what_a_later_step_took_up_on_its_way_down_was_up_when_the_run_found_it(tmp_path: Path) -> None:
    steps = [
        {"name": "shutdown", "action": "shutdown"},
        {"name": "stop", "action": "stop", "follows": {"step": "shutdown", "outcomes": ["unsettled"]}},
    ]
    made = LogBuilder.start(BEGUN).plan((1, "shutdown", "running"), steps=steps).end(1, "shutdown", "unsettled")
    target = {"step": "stop", "action": "stop", "cvm": cvm(1), "status": "shutting_down", "billing": {}}
    made.record("step.planned", step="stop", action="stop", targets=[target]).end(1).finish().write(tmp_path)
    found = of(tmp_path)
    assert (stood(found), found.together.times, len(found.together.stops)) == (24, 1, 2)


@pytest.mark.parametrize(("action", "hours"), [("stop", 24.0), ("shutdown", 23.5)])
def test_compute_ends_when_a_stop_is_accepted_and_when_a_shutdown_is_seen_to_have_worked(
    tmp_path: Path, action: str, hours: float
) -> None:
    made = LogBuilder.start(BEGUN).plan((1, action, "running")).record_target("action.intent", 1, action, attempt=1)
    made.record_target("action.accepted", 1, action, attempt=1, observed=False, billing={}).wait(minutes=30)
    made.record_target("target.settled", 1, action, outcome="settled", status="stopped", seconds=1800.0)
    made.finish().write(tmp_path)
    assert stood(of(tmp_path)) == hours


def test_a_shutdown_of_a_cvm_that_was_deleted_instead_spares_nothing(tmp_path: Path) -> None:
    made = LogBuilder.start(BEGUN).plan((1, "shutdown", "running")).end(1, "shutdown", "gone").finish()
    made.write(tmp_path)
    assert of(tmp_path).together.times == 0


def test_runs_that_overlap_count_a_cvm_once(tmp_path: Path) -> None:
    build_stop(BEGUN, 1).write(tmp_path)
    build_stop(BEGUN + timedelta(seconds=1), 1, suffix="0001").write(tmp_path)
    found = of(tmp_path)
    assert (stood(found), found.together.times) == (24, 1)


def test_altered_logs_and_simulated_runs_are_left_out_and_said_so(tmp_path: Path) -> None:
    build_stop(BEGUN, 1).write(tmp_path)
    path = build_stop(BEGUN, 2, suffix="0002").write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"web-2", b"web-3"))
    build_stop(BEGUN, 3, suffix="0003", simulated=True).write(tmp_path)
    found = of(tmp_path)
    assert (stood(found), found.runs, dict(found.left_out)) == (24, 1, {"altered": 1, "simulated": 1})
    assert (stood(of(tmp_path, simulated=True)), of(tmp_path, simulated=True).runs) == (24, 1)


def test_a_whole_log_of_a_kind_that_is_not_known_is_left_out_and_said_so(tmp_path: Path) -> None:
    made = LogBuilder.start(BEGUN).plan((1, "stop", "running"))
    made.record_target("target.settled", 1, outcome="sublimated", status="vapour", seconds=1.0).finish().write(tmp_path)
    assert dict(of(tmp_path).left_out) == {"unreadable": 1}


def test_what_was_stopped_before_the_time_that_is_asked_for_counts_from_its_beginning(tmp_path: Path) -> None:
    build_stop(BEGUN, 1).write(tmp_path)
    found = of(tmp_path, since=BEGUN + 20 * HOUR)
    assert (stood(found), found.together.times, found.together.stops) == (4, 1, [])


def test_rows_are_of_playbooks_apps_or_teepods(tmp_path: Path) -> None:
    build_stop(BEGUN, 1, 2, 3).write(tmp_path)
    build_stop(BEGUN, 4, playbook="weekend", suffix="0001").write(tmp_path)
    keys = {by: {row.key: row.times for row in of(tmp_path, by=by).rows} for by in ("playbook", "app", "teepod")}
    assert keys["playbook"] == {"nightly": 3, "weekend": 1}
    assert keys["teepod"] == {"prod-0": 2, "prod-1": 2}
    assert keys["app"] == {f"{number:040x}": 1 for number in (1, 2, 3, 4)}


def test_a_charge_that_two_runs_found_counts_once_and_for_the_first(tmp_path: Path) -> None:
    figure = {"usd": "0.5", "minutes": "7", "basis": "observed"}
    about = {"asked_at": "", "window": {"from": None, "to": None}, "reason": None, "difference_usd": "0"}
    for second, playbook, keys in ((1, "second", ["k-1"]), (0, "first", ["k-1", "k-2"]), (2, "third", ["k-3"])):
        made = build_stop(BEGUN + timedelta(seconds=second), 1, playbook=playbook, suffix=f"000{second}")
        found = {"step": "stop", "action": "stop", "cvm": cvm(1), "state": "charged", "billing_keys": keys}
        made.record("billing.reconciled", **found, **about, expected=figure, charged=figure).write(tmp_path)
    rows = {row.key: row.charges for row in of(tmp_path).rows}
    assert {key: each.charged_usd for key, each in rows.items()} == {
        "first": Decimal("0.5"),
        "second": Decimal(0),
        "third": Decimal("0.5"),
    }
    since = max(stop.at for row in of(tmp_path).rows if row.key == "first" for stop in row.stops)
    later = of(tmp_path, since=since + timedelta(microseconds=1)).together
    assert len(later.stops) == 2
    assert (later.charges.charged_usd, later.charges.expected_usd) == (Decimal("0.5"), Decimal("0.5"))


def test_charges_are_what_the_last_reconciling_found_and_the_run_to_ask_about_is_named(tmp_path: Path) -> None:
    def found_out(number: int, state: str, usd: str | None) -> dict[str, Any]:
        figure = {"usd": usd, "minutes": None, "basis": "observed"}
        record = {"step": "stop", "action": "stop", "cvm": cvm(number), "asked_at": "", "reason": None}
        window = {"from": None, "to": None}
        return {**record, "window": window, "state": state, "expected": figure, "charged": figure, "billing_keys": []}

    made = build_stop(BEGUN, 1, 2, 3)
    made.record("billing.reconciled", **found_out(1, "pending", None), difference_usd=None)
    made.record("billing.reconciled", **found_out(1, "charged", "0.0123"), difference_usd="0")
    made.record("billing.reconciled", **found_out(2, "pending", None), difference_usd=None)
    made.write(tmp_path)
    done = build_stop(BEGUN, 4, suffix="0001")
    done.record("billing.reconciled", **found_out(4, "charged", "0.001"), difference_usd="0").write(tmp_path)
    found = of(tmp_path)
    charges = found.together.charges
    assert (charges.charged_usd, charges.charged_stops, charges.pending_stops) == (Decimal("0.0133"), 2, 1)
    assert (found.together.not_asked, found.ask) == (1, [made.run_id])


def test_a_fleet_run_counts_its_own_stops_and_ends_with_the_starts_of_other_runs(tmp_path: Path) -> None:
    for number, fleet in ((1, "fleet-a"), (2, "fleet-a"), (3, None)):
        made = LogBuilder.start(BEGUN, suffix=f"000{number}", **({"fleet": fleet} if fleet else {}))
        made.plan((number, "stop", "running")).end(number, "stop")
        made.finish().write(tmp_path)
    start_of(BEGUN + 10 * HOUR, 1, 3).write(tmp_path)
    found = of(tmp_path, fleet="fleet-a")
    assert (found.runs, found.together.times, stood(found)) == (2, 2, 10 + 24)
    assert found.ask == ["fleet-a"]
    assert len(of(tmp_path).ask) == 2
