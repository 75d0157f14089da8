"""The JSON document of a report, the source of every format."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.audit.target import Phase
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.billing.reconciled import Reconciled, add_up_charges
from orchestrator.outcome import Outcome
from orchestrator.report.full.document import LogFile, build_report_document
from orchestrator.report.full.phrases import STAGES, list_failures, stage_mark
from orchestrator.report.full.timeline import RunTimeline
from orchestrator.report.run.text import print_run
from tests.logs import START, about, accepted, asked, billing, cvm, ended, finished, reconciled, stopped, target
from tests.report.documents import document, lines, of_story, story
from tests.report.runs import console

ONE, TWO, THREE = cvm(1), cvm(2, teepod=2), cvm(3, teepod=2, app="a2")
ALL = [target(each) for each in (ONE, TWO, THREE)]


def test_counts_are_those_of_the_run() -> None:
    report = document(ALL, *stopped(ONE, 1), asked(TWO, 1), ended(TWO, 2, "refused"), finished(9, 6))
    assert report["counts"] == {"settled": 1, "refused": 1, "not_sent": 1}
    assert (report["run"]["state"], report["run"]["exit_code"]) == ("finished", 6)


@pytest.mark.parametrize(("events", "state"), [((), "unfinished"), ((finished(9),), "finished")])
def test_it_says_whether_the_run_has_finished(
    events: tuple[tuple[float, str, dict[str, object]], ...], state: str
) -> None:
    assert document(ALL, *events)["run"]["state"] == state


def test_a_finished_run_without_a_recorded_ending_has_a_null_ending() -> None:
    assert document(ALL, (9, "run.finished", {"exit_code": 0, "counts": {}}))["run"]["ending"] is None


def test_a_log_without_a_plan_means_that_nothing_was_sent() -> None:
    report = of_story(RunTimeline.from_records([lines([])[0][0]]), Reading(records=1))
    assert (report["run"]["state"], report["run"]["meaning"]) == ("not_sent", "nothing was sent")


def test_an_altered_log_has_the_state_altered() -> None:
    report = of_story(
        story(ALL, *stopped(ONE, 1)), Reading(verdict=Verdict.ALTERED, records=2, line=3, reason="it is not JSON")
    )
    assert report["run"]["state"] == "altered"
    assert "line 3" in report["run"]["meaning"]


def test_every_request_is_in_one_bin() -> None:
    found = document(ALL, *stopped(ONE, 0), *stopped(TWO, 100), *stopped(THREE, 599), finished(602))["requests"]
    assert (sum(found["bins"]), found["sent"], len(found["bins"])) == (3, 3, 61)
    assert found["answers"] == {"accepted": 3}


def test_the_median_and_the_90_percent_value_are_real_durations() -> None:
    cvms = [cvm(number) for number in range(1, 11)]
    events = [event for n, each in enumerate(cvms, 1) for event in (asked(each, 0), accepted(each, n), ended(each, n))]
    times = document([target(each) for each in cvms], *events)["times"]
    assert times["intent_to_accepted_s"] == {"half": 5.0, "nine_tenths": 9.0, "all": 10.0}


def test_skipped_cvms_are_counted_by_reason() -> None:
    skipped = [{"cvm": cvm(n), "reason": "already stopped" if n % 2 else "protected", "status": "x"} for n in range(7)]
    found = document(ALL, skipped=skipped)["skipped"]
    assert [(each["reason"], each["count"]) for each in found] == [("protected", 4), ("already stopped", 3)]


def test_ended_compute_equals_the_run_and_the_sum_of_the_groups() -> None:
    events = [event for n, each in enumerate((ONE, TWO, THREE)) for event in stopped(each, n)]
    report, state = document(ALL, *events, finished(9)), story(ALL, *events).state
    bill = report["billing"]
    for kind in ("compute_usd_per_hour", "storage_usd_per_hour"):
        assert Decimal(bill["total"]["ended"][kind]) == Decimal(str(state.money[kind]))
        for by in ("by_app", "by_teepod"):
            assert sum(Decimal(each["ended"][kind]) for each in bill[by]) == Decimal(bill["total"]["ended"][kind])


def test_compute_of_a_cvm_stopped_by_two_steps_ends_once() -> None:
    planned = [target(ONE, action="shutdown", step="ask")]
    follow = [{"name": "ask", "action": "shutdown"}, {"name": "pull", "action": "stop", "follows": {"step": "ask"}}]
    ask, pull = {"step": "ask", "action": "shutdown"}, {"step": "pull", "action": "stop"}
    report = document(
        planned,
        asked(ONE, 1, **ask),
        accepted(ONE, 2, **ask),
        ended(ONE, 60, "unsettled", **ask),
        (61, "step.planned", {"step": "pull", "action": "stop", "targets": [target(ONE, step="pull")]}),
        asked(ONE, 62, **pull),
        accepted(ONE, 63, **pull),
        ended(ONE, 65, **pull),
        finished(66),
        steps=follow,
    )
    assert report["counts"] == {"settled": 1}
    assert report["billing"]["total"]["ended"]["cvms"] == 1
    assert [each["taken_up_by"] for each in report["targets"]] == ["pull", None]


def test_an_unknown_rate_is_counted_and_in_no_sum() -> None:
    unknown = {"at": "x", **billing(None)}
    events = [asked(ONE, 1), accepted(ONE, 2, billing=unknown), ended(ONE, 3), *stopped(TWO, 1)]
    ends = document(ALL, *events)["billing"]["total"]["ended"]
    assert (ends["compute_usd_per_hour"], ends["known_compute_usd_per_hour"], ends["compute_unknown"]) == (
        None,
        "0.1",
        1,
    )


def test_only_cvms_seen_down_count_as_ended() -> None:
    events = [
        *stopped(ONE, 1),
        *[asked(TWO, 1), accepted(TWO, 2)],
        *[asked(THREE, 1), accepted(THREE, 2), ended(THREE, 3), ended(THREE, 9, "resurrected", status="running")],
    ]
    sums = document(ALL, *events)["billing"]["total"]
    assert (sums["stops"], sums["ended"]["cvms"], sums["pending"]["cvms"]) == (3, 1, 1)


def test_charges_add_up_as_in_reconcile() -> None:
    events = [event for n, each in enumerate((ONE, TWO, THREE)) for event in stopped(each, n)]
    found = [reconciled(ONE, 20, "0.0125"), reconciled(TWO, 21, "1.005"), reconciled(THREE, 22, None, "pending")]
    bill = document(ALL, *events, finished(9), *found)["billing"]
    sums = add_up_charges(Reconciled.from_document(fields) for _, _, fields in found)
    assert bill["total"]["charged"] == {"basis": "observed", **sums.document(), "not_asked": 0}
    for by in ("by_app", "by_teepod"):
        assert sum(Decimal(each["charged"]["charged_usd"]) for each in bill[by]) == sums.charged_usd
        assert sum(each["charged"]["pending"] for each in bill[by]) == sums.pending_stops
    assert [each["cvm"]["id"] for each in bill["not_charged_yet"]] == ["cvm_3"]


def test_a_charge_not_requested_yet_is_not_pending() -> None:
    bill = document(ALL, *stopped(ONE, 1), *stopped(TWO, 1), finished(9), reconciled(TWO, 10, None, "pending"))[
        "billing"
    ]
    assert (bill["total"]["charged"]["pending"], bill["total"]["charged"]["not_asked"]) == (1, 1)
    assert [each["state"] for each in bill["not_charged_yet"]] == ["not_asked", "pending"]


def test_what_was_refused_is_not_in_the_bill() -> None:
    refused = (2, "action.refused", about(ONE, reason="no", http_status=403, attempt=1))
    report = document(ALL, asked(ONE, 1), refused, ended(ONE, 2, "refused"), finished(9, 6))
    assert report["billing"]["total"]["stops"] == 0
    assert report["targets"][0]["charge"] is None


def test_the_log_has_its_last_hash_and_the_digest_of_the_file() -> None:
    written = lines(ALL, *stopped(ONE, 1), finished(9))
    log = document(ALL, *stopped(ONE, 1), finished(9))["log"]
    assert log["digest"] == written[-1][0]["hash"]
    assert (log["records"], log["verdict"]) == (len(written), "whole")
    assert log["verify"][0] == "orchestrator audit verify 20261123T080000Z-4f2a"


def test_a_moved_log_is_verified_by_its_path() -> None:
    report, reading = story(ALL, *stopped(ONE, 1)), Reading(records=5)
    file = LogFile(Path("/tmp/a b.jsonl"), 1, "0", reading)  # noqa: S108 - nothing is written
    log = build_report_document(report, file, made_at=START, version="1")["log"]
    assert log["verify"] == ["orchestrator audit verify '/tmp/a b.jsonl'", "sha256sum 'a b.jsonl'"]


def test_a_sealed_log_is_verified_with_the_key() -> None:
    seal = {"by": "ann@desk", "key_id": "k", "sealed_at": "2026-11-23T09:00:00.000000Z", "signature": "x"}
    log = document(ALL, *stopped(ONE, 1), finished(4), (5, "run.sealed", seal))["log"]
    assert log["seal"]["by"] == "ann@desk"
    assert log["verify"][0].endswith("--public-key KEY.pem")


def test_an_open_target_of_an_unfinished_run_is_no_failure() -> None:
    events = [*stopped(ONE, 1), asked(TWO, 2), accepted(TWO, 3)]
    open_run, over = document(ALL, *events), document(ALL, *events, finished(9, 7))
    assert open_run["stages"] == {"settled": 1, "settling": 1, "waiting": 1}
    assert over["stages"] == over["counts"] == {"settled": 1, "unsettled": 1, "not_sent": 1}
    assert (list_failures(open_run), len(list_failures(over))) == ([], 1)


def test_every_outcome_and_every_phase_has_a_stage_mark() -> None:
    assert set(STAGES) == {*Outcome, *Phase}
    assert {stage_mark(stage) for stage in STAGES} == {"✓", "✗", "…"}


def test_an_unfinished_run_has_the_same_stages_in_show_and_report() -> None:
    """Both show the same words and counts after a signal and after a kill, and no open target as a failure."""
    events = [*stopped(ONE, 1), asked(TWO, 2), accepted(TWO, 3)]
    for end in ([], [(4.0, "run.interrupted", {"reason": "sigint", "counts": {}})]):
        report = document(ALL, *events, *end)
        screen, file = console()
        print_run(screen, story(ALL, *events, *end).state, 130, Path("run.jsonl"), unfinished=True)
        text = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
        assert report["run"]["meaning"] in text.splitlines()[0]
        assert all(f"{count} {stage}" in text.splitlines()[1] for stage, count in report["stages"].items())
        assert "unsettled" not in text
