"""The recheck before a run is resumed: which targets are left alone, and why."""

from dataclasses import replace
from decimal import Decimal

import pytest

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.billing.rates import BillingNote, Rates
from orchestrator.cvm import Cvm
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.read.status import Observation
from orchestrator.outcome import Outcome
from orchestrator.playbook.schema import Guards
from orchestrator.reply import StatusRead
from orchestrator.runs.recheck import mark_withheld, to_send, to_skip
from tests.playbook.fleet import cvm
from tests.playbook.test_frozen_plan import moved

ONE = cvm(1, "web-1")
NOTE = BillingNote(Rates(Decimal("0.1"), Decimal("0.01"), "hourly_rate"), (), triggered=True)


def work(of: Cvm = ONE, **fields: object) -> Job:
    return replace(Job("it", Action.STOP, of.ref, of.status, NOTE), **fields)  # type: ignore[arg-type] # any field


def rechecked(jobs: list[Job], fleet: list[Cvm], guards: dict[str, object] | None = None) -> dict[str, Observation]:
    """Mark the works by this fleet; returns the statuses of the open ones."""
    state = RunState()
    for each in jobs:
        target = TargetState(each.step, each.action, each.ref, each.before, in_progress=False)
        state.targets[each.step, each.ref.key] = target
    open_keys = {each.ref.key for each in jobs if each.outcome is None}
    fresh = {each.ref.key: Observation(StatusRead(each.status, each.in_progress), 0.0) for each in fleet}
    fresh = {key: seen for key, seen in fresh.items() if key in open_keys}
    mark_withheld(state, jobs, fleet, fresh, Guards.model_validate(guards or {}))
    return fresh


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (ONE, None),
        (moved(ONE, name="prod-1"), "changed: name was web-1, is prod-1"),
        (moved(ONE, app_id="c3"), "changed: app was a1, is c3"),
        (moved(ONE, teepod_id=2, teepod="prod-2"), "changed: teepod was prod-1 (#1), is prod-2 (#2)"),
        (moved(ONE, vm_uuid="f" * 32), f"changed: its UUID was {1:032x}, is {'f' * 32}"),
        (replace(ONE, status="error"), "changed: status was running, is error"),
        (replace(ONE, in_progress=True), "changed: an operation is in progress"),
        (replace(ONE, status="stopped"), None),
        (replace(ONE, instance_type="tdx.large"), None),
    ],
)
def test_a_target_that_waits_is_left_alone_where_the_cvm_changed(now: Cvm, reason: str | None) -> None:
    one = work()
    fresh = rechecked([one], [now])
    assert (one.withheld.text if one.withheld else None) == reason
    if reason is not None:
        assert (to_send([one], fresh), [why.text for _, why in to_skip([one], fresh)]) == ([], [reason])


def test_a_target_is_left_alone_where_the_settings_protect_it_now() -> None:
    one, two = work(), work(cvm(2, "web-2"))
    fresh = rechecked([one, two], [ONE, cvm(2, "web-2")], {"protect": {"name": ["web-1"]}})
    assert (one.withheld and one.withheld.code, two.withheld) == ("protected", None)
    assert to_send([one, two], fresh) == [two]


def test_a_status_that_the_run_itself_changed_is_no_drift_and_a_name_is() -> None:
    sent = work(attempts=1, phase=RequestPhase.IN_DOUBT)
    rechecked([sent], [replace(ONE, status="stopping", in_progress=True)])
    assert sent.withheld is None
    rechecked([sent], [replace(moved(ONE, name="prod-1"), status="stopping")])
    assert sent.withheld is not None


def test_a_request_on_record_as_not_sent_leaves_the_cvm_untouched() -> None:
    one, failed = work(attempts=2), replace(ONE, status="error")
    target = TargetState("it", "stop", ONE.ref, "running", in_progress=False, unsent=2)
    state = RunState(targets={("it", ONE.ref.key): target})
    fresh = {ONE.ref.key: Observation(StatusRead("error"), 0.0)}
    mark_withheld(state, [one], [failed], fresh, Guards())
    assert one.withheld is not None
    assert one.withheld.text == "changed: status was running, is error"
    target.unsent = 1
    mark_withheld(state, [one], [failed], fresh, Guards())
    assert one.withheld is None


def test_a_target_with_an_outcome_is_held_to_protection_for_the_steps_that_take_it_up() -> None:
    done = work(outcome=Outcome.SKIPPED)
    rechecked([done], [replace(ONE, status="stopped")])
    assert done.withheld is None
    rechecked([done], [replace(ONE, status="stopped")], {"protect": {"app_id": ["a1"]}})
    assert done.withheld is not None


def test_one_that_runs_but_is_no_longer_in_the_list_is_left_alone() -> None:
    one = work()
    state = RunState(targets={("it", ONE.ref.key): TargetState("it", "stop", ONE.ref, "running")})
    mark_withheld(state, [one], [], {ONE.ref.key: Observation(StatusRead("running"), 0.0)}, Guards())
    assert one.withheld is not None
    assert one.withheld.code == "gone"


def test_a_log_without_in_progress_does_not_tell_whether_an_operation_began() -> None:
    one, busy = work(), replace(ONE, in_progress=True)
    state = RunState(targets={("it", ONE.ref.key): TargetState("it", "stop", ONE.ref, "running")})
    mark_withheld(
        state, [one], [busy], {ONE.ref.key: Observation(StatusRead("running", in_progress=True), 0.0)}, Guards()
    )
    assert one.withheld is None


def test_survivors_are_spared_with_those_under_way_counted_as_down() -> None:
    fleet = [cvm(number, f"web-{number}") for number in range(4)]
    under_way = work(fleet[0], attempts=1, phase=RequestPhase.ACCEPTED, accepted_at=0.0)
    waiting = [work(each) for each in fleet[1:]]
    fresh = rechecked([under_way, *waiting], fleet, {"keep_running": {"per": "app_id", "min": 2}})
    assert [each.ref.name for each in to_send([under_way, *waiting], fresh)] == ["web-1"]
    assert {each.withheld.code for each in waiting if each.withheld} == {"kept_running"}
