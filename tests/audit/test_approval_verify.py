"""The signatures on record are checked again, with nothing but public keys."""

from collections.abc import Mapping

import pytest

from orchestrator.audit.approval_verify import RecordedApprovals
from orchestrator.audit.signed_approval import Role, sign
from orchestrator.audit.signed_question import SignedQuestion
from orchestrator.times import timestamp
from tests.audit.test_signed_approval import DAY, KEYS, NOW, OTHERS, PLAN, PUBLIC, approval


def started(approval_fields: object) -> dict[str, object]:
    return {
        "event": "run.started",
        "ts": timestamp(NOW),
        "run_id": "r",
        "cloud_url": PLAN.cloud_url,
        "workspace": PLAN.workspace,
        "plan_file": {"digest": PLAN.digest},
        **({} if approval_fields is None else {"approval": approval_fields}),
    }


def check_log(approval_fields: object, given_keys: str, *more: Mapping[str, object]) -> RecordedApprovals:
    found = RecordedApprovals.of([PUBLIC[name] for name in given_keys.split()])
    for record in (started(approval_fields), *more):
        found.apply_record(dict(record))
    return found


def recorded(*, at_least: int = 1, **changes: object) -> dict[str, object]:
    start = sign(KEYS["ben"], "ben", PLAN, Role.START, at=NOW, expires_at=NOW + DAY)
    return {
        "at_least": at_least,
        "not_the_starter": True,
        "approvals": [approval("ann").record_fields(PUBLIC["ann"])],
        "starter": start.record_fields(PUBLIC["ben"]),
        **changes,
    }


@pytest.mark.parametrize(
    ("approval_fields", "given_keys", "fault"),
    [
        (recorded(), "ann ben", None),
        (recorded(), "ann", "the key of 'ben' (start) is not given"),
        (recorded(at_least=2), "ann ben", "1 of 2 people approved"),
        (recorded(starter=None), "ann ben", "the starter did not sign"),
        (recorded(approvals=[approval("ben").record_fields(PUBLIC["ben"])]), "ann ben", "0 of 1 people approved"),
        (recorded(approvals=[approval("ann", OTHERS[0]).record_fields(PUBLIC["ann"])]), "ann ben", "is wrong"),
        (recorded(approvals=[approval("ann", at=NOW - DAY).record_fields(PUBLIC["ann"])]), "ann ben", "had expired"),
        (recorded(approvals=7), "ann ben", "the record of the signatures is damaged"),
        ({}, "ann ben", "the record of the signatures is damaged"),
    ],
)
def test_the_signatures_on_record_are_checked_again(
    approval_fields: dict[str, object], given_keys: str, fault: str | None
) -> None:
    found = check_log(approval_fields, given_keys).fault
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_an_exempt_run_needs_no_signature_and_a_run_without_the_record_does() -> None:
    assert (check_log({"exempt": True}, "ann").fault, check_log({"exempt": True}, "ann").is_exempt) == (None, True)
    assert check_log(None, "ann").fault == "the log has no approval"
    assert RecordedApprovals.of([]).fault == "the log has no approval"


@pytest.mark.parametrize(
    ("signers", "fault"),
    [([], "answer in step 's': 0 of 1 people signed"), (["ben"], "answer in step 's': 0 of 1 people signed")],
)
def test_a_yes_after_a_signed_start_needs_the_signature_of_another_person(signers: list[str], fault: str) -> None:
    question = SignedQuestion(PLAN.cloud_url, PLAN.workspace, PLAN.digest, "r", "f" * 64, "s")
    asked = {"event": "approval.requested", "ts": timestamp(NOW), "run_id": "r", "step": "s", "hash": "f" * 64}
    signed = [(name, sign(KEYS[name], name, question, Role.APPROVE, at=NOW, expires_at=NOW + DAY)) for name in signers]
    signatures = [each.record_fields(PUBLIC[name]) for name, each in signed]
    answered = {**asked, "event": "approval.answered", "answer": "approved", "signatures": signatures}
    assert check_log(recorded(), "ann ben cem", asked, answered).fault == fault
    assert (
        check_log(recorded(), "ann ben cem", asked, {**answered, "answer": "refused", "signatures": []}).fault is None
    )
    assert check_log({"exempt": True}, "ann", asked, {**answered, "signatures": []}).fault is None


@pytest.mark.parametrize(("answer", "fault"), [("approved", None), ("refused", "'cem' (refuse) is wrong")])
def test_a_signed_answer_is_checked_with_its_question(answer: str, fault: str | None) -> None:
    question = SignedQuestion(PLAN.cloud_url, PLAN.workspace, PLAN.digest, "r", "f" * 64, "s")
    signed = sign(KEYS["cem"], "cem", question, Role.APPROVE, at=NOW, expires_at=NOW + DAY)
    asked = {"event": "approval.requested", "ts": timestamp(NOW), "run_id": "r", "step": "s", "hash": "f" * 64}
    signatures = [signed.record_fields(PUBLIC["cem"])]
    answered = {**asked, "event": "approval.answered", "answer": answer, "signatures": signatures}
    found = check_log(recorded(), "ann ben cem", asked, answered)
    assert found.signed_answers == 1
    assert (found.fault is None) if fault is None else (found.fault is not None and fault in found.fault)
