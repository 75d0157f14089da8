"""Signed answers: who lets a run continue, from the store and from the file beside its plan."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit.approvals import ApprovalAnswer, FileApprovalStore
from orchestrator.audit.events import ApprovalRequested
from orchestrator.audit.keys import key_id
from orchestrator.audit.replay import RunState
from orchestrator.audit.signed_approval import Role, sign
from orchestrator.audit.signed_question import QuestionAnswer, SignedQuestion
from orchestrator.engine.protocols import Answer
from orchestrator.errors import ApprovalError
from orchestrator.runs.approval import LeftAnswers
from orchestrator.runs.approvals_file import append_line, approvals_file, read_approvals
from orchestrator.runs.session import RunObserver
from orchestrator.runs.signed_answer import (
    SignedAnswers,
    describe_question,
    find_starter_key,
    require_other_person,
    sign_answer,
)
from orchestrator.runs.signed_start import load_terms
from orchestrator.settings.load import Settings
from orchestrator.settings.model import ApprovalSection, AuditSection
from orchestrator.times import timestamp
from tests.audit.test_signed_approval import KEYS, PUBLIC
from tests.runs.signers import SECTION

RUN = "20261127T080000Z-4f2a"
NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
UNTIL = NOW + timedelta(minutes=10)


@dataclass
class Site:
    """A run with an approved plan, started by Ben, at its question."""

    store: FileApprovalStore
    state: RunState
    plan: Path
    warnings: list[str]
    now: datetime = NOW
    section: ApprovalSection = SECTION

    @property
    def question(self) -> ApprovalRequested:
        assert self.state.question is not None
        return self.state.question

    def waiting(self) -> LeftAnswers:
        settings = Settings(approval=self.section, audit=AuditSection(state_dir=self.plan.parent))
        warnings = self.warnings

        class Recorder(RunObserver):
            def on_warning(self, event: str, /, **facts: object) -> None:
                assert facts
                warnings.append(event)

        observer = Recorder()
        signed = SignedAnswers.of(settings, self.store, self.state, observer)
        if signed is not None:
            signed._wall = lambda: self.now
        return LeftAnswers(self.store, self.state, observer, signed=signed)

    def find(self) -> Answer | None:
        return self.waiting().find_answer()

    def answer(self, name: str | None, *, approved: bool = True) -> bool:
        """Leave an answer in the store."""
        asked = self.question
        plain = ApprovalAnswer(
            asked.seq, asked.hash, asked.step, approved, f"{name or 'eve'}@host", timestamp(NOW), "ok"
        )
        return self.store.submit_answer(
            plain if name is None else sign_answer(plain, self.state, asked, KEYS[name], name)
        )

    def answer_in_file(self, name: str, *, question: SignedQuestion | None = None) -> None:
        """Leave an answer beside the plan."""
        subject = question or describe_question(self.state, self.question)
        signature = sign(KEYS[name], name, subject, Role.APPROVE, at=NOW, expires_at=UNTIL)
        append_line(self.plan, QuestionAnswer(self.question.hash, True, signature))


OpenSite = Callable[..., Site]


@pytest.fixture
def open_site(tmp_path: Path) -> OpenSite:
    def open_one(approval: dict[str, Any] | None = None, section: ApprovalSection = SECTION) -> Site:
        plan, log = tmp_path / "stop.plan", tmp_path / "runs" / f"{RUN}.jsonl"
        log.parent.mkdir(exist_ok=True)
        log.touch()
        plan.touch()
        start = sign(
            KEYS["ben"], "ben", SignedQuestion("", None, None, "", "", ""), Role.START, at=NOW, expires_at=UNTIL
        )
        common = {"ts": timestamp(NOW), "run_id": RUN}
        state = RunState()
        state.apply_record(
            {
                **common,
                "event": "run.started",
                "cloud_url": "https://cloud.example/api/v1",
                "workspace": "ws_1",
                "plan_file": {"path": str(plan), "digest": "ab" * 32},
                "approval": approval or {"approvals": [], "starter": start.record_fields(PUBLIC["ben"])},
            }
        )
        asked = {"event": "approval.requested", "step": "look", "question": "Well?", "expires_at": timestamp(UNTIL)}
        state.apply_record({**common, **asked, "seq": 7, "hash": "cd" * 32})
        return Site(FileApprovalStore(log), state, plan, [], section=section)

    return open_one


def test_a_yes_needs_the_signature_of_another_person_than_the_starter(open_site: OpenSite) -> None:
    site = open_site()
    assert site.find() is None
    assert site.answer(None)
    assert site.find() is None
    assert site.answer("ben")
    assert site.find() is None
    assert site.answer("ann")
    found = site.find()
    assert found is not None
    assert (found.approved, found.by, found.via, found.comment) == (True, "ann@host", "signature", "ok")
    assert [each["key_name"] for each in found.signatures] == ["ann"]
    assert not site.answer("ann", approved=False)


@pytest.mark.parametrize(("starter", "own"), [("ben", True), (None, True), ("ben", False)])
def test_the_starter_hears_at_once_that_another_person_has_to_answer(starter: str | None, own: bool) -> None:
    terms = replace(load_terms(Settings(approval=SECTION)), not_the_starter=own)
    started_by = None if starter is None else key_id(PUBLIC[starter])
    require_other_person(started_by, KEYS["ann"], terms)
    if starter is None or not own:
        require_other_person(started_by, KEYS["ben"], terms)
        return
    with pytest.raises(ApprovalError, match="this key started the run, so another person has to approve"):
        require_other_person(started_by, KEYS["ben"], terms)


def test_a_refusal_needs_no_signature_and_one_signed_refusal_is_enough(open_site: OpenSite) -> None:
    site = open_site()
    site.answer(None, approved=False)
    found = site.find()
    assert found is not None
    assert (found.approved, found.via, found.signatures) == (False, "approve", ())
    site.answer("ann")
    site.answer("ben", approved=False)
    found = site.find()
    assert found is not None
    assert (found.approved, [each["key_name"] for each in found.signatures]) == (False, ["ben"])


def test_as_many_people_answer_as_approve_a_plan(open_site: OpenSite) -> None:
    site = open_site(section=SECTION.model_copy(update={"at_least": 2}))
    site.answer("ann")
    assert site.find() is None
    site.answer_in_file("cem")
    found = site.find()
    assert found is not None
    assert {each["key_name"] for each in found.signatures} == {"ann", "cem"}


def test_settings_with_fewer_approvers_do_not_lower_the_number_on_record(open_site: OpenSite) -> None:
    site = open_site({"approvals": [], "at_least": 2})
    site.answer("ann")
    assert site.find() is None
    site.answer("cem")
    assert site.find() is not None


def test_the_question_goes_to_the_file_and_the_answer_comes_back(open_site: OpenSite) -> None:
    site = open_site()
    waiting = site.waiting()
    waiting.publish_question()
    (asked,) = read_approvals(site.plan).questions
    assert (asked.run_id, asked.step, asked.question, asked.workspace) == (RUN, "look", "cd" * 32, "ws_1")
    assert asked.starter == find_starter_key(site.state) == key_id(PUBLIC["ben"])
    assert waiting.find_answer() is None
    site.answer_in_file("ann")
    found = waiting.find_answer()
    assert found is not None
    assert (found.approved, found.by, found.via) == (True, "ann", "signature")


@pytest.mark.parametrize(
    "changes",
    [
        {"question": "ef" * 32},
        {"run_id": "other"},
        {"step": "x"},
        {"plan_digest": None},
        {"workspace": "ws_2"},
        {"cloud_url": "x"},
    ],
)
def test_an_answer_to_anything_else_counts_for_nothing(open_site: OpenSite, changes: dict[str, Any]) -> None:
    site = open_site()
    fields = {"cloud_url": "https://cloud.example/api/v1", "workspace": "ws_1", "plan_digest": "ab" * 32}
    site.answer_in_file(
        "ann", question=SignedQuestion(**{**fields, "run_id": RUN, "question": "cd" * 32, "step": "look", **changes})
    )
    assert site.find() is None


def test_a_late_answer_a_damaged_file_and_an_unwritable_folder_end_no_run(open_site: OpenSite) -> None:
    site = open_site()
    site.answer_in_file("ann")
    site.now = UNTIL
    assert site.find() is None
    site.now = NOW
    assert site.find() is not None
    with approvals_file(site.plan).open("ab") as file:
        file.write(b"{")
    assert site.find() is None
    site.waiting().publish_question()
    assert site.warnings == ["question.not_written"]


def test_without_approvals_on_record_or_keys_a_plain_yes_is_enough(open_site: OpenSite) -> None:
    for site in (open_site({"exempt": True}), open_site(section=ApprovalSection())):
        site.answer(None)
        found = site.find()
        assert found is not None
        assert (found.approved, found.via) == (True, "approve")
        assert site.waiting().command == f"orchestrator approve {RUN}"
        site.store.clear_answers()
    assert open_site().waiting().command == f"orchestrator approve {RUN} --key KEY"
