"""What is asked about the stops of a run, what is made of the answers, and how that is told."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.billing.reconciled import ChargeState, Reconciled
from orchestrator.billing.stop import Stop
from orchestrator.cvm import CvmRef
from orchestrator.engine.read.usage import AppUsage
from orchestrator.reply import UsageRecord
from orchestrator.report.savings.reconcile import print_reconciliation, reconciliation_document
from orchestrator.runs.reconciling import Reconciliation, evaluate_answers, make_questions, open_stops
from tests.report.runs import EVIL

NOON = datetime(2026, 11, 23, 12, 20, tzinfo=UTC)
NOW = NOON + timedelta(hours=1)
HOURS_6 = 6 * 3600.0


def stop(number: int, *, app: str | None = "a1", step: str = "pull", name: str | None = None) -> Stop:
    ref = CvmRef(f"cvm_{number}", f"{number:032x}", name or f"web-{number}", app)
    down = NOON + timedelta(seconds=number + 5)
    sent, rate = NOON + timedelta(seconds=number), Decimal("0.06")
    return Stop(step=step, action=Action.STOP, ref=ref, sent=sent, accepted=sent, ended=down, down=down, rate=rate)


def charge(number: int, cost: str = "0.02") -> UsageRecord:
    end = NOON + timedelta(seconds=number + 1)
    return UsageRecord(
        cvm=f"{number:032x}",
        usage_type="compute",
        event_type="stop",
        cost=Decimal(cost),
        minutes=Decimal(20),
        at=end,
        begin=end - timedelta(minutes=20),
        end=end,
        key=f"k-{number}",
    )


def usage(*numbers: int) -> AppUsage:
    return AppUsage({f"{number:032x}": [charge(number)] for number in numbers})


def asked(stops: list[Stop], usage: dict[str, AppUsage], known: dict[tuple[str, str], Reconciled]) -> Reconciliation:
    return evaluate_answers({each.ref.key: [each] for each in stops}, usage, known, now=NOW, pending_for=HOURS_6)


def state_of(stops: list[Stop]) -> RunState:
    state = RunState(run_id="20261123T080000Z-4f2a")
    state.targets = {(each.step, each.ref.key): TargetState(each.step, "stop", each.ref) for each in stops}
    return state


def told(found: Reconciliation, stops: list[Stop], *, width: int = 60, details: bool = False) -> str:
    file = StringIO()
    print_reconciliation(Console(file=file, width=width), found, state_of(stops), Path("/x.jsonl"), details=details)
    return file.getvalue()


def test_an_app_id_that_can_be_none_keeps_nothing_from_being_asked_about_the_others() -> None:
    stops = [stop(1), stop(2, app="../../x?y#z"), stop(3, app=""), stop(4, app="é")]
    assert [each.app_id for each in make_questions({each.ref.key: [each] for each in stops})] == ["a1"]
    found = asked(stops, {"a1": usage(1)}, {}).found.values()
    assert [each.standing for each in found] == [ChargeState.CHARGED, *[ChargeState.UNKNOWN] * 3]
    assert all("app_id" in (each.reason or "") for each in list(found)[1:])


def test_each_app_is_asked_about_once_from_a_day_before_its_stops_to_a_day_after() -> None:
    stops = {each.ref.key: [each] for each in (stop(1), stop(9), stop(2, app="b2"), stop(3, app=None))}
    first, second = make_questions(stops)
    assert (first.app_id, second.app_id) == ("a1", "b2")
    assert first.cvms == {f"{1:032x}", f"{9:032x}"}
    assert first.since == NOON + timedelta(seconds=1) - timedelta(hours=25)
    assert first.until == NOON + timedelta(seconds=14, minutes=5) + timedelta(hours=25)


def test_what_is_known_for_good_is_not_asked_again() -> None:
    first, second = stop(1), stop(2)
    found = asked([first, second], {"a1": usage(1)}, {})
    assert [each.standing for each in found.news] == [ChargeState.CHARGED, ChargeState.PENDING]
    left = open_stops({each.ref.key: [each] for each in (first, second)}, found.found, HOURS_6)
    assert list(left) == ["cvm_2"]


def test_what_counts_as_not_charged_is_asked_about_again_where_one_waits_longer_by_now() -> None:
    stops = [stop(1)]
    by_cvm = {"cvm_1": stops}
    none = evaluate_answers(by_cvm, {"a1": usage()}, {}, now=NOW, pending_for=60)
    assert [each.standing for each in none.news] == [ChargeState.NONE]
    assert open_stops(by_cvm, none.found, 60) == {}
    assert open_stops(by_cvm, none.found, HOURS_6) == by_cvm
    later = asked(stops, {"a1": usage(1)}, dict(none.found))
    assert [each.standing for each in later.news] == [ChargeState.CHARGED]


def test_only_what_changed_is_news() -> None:
    stops = [stop(1), stop(2)]
    before = asked(stops, {"a1": usage(1)}, {})
    same = asked(stops, {"a1": usage(1)}, dict(before.found))
    assert (same.news, same.found) == ((), before.found)
    after = asked(stops, {"a1": usage(1, 2)}, dict(before.found))
    assert [each.ref.key for each in after.news] == ["cvm_2"]
    assert not after.open


def test_an_app_that_could_not_be_read_leaves_its_stops_open_and_is_no_news() -> None:
    found = asked([stop(1), stop(2, app="b2")], {"a1": usage(1), "b2": AppUsage(problem="HTTP 500")}, {})
    assert [each.ref.key for each in found.news] == ["cvm_1"]
    assert found.problems == {("pull", "cvm_2"): "HTTP 500"}
    assert found.open
    assert "HTTP 500" in told(found, [stop(1), stop(2)])


@pytest.mark.parametrize(("changed", "lacking"), [({"app_id": None}, "app_id"), ({"vm_uuid": None}, "UUID")])
def test_a_cvm_of_which_the_log_lacks_what_usage_is_told_by_is_unknown_for_good(
    changed: dict[str, Any], lacking: str
) -> None:
    first = stop(1)
    first = replace(first, ref=replace(first.ref, **changed))
    (found,) = asked([first], {}, {}).news
    assert found.standing is ChargeState.UNKNOWN
    assert lacking in (found.reason or "")
    assert (found.since, found.until, found.charged.usd) == (None, None, None)


def test_the_document_has_the_exact_sums_and_what_to_type_next() -> None:
    stops = [stop(1), stop(2)]
    document = reconciliation_document(asked(stops, {"a1": usage(1)}, {}), state_of(stops), Path("/x"), 7)
    assert document["total"]["charged_usd"] == "0.02"
    assert [each["state"] for each in document["targets"]] == ["charged", "pending"]
    assert document["next"] == "orchestrator reconcile 20261123T080000Z-4f2a"
    assert (document["asked"], document["recorded"]) == (1, 2)


def test_the_text_has_a_row_a_cvm_sums_to_the_cent_and_says_what_is_observed() -> None:
    stops = [stop(1), stop(2)]
    text = told(asked(stops, {"a1": usage(1)}, {}), stops)
    assert "1 charged, 1 pending" in text
    assert "$0.02 for 1 stop\n" in re.sub(" +\n", "\n", text)
    assert "pending     1 stop\n" in re.sub(" +\n", "\n", text)
    assert "none: charged as expected, over 1 stop" in text
    assert "observed" in text
    assert "estimate" in text
    assert max(map(len, text.splitlines())) <= 60


def test_of_many_cvms_those_are_listed_that_are_not_as_expected_unless_all_are_asked_for() -> None:
    stops = [stop(number) for number in range(1, 41)]
    answers = usage(*range(1, 40))
    answers.by_cvm[f"{33:032x}"][0] = charge(33, "9.99")  # type: ignore[index] # a list
    found = asked(stops, {"a1": answers}, {})
    text = told(found, stops)
    rows = [line.split()[0] for line in text.splitlines() if line.startswith("web-")]
    assert (rows[:2], len(rows)) == (["web-40", "web-33"], 20)
    assert "and 20 CVMs more" in text
    assert told(found, stops, details=True).count("\nweb-") == 40


def test_names_cannot_take_over_the_terminal() -> None:
    stops = [stop(1, name=EVIL)]
    text = told(asked(stops, {"a1": usage(1)}, {}), stops, width=160)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_run_that_stopped_nothing_says_so() -> None:
    assert "nothing to reconcile" in told(Reconciliation({}), [], width=160)
