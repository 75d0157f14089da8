"""The state of a target: phases of a request, escalation, and targets of later steps."""

from dataclasses import replace

import pytest

from orchestrator.action import Action
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.outcome import Outcome, Reason, SkipReason
from orchestrator.playbook.plan import Target
from orchestrator.playbook.resolved_steps import PlannedStep
from tests.engine.fakes import work_of

REF = CvmRef("cvm_1", "00000000-0000-0000-0000-000000000001", "web-1", "a" * 40, 7, None)


@pytest.mark.parametrize(
    ("phase", "is_accepted", "is_in_doubt"),
    [
        (RequestPhase.WAITING, False, False),
        (RequestPhase.UNANSWERED, False, True),
        (RequestPhase.IN_DOUBT, False, True),
        (RequestPhase.ACCEPTED, True, False),
    ],
)
def test_a_target_is_under_way_from_its_request_to_its_outcome(
    phase: RequestPhase, is_accepted: bool, is_in_doubt: bool
) -> None:
    job = work_of(REF, phase=phase)
    assert (job.is_accepted, job.is_in_doubt) == (is_accepted, is_in_doubt)
    assert job.is_under_way == (is_accepted or is_in_doubt)
    assert not work_of(REF, phase=phase, outcome=Outcome.SETTLED).is_under_way


def test_an_accepted_action_counts_on_the_bill() -> None:
    job = work_of(REF)
    job.mark_accepted(4.0)
    assert (job.phase, job.accepted_at, job.billed) == (RequestPhase.ACCEPTED, 4.0, True)


@pytest.mark.parametrize("phase", RequestPhase)
def test_only_a_doubt_is_cleared(phase: RequestPhase) -> None:
    job = work_of(REF, phase=phase)
    job.clear_doubt()
    assert job.phase is (RequestPhase.ACCEPTED if phase is RequestPhase.ACCEPTED else RequestPhase.WAITING)


@pytest.mark.parametrize(
    ("ref", "needs_own_request"), [(REF, False), (replace(REF, id=None), True), (replace(REF, vm_uuid=None), True)]
)
def test_a_cvm_without_one_of_its_ids_needs_a_request_of_its_own(ref: CvmRef, needs_own_request: bool) -> None:
    assert work_of(ref).needs_own_request == needs_own_request
    assert work_of(ref, needs_own_request=True).needs_own_request
    assert work_of(ref).document == ref.document()


@pytest.mark.parametrize("action", Action)
def test_a_deleted_cvm_is_a_failure_only_if_the_cvm_was_to_run(action: Action) -> None:
    expected = Outcome.FAILED if action in {Action.START, Action.RESTART} else Outcome.GONE
    assert work_of(REF, action).outcome_if_deleted is expected
    assert work_of(REF, action).can_escalate == (action is Action.SHUTDOWN)


@pytest.mark.parametrize(("status", "before"), [("shutting_down", "shutting_down"), (None, "running")])
def test_an_escalation_begins_again_with_a_request_of_its_own(status: str | None, before: str) -> None:
    job = work_of(REF, Action.SHUTDOWN, status=status, batch=3)
    job.mark_accepted(4.0)
    job.switch_action(9.0)
    assert (job.action, job.escalated_at, job.phase) == (Action.STOP, 9.0, RequestPhase.WAITING)
    assert (job.accepted_at, job.batch, job.before, job.needs_own_request) == (None, None, before, True)
    assert job.billed


def test_an_action_without_a_stronger_action_stays() -> None:
    job = work_of(REF, Action.STOP)
    job.switch_action(9.0)
    assert job.action is Action.STOP


@pytest.mark.parametrize(("status", "before"), [("stopping", "stopping"), (None, "running")])
def test_a_follow_up_begins_with_the_last_status_and_the_same_refusal(status: str | None, before: str) -> None:
    job = work_of(REF, Action.SHUTDOWN, status=status, attempts=2, withheld=Reason(SkipReason.PROTECTED))
    later = job.create_follow_up(PlannedStep("force", Action.STOP, 60))
    assert (later.step, later.action, later.ref, later.before) == ("force", Action.STOP, REF, before)
    assert (later.needs_own_request, later.withheld, later.attempts) == (True, job.withheld, 0)
    assert later.note == job.note.for_action(Action.STOP)


@pytest.mark.parametrize(("in_progress", "gpu_rental"), [(True, False), (False, True)])
def test_a_cvm_skipped_by_batches_needs_a_request_of_its_own(in_progress: bool, gpu_rental: bool) -> None:
    cvm = Cvm(ref=REF, status="running", in_progress=in_progress, gpu_rental=gpu_rental)
    assert Job.from_target(Target("stop", Action.STOP, cvm, work_of(REF).note)).needs_own_request


@pytest.mark.parametrize("wave", [1, 3])
def test_a_planned_target_waits_for_its_first_request(wave: int) -> None:
    cvm = Cvm(ref=REF, status="stopped", in_progress=False)
    note = work_of(REF).note
    job = Job.from_target(Target("wake", Action.START, cvm, note, wave))
    assert (job.step, job.action, job.ref, job.before, job.note) == ("wake", Action.START, REF, "stopped", note)
    assert (job.phase, job.wave, job.needs_own_request) == (RequestPhase.WAITING, wave, False)
