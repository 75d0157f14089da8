"""The JSON documents of the contract, and the records from which a run can be taken up again."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from orchestrator.action import Action
from orchestrator.audit.record import clean_value
from orchestrator.audit.replay import RunState
from orchestrator.billing.rates import billing_note
from orchestrator.engine.job import Job
from orchestrator.errors import PlaybookError
from orchestrator.outcome import Exit, Outcome
from orchestrator.playbook.load import load_playbook
from orchestrator.runs.documents import error_document, plan_document, run_document, write_document
from orchestrator.runs.records import limits_from, planned_fields, rebuild_jobs, started_fields, steps_from
from tests.playbook.loading import VALID
from tests.report.runs import BILLING, LIMITS, REFUSED, STOPPED, about, plan, records, run

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
CVM = {"id", "vm_uuid", "name", "app_id", "teepod_id", "teepod"}


def test_a_plan_has_the_fields_of_the_contract() -> None:
    document = json.loads(json.dumps(plan_document(plan()), allow_nan=False))
    assert set(document) == {
        "playbook",
        "targets",
        "skipped",
        "guards",
        "estimate",
        "billing",
        "warnings",
        "steps",
        "deadline",
        "unknown_facts",
        "settings_file",
    }
    prices = {"usd_per_hour", "storage_usd_per_hour"}
    assert all(set(each) == {"step", "action", "cvm", "status", "wave"} | prices for each in document["targets"])
    assert [each["usd_per_hour"] for each in document["targets"]] == ["0.1", None, None]
    assert [each["storage_usd_per_hour"] for each in document["targets"]] == ["0.00139", None, None]
    assert all(set(each) == {"cvm", "reason", "code", "status"} for each in document["skipped"])
    assert all(set(each["cvm"]) == CVM for each in document["targets"] + document["skipped"])
    assert [{**each, "message": ""} for each in document["guards"]] == [
        {"name": "max_targets", "limit": 9, "value": 3, "ok": True, "message": ""},
        {"name": "max_percent", "limit": 80.0, "value": 75.0, "ok": True, "message": ""},
        {"name": "protect", "limit": None, "value": 1, "ok": True, "message": ""},
    ]
    assert document["estimate"] == {"requests": 6, "seconds": 0.2}
    assert document["billing"]["compute_usd_per_hour"] is None
    assert document["billing"]["known_compute_usd_per_hour"] == "0.1"
    assert document["billing"]["known_storage_usd_per_hour"] == "0.00139"


def test_a_run_has_the_fields_of_the_contract() -> None:
    document = json.loads(json.dumps(run_document(run(*STOPPED, *REFUSED), 6, Path("/x.jsonl")), allow_nan=False))
    assert set(document) == {
        "run_id",
        "exit_code",
        "audit_log",
        "counts",
        "targets",
        "skipped",
        "warnings",
        "drifted",
        "billing",
        "deadline",
        "questions",
    }
    assert document["counts"] == {"settled": 1, "refused": 1, "not_sent": 1}
    assert all(
        set(each)
        == {
            *("step", "action", "cvm", "outcome", "seconds", "reason", "request_id"),
            *("escalated", "taken_up_by", "code"),
        }
        for each in document["targets"]
    )
    assert all(set(each["cvm"]) == CVM for each in document["targets"])
    assert {each["outcome"] for each in document["targets"]} <= set(Outcome)
    first = document["targets"][0]
    assert (first["outcome"], first["seconds"], first["reason"], first["request_id"]) == ("settled", 4.5, None, "r1")
    assert document["billing"] == {"triggered": 1, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.002"}
    assert {each["code"] for each in document["skipped"]} == {"protected", "already_down"}


def test_a_target_that_was_not_sent_has_a_code_also_in_logs_that_lack_it() -> None:
    reason = "the run ended early: more targets failed than max_failures allows"
    fields = about(2, outcome="not_sent", reason=reason)
    for state in (run(("target.failed", fields)), run(("target.failed", {**fields, "code": "max_failures"}))):
        (target,) = (each for each in run_document(state, 8, Path("/x.jsonl"))["targets"] if each["reason"])
        assert (target["outcome"], target["code"]) == ("not_sent", "max_failures")


def test_an_error_has_the_fields_of_the_contract_and_all_further_faults() -> None:
    error = PlaybookError("bad", hint="do", file=Path("a.yaml"), line=3)
    error.more = (PlaybookError("worse"),)
    document = error_document(error)
    assert document["exit_code"] == Exit.USAGE
    assert {key: document["error"][key] for key in ("code", "message", "hint", "file", "line")} == {
        "code": "playbook",
        "message": "bad",
        "hint": "do",
        "file": "a.yaml",
        "line": 3,
    }
    assert [each["message"] for each in document["error"]["more"]] == ["worse"]


def taken_up_from(state: RunState) -> list[Job]:
    return rebuild_jobs(state, now=1000.0, wall=NOW)


def test_a_run_that_was_planned_is_taken_up_as_it_was_planned() -> None:
    made = plan()
    planned, taken_up = [Job.from_target(target) for target in made.targets], taken_up_from(run(made=made))
    assert len(taken_up) == len(planned) == 3
    for before, after in zip(planned, taken_up, strict=True):
        assert clean_value(before.ref.document()) == after.ref.document()
        assert (before.step, before.action, before.before, before.note) == (
            after.step,
            after.action,
            after.before,
            after.note,
        )
        assert (after.attempts, after.is_in_doubt, after.is_accepted, after.outcome) == (0, False, False, None)


def test_a_run_is_taken_up_where_its_log_stands() -> None:
    doubt = [("action.intent", about(2, attempt=3)), ("action.unknown", about(2, attempt=3, reason="reset"))]
    settled, refused, unknown = taken_up_from(run(*STOPPED, *REFUSED, *doubt))
    assert (settled.is_accepted, settled.outcome, settled.status) == (True, Outcome.SETTLED, "stopped")
    assert (refused.is_accepted, refused.outcome) == (False, Outcome.REFUSED)
    assert (unknown.is_in_doubt, unknown.is_accepted, unknown.attempts, unknown.outcome) == (True, False, 3, None)
    assert taken_up_from(run(*doubt[:1]))[2].is_in_doubt
    accepted = ("action.accepted", about(2, attempt=3, billing=BILLING))
    assert not taken_up_from(run(*doubt, accepted))[2].is_in_doubt


def test_a_stop_that_follows_a_shutdown_is_judged_by_what_was_seen_last_before_it() -> None:
    asked = [("action.intent", about(2, attempt=1)), ("action.accepted", about(2, attempt=1, billing=BILLING))]
    stuck = ("target.status", about(2, status="shutting_down"))
    escalated = ("action.escalated", about(2, to="stop", reason="not down within 2s"))
    pulled = [("action.intent", about(2, attempt=2)), ("target.status", about(2, status="stopping"))]
    job = taken_up_from(run(*asked, stuck, escalated, *pulled))[2]
    assert (job.action, job.is_in_doubt, job.before, job.status) == (
        Action.STOP,
        True,
        "shutting_down",
        "stopping",
    )


def test_steps_and_limits_read_back_from_their_records(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(VALID)
    loaded = load_playbook(file, {"teepod": "prod-1"})
    fields = started_fields(loaded, actor="me@here", version="1", cloud_url="https://x", limits=LIMITS)
    assert fields["playbook"] == {"name": "example", "path": str(file), "sha256": loaded.sha256}
    assert fields["vars"] == {"teepod": "prod-1"}
    assert limits_from(json.loads(json.dumps(fields))["limits"]) == LIMITS
    made = plan()
    assert steps_from(records(made)[1]["steps"]) == made.steps


def test_what_is_planned_is_written_with_money_as_text() -> None:
    made = plan()
    first = json.loads(json.dumps(clean_value(planned_fields(made, 5))))["targets"][0]["billing"]
    note = billing_note(made.targets[0].cvm, made.targets[0].note.rates, Action.STOP)
    assert first == {
        "compute_usd_per_hour": "0.1",
        "storage_usd_per_hour": "0.00139",
        "rate_source": "hourly_rate",
        "notes": list(note.codes),
    }
    assert made.targets[0].note.rates.compute == Decimal("0.1")


def test_a_document_is_written_bit_by_bit_and_is_the_same() -> None:
    document: dict[str, object] = {"names": [f"wéb-{number}" for number in range(20_000)], "none": None, "some": {}}
    written: list[str] = []
    write_document(document, written.append)
    assert "".join(written) == json.dumps(document, indent=2) + "\n"
    assert len(written) > 2
    assert max(map(len, written)) < 500_000
