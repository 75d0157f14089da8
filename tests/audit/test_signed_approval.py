"""Signed approvals: the signed bytes, the file, and the decision over a plan."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.audit.approval_lines import DamagedLineError, parse_lines
from orchestrator.audit.keys import key_id
from orchestrator.audit.signed_approval import (
    DOMAIN,
    ApprovalTerms,
    Role,
    SignedApproval,
    SignedPlan,
    decide_approvals,
    sign,
)
from orchestrator.audit.signed_question import AskedQuestion, QuestionAnswer, SignedQuestion, decide_answers
from orchestrator.times import timestamp
from tests.docs.pages import ROOT

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
PLAN = SignedPlan("ab" * 32, "https://cloud-api.phala.com/api/v1", "ws_1")
NAMES = ("ann", "ben", "cem")
KEYS = {name: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()) for name in (*NAMES, "eve")}
PUBLIC = {name: KEYS[name].public_key() for name in NAMES}


def terms(at_least: int = 1, *, not_the_starter: bool = True) -> ApprovalTerms:
    return ApprovalTerms(PUBLIC, at_least, not_the_starter, DAY)


def approval(
    name: str = "ann",
    plan: SignedPlan = PLAN,
    *,
    role: Role = Role.APPROVE,
    at: datetime = NOW,
    span: timedelta = DAY,
    by: str | None = None,
) -> SignedApproval:
    return sign(KEYS[by or name], name, plan, role, at=at, expires_at=at + span)


def lines(*approvals: SignedApproval) -> bytes:
    return b"".join(json.dumps(each.document()).encode() + b"\n" for each in approvals)


def test_the_signed_bytes_are_the_domain_tag_and_canonical_json() -> None:
    assert PLAN.build_statement(Role.APPROVE, "2026-11-28T08:00:00.000000Z") == (
        b"orchestrator-approval-v1\n"
        b'{"cloud_url":"https://cloud-api.phala.com/api/v1","expires_at":"2026-11-28T08:00:00.000000Z",'
        b'"plan_digest":"' + b"ab" * 32 + b'","role":"approve","workspace":"ws_1"}'
    )


def test_an_approval_is_read_back_from_its_line() -> None:
    given_here = [approval("ann"), approval("ben", span=timedelta(hours=1))]
    assert parse_lines(lines(*given_here)).approvals == given_here
    assert parse_lines(b"").approvals == []


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (lines(approval())[:-1], 1, "the line is cut off"),
        (lines(approval()) + b"{", 2, "the line is cut off"),
        (lines(approval()) + b"{]\n", 2, "the line is no JSON"),
        (b"[]\n", 1, "key_name, at, expires_at or signature is missing"),
        (lines(approval()).replace(b"signature", b"sign"), 1, "key_name, at, expires_at or signature is missing"),
        (lines(approval()).replace(b'"expires_at": "2026', b'"expires_at": "never'), 1, "time data"),
        (b"\n", 1, "the line is no JSON"),
        (b"\xff\n", 1, "can't decode"),
    ],
)
def test_a_damaged_file_names_its_line(data: bytes, line: int, reason: str) -> None:
    with pytest.raises(DamagedLineError, match=reason) as found:
        parse_lines(data)
    assert found.value.line == line


@pytest.mark.parametrize(
    ("approvals", "starter", "at_least", "counted", "ignored"),
    [
        ([approval("ann")], "ben", 1, ["ann"], []),
        ([], "ben", 1, [], []),
        ([approval("ben")], "ben", 1, [], ["line 1 'ben' starts the run"]),
        ([approval("ann"), approval("ben")], "ben", 1, ["ann"], ["line 2 'ben' starts the run"]),
        ([approval("ann"), approval("ann")], "ben", 2, ["ann"], []),
        ([approval("ann"), approval("cem")], "ben", 2, ["ann", "cem"], []),
        ([approval("ann", at=NOW - DAY)], "ben", 1, [], ["line 1 the approval by 'ann' expired"]),
        ([approval("ann", span=2 * DAY)], "ben", 1, [], ["line 1 the approval by 'ann' is valid for longer"]),
        ([approval("ann", at=NOW + timedelta(minutes=6))], "ben", 1, [], ["line 1 the approval by 'ann' is from the"]),
        ([approval("ann", at=NOW + timedelta(minutes=4))], "ben", 1, ["ann"], []),
    ],
)
def test_enough_other_people_have_to_approve(
    approvals: list[SignedApproval], starter: str, at_least: int, counted: list[str], ignored: list[str]
) -> None:
    decision = decide_approvals(approvals, PLAN, terms(at_least), starter, NOW)
    assert [each.key_name for each in decision.counted] == counted
    assert [
        f"line {line} {why}"[: len(begin)] for (line, why), begin in zip(decision.ignored, ignored, strict=True)
    ] == (ignored)
    assert (decision.needed, decision.is_approved) == (at_least - len(counted), len(counted) >= at_least)


def test_the_starter_may_approve_where_the_terms_allow() -> None:
    assert decide_approvals([approval("ben")], PLAN, terms(not_the_starter=False), "ben", NOW).is_approved


def test_a_key_that_is_no_longer_in_the_settings_does_not_count() -> None:
    reduced = ApprovalTerms({"ann": PUBLIC["ann"]}, 1, not_the_starter=True, valid_for=DAY)
    decision = decide_approvals([approval("ben"), approval("ann")], PLAN, reduced, None, NOW)
    assert (decision.ignored, len(decision.counted)) == (((1, "the settings have no key 'ben'"),), 1)


OTHERS = [
    SignedPlan("cd" * 32, PLAN.cloud_url, PLAN.workspace),
    SignedPlan(PLAN.digest, "https://other.example/api/v1", PLAN.workspace),
    SignedPlan(PLAN.digest, PLAN.cloud_url, "ws_2"),
    SignedPlan(PLAN.digest, PLAN.cloud_url, None),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_signature_of_another_plan_cloud_or_workspace_is_wrong(other: SignedPlan) -> None:
    decision = decide_approvals([approval("ann"), approval("cem", other)], PLAN, terms(), "ben", NOW)
    assert (decision.wrong, decision.is_approved) == ((2,), False)


def test_a_signature_in_another_role_or_by_another_key_is_wrong() -> None:
    wrong = [approval("ann", role=Role.START), approval("ann", by="cem")]
    assert decide_approvals(wrong, PLAN, terms(), "ben", NOW).wrong == (1, 2)


@given(
    signers=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(-30, 30), st.integers(1, 60)), max_size=6),
    starter=st.sampled_from(NAMES),
    at_least=st.integers(1, 3),
    not_the_starter=st.booleans(),
)
def test_a_plan_is_approved_exactly_if_enough_people_have_signed(
    signers: list[tuple[str, int, int]], starter: str, at_least: int, not_the_starter: bool
) -> None:
    hour, limit = timedelta(hours=1), timedelta(hours=24)
    approvals = [approval(name, at=NOW + at * hour, span=span * hour) for name, at, span in signers]
    valid = {
        name
        for name, at, span in signers
        if at <= 0 < at + span and span * hour <= limit and not (not_the_starter and name == starter)
    }
    decision = decide_approvals(approvals, PLAN, terms(at_least, not_the_starter=not_the_starter), starter, NOW)
    assert decision.is_approved == (len(valid) >= at_least)
    assert {each.key_name for each in decision.counted} == valid
    if decision.counted:
        assert NOW < decision.expires_at <= NOW + limit


@given(where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_changed_line_counts(where: int, bit: int) -> None:
    data = bytearray(lines(approval()))
    at = where % len(data)
    data[at] ^= 1 << bit
    try:
        (changed,) = parse_lines(bytes(data)).approvals
    except (DamagedLineError, ValueError):
        return
    decision = decide_approvals([changed], PLAN, terms(), "ben", NOW)
    # Only the unsigned time of the signature may change without effect.
    assert not decision.is_approved or changed.signature == approval().signature


QUESTION = SignedQuestion(PLAN.cloud_url, PLAN.workspace, PLAN.digest, "r", "f" * 64, "s")


def answered(name: str, *, yes: bool = True, hours: int = 1, by: str | None = None) -> QuestionAnswer:
    role = Role.APPROVE if yes else Role.REFUSE
    signature = sign(KEYS[by or name], name, QUESTION, role, at=NOW, expires_at=NOW + timedelta(hours=hours))
    return QuestionAnswer(QUESTION.question, yes, signature)


@given(
    signers=st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.integers(-1, 2), st.booleans()), max_size=5),
    starter=st.sampled_from([*NAMES, None]),
    at_least=st.integers(1, 3),
)
def test_a_question_is_answered_exactly_by_one_refusal_or_enough_others(
    signers: list[tuple[str, bool, int, bool]], starter: str | None, at_least: int
) -> None:
    answers = [answered(name, yes=yes, hours=hours, by=None if own else "eve") for name, yes, hours, own in signers]
    valid = [(name, yes) for name, yes, hours, own in signers if own and hours > 0]
    decision = decide_answers(answers, QUESTION, terms(), starter, NOW, at_least=at_least)
    people = {name for name, yes in valid if yes and name != starter}
    refused = any(not yes for _, yes in valid)
    assert decision.is_approved is (False if refused else True if len(people) >= at_least else None)


def test_questions_and_answers_stand_beside_approvals_in_the_file() -> None:
    asked = AskedQuestion("r", 7, QUESTION.question, "look", timestamp(NOW), None)
    data = lines(approval()) + json.dumps(asked.document()).encode() + b"\n"
    data += json.dumps(answered("ann").document()).encode() + b"\n"
    found = parse_lines(data)
    assert (found.approvals, found.questions, found.answers) == ([approval()], [asked], [answered("ann")])
    for wrong, reason in (
        (b'{"asked": {}}', "a field of the question"),
        (b'{"question": "x"}', "must be approve or refuse"),
    ):
        with pytest.raises(DamagedLineError, match=reason):
            parse_lines(wrong + b"\n")


def test_the_test_vector_of_the_docs_holds() -> None:
    page = (ROOT / "docs/how-to/approve-a-plan.md").read_text()
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert f'public_key = "{base64.b64encode(der).decode()}"' in page
    plan = SignedPlan("febb096c4dc60de5d112cfd96d99e24ebd2c625d3869220e9ea1095e0fa4a581", PLAN.cloud_url, "ws_1")
    signed = sign(key, "ann", plan, Role.APPROVE, at=NOW, expires_at=NOW + DAY)
    assert f"```\n{plan.build_statement(Role.APPROVE, signed.expires_at).decode()}\n```" in page
    assert f"```json\n{json.dumps(signed.document())}\n```" in page


def test_the_signature_is_plain_ed25519() -> None:
    signed = approval()
    KEYS["ann"].public_key().verify(
        base64.b64decode(signed.document()["signature"]), PLAN.build_statement(Role.APPROVE, signed.expires_at)
    )


def test_the_signed_bytes_of_a_question_name_the_run_and_the_question() -> None:
    question = SignedQuestion(PLAN.cloud_url, "ws_1", "ab" * 32, "20261127T080000Z-4f2a", "ef" * 32, "look")
    assert question.build_statement(Role.APPROVE, "2026-11-28T08:00:00.000000Z") == DOMAIN + (
        b'{"cloud_url":"https://cloud-api.phala.com/api/v1","expires_at":"2026-11-28T08:00:00.000000Z",'
        b'"plan_digest":"' + b"ab" * 32 + b'","question":"' + b"ef" * 32 + b'","role":"approve",'
        b'"run_id":"20261127T080000Z-4f2a","step":"look","workspace":"ws_1"}'
    )


@pytest.mark.parametrize("spans", [(1, 2), (2, 1)])
def test_the_longer_of_two_approvals_by_one_person_counts(spans: tuple[int, int]) -> None:
    hours = [approval("ann", span=timedelta(hours=span)) for span in spans]
    decision = decide_approvals(hours, PLAN, terms(), "ben", NOW)
    assert decision.expires_at == NOW + timedelta(hours=2)


def test_the_name_of_a_key_is_its_name_in_the_settings() -> None:
    assert [terms().find_name(PUBLIC[name]) for name in NAMES] == list(NAMES)
    reduced = ApprovalTerms({"ann": PUBLIC["ann"]}, 1, not_the_starter=True, valid_for=DAY)
    assert reduced.find_name(PUBLIC["ben"]) is None


def test_a_signature_is_strict_base64() -> None:
    document = approval().document()
    with pytest.raises(ValueError, match="the signature is not base64"):
        SignedApproval.from_document(document | {"signature": f"!{document['signature']}"})
    with pytest.raises(ValueError, match="is not a time of this format"):
        SignedApproval.from_document(document | {"at": "2026-11-27T08:00:00.5Z"})


def test_a_recorded_approval_has_the_id_of_its_key() -> None:
    fields = approval("ann").record_fields(PUBLIC["ann"])
    assert fields == {**approval("ann").document(), "key_id": key_id(PUBLIC["ann"])}


@pytest.mark.parametrize(
    ("answers", "is_approved", "counted"),
    [
        ([answered("ann"), answered("ann")], None, []),
        ([answered("ann"), answered("cem")], True, ["ann", "cem"]),
        ([answered("ann"), answered("ben", yes=False), answered("cem")], False, ["ben"]),
    ],
)
def test_two_people_have_to_approve_and_one_refusal_is_enough(
    answers: list[QuestionAnswer], is_approved: bool | None, counted: list[str]
) -> None:
    decision = decide_answers(answers, QUESTION, terms(), "ben", NOW, at_least=2)
    assert decision.is_approved is is_approved
    assert [each.key_name for each in decision.counted] == counted


def test_lines_keep_their_numbers_and_questions_their_workspace() -> None:
    asked = AskedQuestion("r", 7, QUESTION.question, "look", timestamp(NOW), "ws_1")
    documents = [asked.document(), approval().document(), answered("ann").document()]
    found = parse_lines(b"".join(json.dumps(each).encode() + b"\n" for each in documents))
    assert found.questions == [asked]
    assert (found.approvals[0].line, found.answers[0].signature.line) == (2, 3)
