"""Plans and runs of several workspaces for tests."""

from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.plan import Plan
from orchestrator.report.fleet.totals import FleetOutcome, WorkspaceRun
from tests.logs import START, LogBuilder, replay
from tests.report.runs import cvm, plan

FLEET_ID = "fleet-20261123T080000Z-4f2a"
GUARDS = [GuardCheck("max_targets", 50, 6, ok=True, message="6 targets in all workspaces, at most 50 allowed")]
LEFT_OUT = [{"workspace": "prod-x", "reason": "the API answered 503"}]


def plans(*sizes: int) -> list[tuple[str, Plan]]:
    """Make a plan for each workspace, with this number of running CVMs and one stopped CVM."""
    return [
        (
            f"prod-{number}",
            plan([*(cvm(n, f"web-{n}") for n in range(size)), cvm(99, "down", status="stopped")], max_percent=100),
        )
        for number, size in enumerate(sizes)
    ]


def workspace_run(number: int, *outcomes: str, finished: bool = True) -> WorkspaceRun:
    """Make the run of a workspace with a target for each outcome."""
    log = LogBuilder.start(START, suffix=f"{number:04x}", workspace_name=f"prod-{number}", fleet=FLEET_ID)
    numbers = range(100 * number, 100 * number + len(outcomes))
    log.plan(*((n, "stop", "running") for n in numbers))
    for n, outcome in zip(numbers, outcomes, strict=True):
        log.end(n, outcome=outcome)
    bad = any(outcome != "settled" for outcome in outcomes)
    code = 6 if bad else 0
    if finished:
        log.finish(code)
    state = replay(log.records)
    place = f"/state/runs/{log.run_id}.jsonl"
    return WorkspaceRun(f"prod-{number}", state, code if finished else 130, place, is_unfinished=not finished)


def fleet(*runs: WorkspaceRun, code: int | None = 6) -> FleetOutcome:
    """Make a fleet run."""
    return FleetOutcome(
        FLEET_ID,
        runs,
        code,
        f"/state/fleets/{FLEET_ID}.jsonl",
        "nightly",
        LEFT_OUT,
        is_unfinished=any(run.is_unfinished for run in runs),
    )
