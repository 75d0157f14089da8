"""The orders of firings for the workers of the team store."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.postgres.firing_run import FiringRun
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.submission import Submission, find_budget
from orchestrator.runs.unattended import trigger_of
from orchestrator.service.runs import PATIENCE
from orchestrator.settings.load import Settings
from orchestrator.settings.workspaces import match_workspaces
from orchestrator.text import plural

_PATTERN = frozenset("*?[")


class FiringOrders:
    """Builds the runs of firings, as `BuildRun`."""

    def __init__(self, settings: Settings, holder: str, wall: Callable[[], datetime]) -> None:
        """Set up.

        Args:
            settings: the settings of this machine; the guards and keys of the workers apply.
            holder: name of this process, for people.
            wall: the store's time of day.
        """
        self._settings, self._holder, self._wall = settings, holder, wall

    def __call__(self, claim: FiringClaim, loaded: LoadedPlaybook) -> FiringRun:
        """Build the run of a firing.

        Raises:
            UsageError: when the playbook names no workspace, or several workspaces.
        """
        (workspace, *others) = self.choose_workspaces(loaded)
        if others:
            hint = "write one playbook for each workspace"
            message = f"the schedule acts in {plural(1 + len(others), 'workspace')}; the team store allows one"
            raise UsageError(message, hint=hint)
        # The path of the pushed folder on this machine means nothing on another machine.
        order = Submission(replace(loaded, file=Path(loaded.file.name)), trigger=trigger_of(claim))
        rate, burst = find_budget(self._settings, workspace)
        return FiringRun(
            run_id=claim.run_id,
            workspace=workspace,
            playbook=claim.playbook,
            planned=claim.planned,
            spec=order.document(),
            # From now, not from the firing: a queued firing, or a made-up firing, starts late on purpose.
            start_before=None if claim.run_once else self._wall() + PATIENCE,
            submitted_by=self._holder,
            rate=rate,
            burst=burst,
        )

    def is_fleet(self, loaded: LoadedPlaybook) -> bool:
        """Return False: a firing in several workspaces is refused."""
        del loaded
        return False

    def choose_workspaces(self, loaded: LoadedPlaybook) -> tuple[str, ...]:
        """Choose the workspaces of a playbook: by name, or by pattern among the workspaces of the settings.

        Raises:
            UsageError: when no workspace is named or matches.
        """
        patterns = loaded.playbook.workspaces or ()
        named = [each for each in patterns if not _PATTERN & {*each}]
        known = tuple(dict.fromkeys([*self._settings.workspaces, *named]))
        if patterns:
            return match_workspaces(known, patterns, "the playbook's `workspaces`")
        if len(known) == 1:
            return known
        hint = "add `workspaces: [NAME]` to the playbook, and push the playbooks again"
        raise UsageError("the playbook names no workspace", hint=hint)
