"""The orders of firings for the workers of the team store."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from orchestrator.audit.store import new_run_ids
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.postgres.firing_run import FiringRun
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.fleet.plan import require_known
from orchestrator.runs.freeze import carry_calendars
from orchestrator.runs.submission import Submission, find_budget
from orchestrator.runs.unattended import trigger_of
from orchestrator.service.runs import PATIENCE
from orchestrator.settings.load import Settings
from orchestrator.settings.workspaces import match_workspaces

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
        """Build the run, or the fleet run, of a firing.

        Raises:
            UsageError: when the playbook names no workspace, or when its canary is no workspace of the playbook.
            PlaybookError: when a calendar of a freeze can't be read.
        """
        names = self.choose_workspaces(loaded)
        # The path of the pushed folder on this machine means nothing on another machine.
        order = Submission(
            # No freeze binds a wake, and the calendars of a removed playbook may be gone.
            replace(loaded if claim.wakes else carry_calendars(loaded), file=Path(loaded.file.name)),
            trigger=trigger_of(claim),
            wakes=claim.wakes is not None,
        )
        spec, (rate, burst) = order.document(), find_budget(self._settings, names[0])
        if len(names) > 1:
            require_known(loaded.playbook.fleet.first, names, "the playbook's `fleet.first`")
            spec["members"] = self._list_members(names, claim.planned)
        return FiringRun(
            run_id=claim.run_id,
            workspace=names[0] if len(names) == 1 else None,
            playbook=claim.playbook,
            planned=claim.planned,
            spec=spec,
            # From now, not from the firing: a queued firing, or a made-up firing, starts late on purpose.
            start_before=None if claim.run_once else self._wall() + PATIENCE,
            submitted_by=self._holder,
            rate=rate,
            burst=burst,
        )

    def _list_members(self, names: Sequence[str], moment: datetime) -> dict[str, dict[str, object]]:
        """List the runs of a fleet run: a new id for each workspace, and its budget."""
        members = zip(names, new_run_ids(moment, len(names)), strict=True)
        budgets = {name: find_budget(self._settings, name) for name in names}
        return {
            name: {"run_id": run_id, "rate": budgets[name][0], "burst": budgets[name][1]} for name, run_id in members
        }

    def is_fleet(self, loaded: LoadedPlaybook) -> bool:
        """Return True if a firing of the playbook acts in several workspaces; False also for an unknown workspace."""
        try:
            return len(self.choose_workspaces(loaded)) > 1
        except OrchestratorError:
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
