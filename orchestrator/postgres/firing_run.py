"""Runs of firings in the team store: submitted by the leader of the schedules, carried out by workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class FiringRun:
    """A run to submit.

    Attributes:
        run_id: the id of the run.
        workspace: the name of the workspace; None for a fleet run, with its members in `spec`.
        playbook: the name of the playbook.
        planned: the planned time of the firing.
        spec: everything for the run, as JSON.
        start_before: the run starts before this time or never; None for any time.
        submitted_by: the scheduler, for people.
        rate: requests a second of the workspace, where the store has no budget yet.
        burst: requests at once, where the store has no budget yet.
    """

    run_id: str
    workspace: str | None
    playbook: str
    planned: datetime
    spec: Mapping[str, Any]
    start_before: datetime | None
    submitted_by: str
    rate: float
    burst: int


class Verdict(StrEnum):
    """The result of a submission."""

    SUBMITTED = "submitted"
    EXISTS = "exists"
    """The run, or another run of the same firing, is in the store."""
    FENCED = "fenced"
    """Another process has taken the duty: nothing was written."""


@dataclass(frozen=True, slots=True)
class FiringProgress:
    """Progress of a submitted run.

    Attributes:
        is_late: whether no worker took the run in time: the run never starts.
        is_left: whether the run is left to a person: no worker continues the run by itself.
        exit_code: the exit code; None before the end.
        reason: the reason for a bad end.
        finished_at: the end; None before the end.
        is_unsent: whether the run has ended without a record: a retry is possible.
    """

    is_late: bool = False
    is_left: bool = False
    exit_code: int | None = None
    reason: str | None = None
    finished_at: datetime | None = None
    is_unsent: bool = False
