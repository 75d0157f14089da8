"""Totals over the plans or the runs of several workspaces. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from orchestrator.audit.replay import RunState
from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.plan import Estimate, Plan
from orchestrator.run_bill import run_bill

_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class WorkspaceRun:
    """The run of one workspace.

    Attributes:
        workspace: the name of the workspace.
        state: the replayed state of the run's log.
        exit_code: the exit code; None while a process carries the run out.
        audit_log: the place of the log.
        is_unfinished: whether the run can be resumed.
    """

    workspace: str
    state: RunState
    exit_code: int | None
    audit_log: str
    is_unfinished: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """The number of targets by outcome; for an open run, by stage."""
        if self.exit_code is None or self.is_unfinished:
            return {stage: number for stage, number in self.state.stages.items() if number}
        return self.state.counts_so_far


@dataclass(frozen=True, slots=True)
class FleetOutcome:
    """A fleet run at its end, or so far.

    Attributes:
        fleet_id: the fleet run.
        runs: the run of every workspace.
        exit_code: the exit code; None while a process carries the fleet run out.
        audit_log: the place of the fleet log.
        playbook: the name of the playbook.
        left_out: the unreachable workspaces left out on request, with `workspace` and `reason`.
        guards: the checked guards of the total, as on record.
        is_unfinished: whether the fleet run can be resumed.
        is_void: whether the fleet run ended before its plan, so that it can only be abandoned.
    """

    fleet_id: str
    runs: Sequence[WorkspaceRun]
    exit_code: int | None
    audit_log: str
    playbook: str = ""
    left_out: Sequence[Mapping[str, Any]] = ()
    guards: Sequence[Mapping[str, Any]] = ()
    is_unfinished: bool = False
    is_void: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """The number of targets of all runs by outcome; of open runs, by stage."""
        total: Counter[str] = Counter()
        for run in self.runs:
            total.update(run.counts)
        return dict(total)

    @property
    def outcomes(self) -> dict[str, int]:
        """The number of targets of all runs by outcome, or by the outcome so far, as in a run's document."""
        total: Counter[str] = Counter()
        for run in self.runs:
            total.update(run.state.counts_so_far)
        return dict(total)

    @property
    def money(self) -> dict[str, Any]:
        """The effect of all accepted actions on the bill."""
        targets = (target for run in self.runs for target in run.state.targets.values())
        return run_bill(target.billed_target for target in targets)


def merge_plans(plans: Sequence[Plan], guards: Iterable[GuardCheck] = ()) -> Plan:
    """Merge the plans of one playbook for several workspaces into a plan with all targets.

    Args:
        plans: the plans, at least one.
        guards: the guards of the total.
    """
    follow: Counter[str] = Counter()
    for plan in plans:
        follow.update(plan.may_follow)
    estimates = [plan.estimate for plan in plans]
    return replace(
        plans[0],
        targets=tuple(chain.from_iterable(plan.targets for plan in plans)),
        skipped=tuple(chain.from_iterable(plan.skipped for plan in plans)),
        guards=tuple(guards),
        estimate=Estimate(sum(each.requests for each in estimates), max(each.seconds for each in estimates)),
        warnings=(),
        may_follow=dict(follow),
        deadline=None,
        workspace_name=None,
    )


def merge_warnings(plans: Iterable[tuple[str, Plan]]) -> list[str]:
    """List the warnings of all plans; a warning of several workspaces is listed once, with their names."""
    every = list(plans)
    names: dict[str, list[str]] = {}
    for name, plan in every:
        for message in dict.fromkeys(each.message for each in plan.warnings):
            names.setdefault(message, []).append(name)
    return [
        message if len(found) == len(every) > 1 else f"{name_workspaces(found)}: {message}"
        for message, found in names.items()
    ]


def name_workspaces(names: Sequence[str]) -> str:
    """Name the first workspaces, and count the others: `workspaces a, b and 3 more`."""
    listed = ", ".join(names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"workspace{'' if len(names) == 1 else 's'} {listed}{more}"
