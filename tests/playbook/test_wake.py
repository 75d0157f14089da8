"""The wake of a playbook: the claims on CVMs by the logs, the own operations, and the plan of the starts."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.cvm import Cvm
from orchestrator.outcome import SkipReason
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.undo import TakenDown
from orchestrator.playbook.wake import (
    Mention,
    RunFacts,
    RunKind,
    Wake,
    WakeClaim,
    WakeScan,
    describe_operation,
    find_foreign_operation,
    find_own_operations,
    scan_runs,
)
from orchestrator.reply import OperationRecord, OperationsPage
from tests.playbook.fleet import cvm
from tests.playbook.plans import messages_of, plan_of

SENT = datetime(2027, 3, 1, 19, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ONE, TWO = cvm(1, "dev-1", "stopped", gpus=0), cvm(2, "dev-2", "stopped", gpus=0)


def stop(run_id: str, *fleet: Cvm, up_then: int | None = 10, others: Iterable[Mention] = (), **more: Any) -> RunFacts:  # noqa: ANN401 - fields of RunFacts
    claims = tuple(WakeClaim(TakenDown(each.ref, "stopped"), run_id, ("op",), SENT) for each in fleet)
    mentions = (*(Mention(each.ref, "running", is_done=True) for each in fleet), *others)
    at = {"begun_at": SENT - SECOND, "read_at": SENT - 2 * SECOND, **more}
    at = {key: value + HOUR if run_id == "second" and key.endswith("_at") else value for key, value in at.items()}
    if run_id == "second":
        claims = tuple(replace(each, sent_at=SENT + HOUR) for each in claims)
    return RunFacts(run_id, RunKind.STOP, "office", mentions, claims=claims, up_then=up_then, **at)


def run(kind: RunKind, *mentions: Mention, begun: timedelta = timedelta(hours=2), read: float = 60.0) -> RunFacts:
    begun_at = SENT + begun
    return RunFacts("later", kind, "by hand", mentions, begun_at, begun_at - timedelta(seconds=read))


def scan(*runs: RunFacts) -> WakeScan:
    return scan_runs(runs)


def owed(found: WakeScan) -> list[tuple[str, str]]:
    return [(each.taken.ref.name, each.run_id) for each in found.claims if each.touched is None]


def test_nights_without_a_wake_add_up() -> None:
    found = scan(
        stop("second", TWO, up_then=4, others=[Mention(ONE.ref, "stopped", SkipReason.ALREADY_DOWN)]),
        stop("first", ONE),
    )
    assert owed(found) == [("dev-2", "second"), ("dev-1", "first")]
    assert found.up_then == 5


def test_a_cvm_up_at_a_later_stop_belongs_to_the_later_stop() -> None:
    assert owed(scan(stop("second", ONE), stop("first", ONE))) == [("dev-1", "second")]


@pytest.mark.parametrize(
    ("kind", "mention", "words"),
    [
        (RunKind.OTHER, Mention(ONE.ref, "stopped"), "a target of run later (by hand) since"),
        (RunKind.OTHER, Mention(ONE.ref, "stopped", SkipReason.ALREADY_DOWN), "found the CVM down"),
        (RunKind.OTHER, Mention(ONE.ref, "running"), "a target of run later (by hand) since"),
        (RunKind.OTHER, Mention(ONE.ref, "running", SkipReason.NOT_SELECTED), "saw the CVM up since"),
        (RunKind.OTHER, Mention(ONE.ref, "starting", SkipReason.NOT_SELECTED), "saw the CVM up since"),
        (RunKind.OTHER, Mention(ONE.ref, "stopped", SkipReason.NOT_SELECTED), None),
        (RunKind.STOP, Mention(ONE.ref, "stopped", SkipReason.ALREADY_DOWN), None),
        (RunKind.STOP, Mention(ONE.ref, "running", SkipReason.PROTECTED), "saw the CVM up since"),
    ],
)
def test_a_later_run_ends_a_claim_only_if_it_saw_or_touched_the_cvm(
    kind: RunKind, mention: Mention, words: str | None
) -> None:
    (claim,) = scan(run(kind, mention), stop("first", ONE)).claims
    assert (claim.touched is None) == (words is None)
    assert (words or "") in (claim.touched or "")


def test_a_run_before_the_stop_ends_no_claim() -> None:
    earlier = run(RunKind.OTHER, Mention(ONE.ref, "running"), begun=-HOUR)
    assert owed(scan(stop("first", ONE), earlier)) == [("dev-1", "first")]


def test_a_plan_read_before_the_stop_and_begun_after_it_saw_nothing_but_touched_its_targets() -> None:
    late = {"begun": HOUR, "read": 2 * 3600.0}
    seen = run(RunKind.OTHER, Mention(ONE.ref, "running", SkipReason.NOT_SELECTED), **late)  # type: ignore[arg-type]
    assert owed(scan(seen, stop("first", ONE))) == [("dev-1", "first")]
    target = run(RunKind.OTHER, Mention(ONE.ref, "running"), **late)  # type: ignore[arg-type]
    assert owed(scan(target, stop("first", ONE))) == []


@pytest.mark.parametrize(
    ("mention", "is_left"),
    [
        (Mention(ONE.ref, "stopped", is_done=True), False),
        (Mention(ONE.ref, "stopped"), True),
        (Mention(ONE.ref, "stopped", SkipReason.GPU), True),
        (Mention(ONE.ref, "stopped", SkipReason.DRIFTED), False),
        (Mention(ONE.ref, "stopped", SkipReason.NOT_OWED), False),
        (Mention(ONE.ref, "running", SkipReason.ALREADY_UP), False),
    ],
)
def test_a_wake_ends_the_claims_of_its_plan_except_cvms_without_a_start(mention: Mention, is_left: bool) -> None:
    found = scan(run(RunKind.WAKE, mention), stop("first", ONE, TWO))
    assert owed(found) == ([("dev-1", "first")] if is_left else [])
    assert found.is_complete


def test_an_unfinished_stop_counts_and_is_named() -> None:
    found = scan(stop("torn", ONE, is_finished=False))
    assert (owed(found), found.unfinished) == ([("dev-1", "torn")], ["torn"])


def operation(name: str, target: str = "stopped", seconds: float | None = 0.0) -> OperationRecord:
    at = None if seconds is None else SENT + timedelta(seconds=seconds)
    return OperationRecord(correlation_id=name, kind="power", target=target, by="alice", started_at=at)


def page(*newest_first: OperationRecord, ahead: float | None = 0.0) -> OperationsPage:
    return OperationsPage(newest_first, ahead)


def test_the_own_stop_is_the_first_stop_after_the_request() -> None:
    night_before, morning = operation("old", seconds=-86400), operation("up", "running", -43200)
    ours, theirs = operation("ours"), operation("theirs", seconds=30)
    assert find_own_operations(page(ours, morning, night_before), SENT, 1) == ("ours",)
    assert find_own_operations(page(theirs, ours, morning), SENT, 1) == ("ours",)
    assert find_own_operations(page(ours, night_before), SENT, 1) == ("ours",)  # an unrecorded start in between
    assert find_own_operations(page(operation("force", seconds=60), ours), SENT, 2) == ("force", "ours")
    assert find_own_operations(page(), SENT, 1) == ()


def test_a_start_after_the_request_leaves_the_operation_unknown() -> None:
    theirs, up, ours = operation("theirs", seconds=90), operation("up", "running", 60), operation("ours")
    assert find_own_operations(page(theirs, up, ours), SENT, 1) == ()


def test_the_clock_of_the_api_may_be_wrong() -> None:
    ours, up = operation("ours", seconds=3600), operation("up", "running", 1800)
    assert find_own_operations(page(ours, up, ahead=3600.2), SENT, 1) == ("ours",)
    assert find_own_operations(page(operation("ours", seconds=None), operation("up", "running", None)), SENT, 1) == (
        "ours",
    )


def test_an_unmatched_operation_is_foreign() -> None:
    ours, update = operation("ours"), operation("update", "running", 60)
    assert find_foreign_operation(page(ours, update), ["ours"]) is None
    assert find_foreign_operation(page(update, ours), ["ours"]) == update
    assert find_foreign_operation(page(ours), []) == ours
    assert find_foreign_operation(page(), []) is None
    assert describe_operation(update) == "power by alice at 2027-03-01 19:01 UTC since its stop"


def planned(wake: Wake, fleet: list[Cvm]) -> Plan:
    plan = plan_of(wake.playbook, fleet, target_filter=wake.filter_target)
    return wake.apply_to_plan(plan, now=SENT, version="1")


def wake_of(*fleet: Cvm, **more: Any) -> Wake:  # noqa: ANN401 - fields of Wake
    return Wake("office", tuple(TakenDown(each.ref, "stopped") for each in fleet), **more)


def test_the_plan_leaves_other_touched_and_gpu_cvms_alone() -> None:
    gpu, unknown, up = (replace(cvm(n, f"dev-{n}", "stopped"), gpus=g) for n, g in ((3, 1), (4, None), (5, 0)))
    other = cvm(9, "dev-9", "stopped", gpus=0)
    wake = wake_of(ONE, TWO, gpu, unknown, up, touched={TWO.ref.key: "power by alice"})
    plan = planned(wake, [ONE, TWO, gpu, unknown, replace(up, status="running"), other])
    assert [target.cvm for target in plan.targets] == [ONE]
    assert [(each.cvm.ref.name, each.why.code, each.selected) for each in plan.skipped] == [
        ("dev-2", SkipReason.DRIFTED, True),
        ("dev-3", SkipReason.GPU, True),
        ("dev-4", SkipReason.FACT_UNKNOWN, True),
        ("dev-5", SkipReason.ALREADY_UP, True),
        ("dev-9", SkipReason.NOT_OWED, False),
    ]
    assert "skipped 1 of 5 CVMs taken down by the runs of office: changed since" in messages_of(plan)
    assert wake.lacks_facts(unknown)
    assert not wake.lacks_facts(replace(other, gpus=None))
    included = planned(replace(wake, include_gpus=True), [gpu, unknown])
    assert [target.cvm for target in included.targets] == [gpu, unknown]


def test_a_percentage_is_of_the_cvms_up_before_the_stops() -> None:
    assert wake_of(ONE, up_then=40).whole_of_starts([ONE, TWO]).number == 40
    assert wake_of(ONE).whole_of_starts([ONE, TWO, cvm(3, "x", "running")]).number == 2
