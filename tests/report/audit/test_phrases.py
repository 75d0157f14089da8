"""Records of an audit log as sentences, CSV rows and ECS events, safe to show with any content."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.outcome import Ending, Outcome
from orchestrator.report.audit.csv import COLUMNS, format_row
from orchestrator.report.audit.ecs import OWN, Ecs
from orchestrator.report.audit.phrases import describe_event
from orchestrator.report.audit.run_story import RunStory
from orchestrator.report.audit.story import CvmStory
from orchestrator.report.audit.terms import describe_bill, format_usd
from orchestrator.report.audit.tolerance import read_tolerantly
from orchestrator.report.cells import cell
from tests.logs import RUN_ID, STORY, about, lines
from tests.report.runs import EVIL

RECORDS: list[Record] = [json.loads(line) for line in lines()]
BILLING = {
    "triggered": True,
    "compute_usd_per_hour": "0.12",
    "storage_usd_per_hour": "0.00278",
    "notes": ["open_compute_charged", "compute_ends", "storage_continues", "gpu_24h_minimum_on_restart"],
}
ANSWER = {"attempt": 1, "http_status": 200, "request_id": "req_1", "latency_ms": 84}


def sentence_of(event: str, **fields: object) -> str:
    return describe_event(read_tolerantly({"event": event, **fields}))


@pytest.mark.parametrize(
    ("event", "fields", "words"),
    [
        ("action.intent", {"action": "shutdown", "attempt": 2}, "asked to shut down (request 2)"),
        ("action.intent", {"action": "stop", "attempt": 1, "batch": 7}, "in batch 7"),
        (
            "action.accepted",
            {**ANSWER, "billing": BILLING, "observed": False},
            (
                "accepted in 84 ms (HTTP 200, request req_1): compute of $0.12 an hour ends, storage of $0.00278 an "
                "hour is still billed, a new start is charged a GPU minimum of 24 hours"
            ),
        ),
        ("action.accepted", {"observed": True, "status": "stopping"}, "observed to have taken effect (stopping)"),
        ("action.refused", {"http_status": 403, "reason": "rented"}, "refused (HTTP 403): rented"),
        ("action.unknown", {"http_status": 502, "reason": "HTTP 502: Bad Gateway"}, "answer (HTTP 502): Bad Gateway;"),
        ("action.deferred", {"http_status": 429, "retry_after_s": 3}, "deferred (HTTP 429); retry after 3s"),
        (
            "action.deferred",
            {"sent": False, "reason": "the key was refused"},
            "not sent after all: the key was refused",
        ),
        ("action.unknown", {"reason": "the connection broke"}, "no clear answer: the connection broke; the status"),
        ("action.escalated", {"to": "stop", "reason": "not down after 2m"}, "escalated to stop: not down after 2m"),
        ("target.settled", {"outcome": "settled", "seconds": 12.34, "status": "stopped"}, "settled after 12s, stopped"),
        ("target.settled", {"outcome": "gone", "seconds": 1}, "gone: deleted meanwhile after 1s"),
        ("target.failed", {"outcome": "resurrected", "status": "running"}, "came up again after it was down"),
        ("target.failed", {"outcome": "skipped"}, "skipped: already as wanted"),
        ("run.finished", {"exit_code": 8, "ending": "max_failures"}, "ended early (exit 8): more failures than"),
        (
            "approval.answered",
            {"step": "ask", "answer": "approved", "by": "ann", "via": "page"},
            "approved by ann, thr",
        ),
        ("approval.answered", {"step": "ask", "answer": "refused", "by": "ann", "comment": "no"}, "refused by ann: no"),
        (
            "approval.answered",
            {"step": "ask", "answer": "approved", "by": "ann", "via": "approve", "db_user": "oli"},
            "approved by ann, through approve, database user oli",
        ),
        ("run.finished", {"ending": "canary_failed", "cut_short_by": "cloud_down"}, "; cut short: the cloud was down"),
        ("run.finished", {"deadline": {"seconds": 600, "met": True, "late": 0}}, "; deadline of 10m met"),
        (
            "run.finished",
            {"deadline": {"seconds": 600, "met": False, "late": 2}},
            "missed: 2 CVMs without a request in time",
        ),
        ("approval.answered", {"step": "ask", "answer": "timed_out"}, "step ask: no answer in time"),
        (
            "billing.reconciled",
            {
                "state": "charged",
                "charged": {"usd": "1.5", "minutes": "90"},
                "expected": {"usd": "1.40"},
                "difference_usd": "0.10",
            },
            "charged $1.50 for 90 minutes, $1.40 expected, difference $0.10",
        ),
        (
            "billing.reconciled",
            {"state": "pending", "reason": "no record yet"},
            "billing: charge pending: no record yet",
        ),
        (
            "run.started",
            {"actor": "me@here", "trigger": {"schedule": "nightly", "planned": "T"}},
            "by schedule nightly",
        ),
        (
            "run.started",
            {"narrowed": {"only": {"name": ["web-*"]}, "exclude": [{"teepod": "b"}]}},
            "narrowed by --only name=web-*, --exclude teepod=b",
        ),
        ("run.started", {"workspace_name": "prod"}, "in workspace prod"),
        ("something.new", {}, "something.new"),
    ],
)
def test_a_record_says_what_happened(event: str, fields: dict[str, object], words: str) -> None:
    assert words in sentence_of(event, **fields)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("0.12", "$0.12"), ("1", "$1.00"), ("-0.5", "-$0.50"), ("0.000139", "$0.000139"), ("x", "x"), (None, "-")],
)
def test_amounts_have_as_many_decimals_as_they_need(amount: object, expected: str) -> None:
    assert format_usd(amount) == expected


def test_every_ending_and_every_outcome_has_a_sentence() -> None:
    for ending in Ending:
        sentence = sentence_of("run.interrupted", reason=ending.value, open=0)
        assert f": {ending.value}" not in sentence
        assert sentence.count("interrupted") <= 1
    for outcome in set(Outcome) - {Outcome.SETTLED, Outcome.GONE, Outcome.FAILED}:
        assert sentence_of("target.failed", outcome=outcome.value) != outcome.value


def test_a_rate_that_is_not_known_is_left_out() -> None:
    note = {
        "compute_usd_per_hour": None,
        "storage_usd_per_hour": None,
        "notes": ["compute_begins", "storage_continues"],
    }
    assert describe_bill(note) == "compute begins, storage is still billed"


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just(EVIL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NAMES = (
    *("action", "attempt", "batch", "status", "outcome", "seconds", "reason", "http_status", "request_id", "billing"),
    *("latency_ms", "retry_after_s", "observed", "in_progress", "to", "step", "question", "expires_at", "answer", "by"),
    *("via", "message", "state", "charged", "expected", "difference_usd", "covers", "key_id", "playbook", "actor"),
    *("vars", "trigger", "plan_file", "restores", "counts", "exit_code", "ending", "open", "torn", "limits", "steps"),
    *("narrowed", "deadline", "comment", "cvm", "targets", "skipped", "guards", "warnings", "workspace_size"),
    "workspace_name",
)
_ANY = st.dictionaries(st.sampled_from(_NAMES), _JSON, max_size=8)


@settings(deadline=None)
@given(st.sampled_from([*Event, "of.another.version"]), _ANY)
def test_any_record_has_a_sentence_without_control_characters(event: str, fields: dict[str, Any]) -> None:
    record = {**RECORDS[0], **fields, "event": event}
    text = describe_event(read_tolerantly(record))
    assert text
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in text)
    assert len(format_row(record)) == len(COLUMNS)
    assert json.loads(json.dumps(Ecs().format_event(record)))["event"]["action"] == event
    for story in (RunStory(), CvmStory("web-1")):
        story.apply_record(RECORDS[0])
        story.apply_record(record)


@given(st.text() | st.sampled_from(["=1+1", "  =1", "\t=1", "@x", "-1", "+1", "\uff1d1", "\r=1", EVIL]))
def test_no_cell_is_a_formula_or_has_invisible_characters(text: str) -> None:
    found = cell(text)
    assert not found.lstrip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20"))
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in found)


def test_numbers_stay_numbers_in_a_table() -> None:
    assert [cell(value) for value in (-1, 2.5, True, None, "0.12")] == ["-1", "2.5", "true", "", "0.12"]


def events() -> list[dict[str, Any]]:
    ecs = Ecs()
    started = {**RECORDS[0], "actor": "me@here", "version": "1", "simulated": True, "vars": {"a": "b"}}
    return [ecs.format_event(record) for record in [started, *RECORDS[1:]]]


def test_an_event_of_a_request_has_the_fields_of_ecs() -> None:
    event = events()[3]
    assert event["@timestamp"] == RECORDS[3]["ts"]
    assert event["event"] | {} == {
        "kind": "event",
        "module": "orchestrator",
        "dataset": "orchestrator.audit",
        "action": "action.accepted",
        "category": ["api"],
        "type": ["change", "allowed"],
        "outcome": "success",
        "id": f"{RUN_ID}-4",
        "sequence": 4,
        "hash": RECORDS[3]["hash"],
    }
    assert event["cloud"] == {"provider": "phala", "instance": {"id": "cvm_0", "name": "web-0"}}
    assert event["host"] == {"id": "cvm_0", "name": "web-0"}
    assert event["http"] == {"request": {"id": "r-1"}, "response": {"status_code": 200}}
    assert event["message"].startswith("web-0: accepted (HTTP 200, request r-1)")
    assert event["related"] == {"hosts": ["web-0", "cvm_0"], "user": ["me"]}


def test_every_event_has_the_actor_and_the_simulated_tag() -> None:
    for event in events():
        assert event["user"] == {"name": "me"}
        assert event["observer"] == {"product": "orchestrator", "version": "1", "hostname": "here"}
        assert (event["labels"], event["tags"]) == ({"run_id": RUN_ID, "playbook": "démo"}, ["simulated"])


def test_outcomes_and_durations_have_the_words_and_units_of_ecs() -> None:
    found = {event["event"]["action"]: event["event"] for event in events()}
    outcomes = {action: event.get("outcome") for action, event in found.items()}
    assert outcomes == {
        "run.started": None,
        "run.planned": None,
        "action.intent": None,
        "action.accepted": "success",
        "action.refused": "failure",
        "target.failed": "failure",
        "target.settled": "success",
        "run.finished": "failure",
    }
    assert found["target.settled"]["duration"] == 4_500_000_000
    assert found["target.settled"]["type"] == ["end"]
    assert found["action.refused"]["reason"] == "rented"


def test_fields_of_mixed_types_are_text() -> None:
    ecs = Ecs()
    rates = []
    for rate in (5.0, "auto"):
        started = {**RECORDS[0], "limits": {"requests_per_second": rate, "max_failures": None}, "vars": {"a": "b"}}
        event = ecs.format_event(started)
        rates.append(event[OWN]["limits"])
        assert event[OWN]["vars"] == ["a=b"]
    assert rates == [{"requests_per_second": "5.0"}, {"requests_per_second": "auto"}]
    planned = ecs.format_event(RECORDS[1])
    assert planned[OWN]["targets"] == {"count": 3}


def test_the_user_of_an_answer_is_its_author() -> None:
    ecs = Ecs()
    ecs.format_event({**RECORDS[0], "actor": "me@here"})
    answered = {**RECORDS[0], "event": "approval.answered", "answer": "refused", "by": "ann@there", "step": "ask"}
    event = ecs.format_event(answered)
    assert (event["user"], event["event"]["outcome"]) == ({"name": "ann", "domain": "there"}, "failure")


def test_rows_have_what_the_records_have() -> None:
    found = [dict(zip(COLUMNS, format_row(record), strict=True)) for record in RECORDS]
    assert [each["event"] for each in found] == [event for event, _ in STORY]
    assert (found[3]["cvm"], found[3]["http_status"], found[3]["compute_usd_per_hour"]) == ("web-0", "200", "0.1")
    assert found[5]["reason"] == about(1, reason="rented")["reason"]
