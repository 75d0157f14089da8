"""Context of a run: the parts common to all API keys, and the progress of its earlier parts."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from orchestrator.engine.protocols import Clock, FreezeCalendar
from orchestrator.engine.send.ledger import Ledger
from orchestrator.playbook.resolved_steps import RunLimits


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """Settings of the watcher and timeouts of the run, in seconds except the batch settings.

    Attributes:
        recheck_after: the longest lag of a status behind an operation.
        poll_min: the shortest time between two polls.
        poll_max: the longest time between two polls.
        batch_size: the most statuses in one request.
        batch_missing: whether the server is known to have no batch status request.
        cloud_down: the longest outage of the API before the run ends.
        whole_run: the longest duration of a run.
        refresh_after: the highest age of a known status at the start of a step or wave; older statuses are read
            again.
    """

    recheck_after: float = 2.0
    poll_min: float = 0.2
    poll_max: float = 15.0
    batch_size: int = 1000
    batch_missing: bool = False
    cloud_down: float = 600.0
    whole_run: float = 86_400.0
    refresh_after: float = 60.0


@dataclass(frozen=True, slots=True)
class RunContext:
    """Parts of a run, shared by all workspaces.

    Attributes:
        ledger: records and counts of every target.
        clock: the engine's clock.
        rng: source of jitter.
        limits: limits on the run's rate, concurrency and failures.
        settle: settings of the watcher and of the run's timeouts.
        freeze: times without stops, shutdowns and restarts; None without a freeze.
    """

    ledger: Ledger
    clock: Clock
    rng: Random
    limits: RunLimits
    settle: SettleSettings
    freeze: FreezeCalendar | None = None


@dataclass(frozen=True, slots=True)
class EarlierProgress:
    """Recorded progress of the run's earlier parts.

    Attributes:
        passed: names of the steps with a recorded result, not to be carried out again: approved questions, sent
            messages, and follow-up steps with their targets chosen.
        refused: whether a question was refused.
        soaks: recorded end of the soak time, by step and wave number.
    """

    passed: Collection[str] = ()
    refused: bool = False
    soaks: Mapping[tuple[str, int], datetime] = field(default_factory=dict)
