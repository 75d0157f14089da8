"""Rate budget of a session over the team store: shared with the sessions of all machines in the same workspace."""

from collections.abc import Callable
from functools import partial

from orchestrator.postgres.budget import BudgetTerms, StoreBudget, agree_terms
from orchestrator.runs.session import workspace_rate
from orchestrator.runs.shared_budget import SharedBudget
from orchestrator.runs.stores import find_actor, team_store, workspace_budget
from orchestrator.settings.load import Settings


class SessionBudget:
    """The turns of a session from the team store."""

    def __init__(self, settings: Settings, workspace: str, warn: Callable[..., object]) -> None:
        """Set up.

        Args:
            settings: settings with `store.url`.
            workspace: the name of the workspace in the team store.
            warn: called with an event's name, and its facts by keyword.
        """
        self._thread = team_store(settings)
        self._settings, self._warn = settings, warn
        self._workspace = workspace
        self._turns = StoreBudget(self._thread.query_inside, self._workspace, warn=warn)

    async def open(self, budget: SharedBudget) -> None:
        """Agree on the rate with the other machines, and take the turns of a budget from the store from now on.

        Raises:
            StoreDownError: when the database can't be reached.
            SettingsError: when the user has no rights.
        """
        is_explicit = workspace_rate(self._settings) is not None
        terms, warning = await self._thread.wait(
            partial(
                agree_terms,
                self._thread.query_inside,
                self._workspace,
                BudgetTerms(*workspace_budget(self._settings)),
                is_explicit=is_explicit,
                by=find_actor(),
            )
        )
        if warning is not None:
            self._warn("rate.replaced", note=warning)
        self._thread.start(self._turns.run)
        budget.share(self._turns, terms.rate, terms.burst)

    def hold(self, run_id: str) -> None:
        """Take turns for a run held by this process from now on: another take of the run ends the turns."""
        lease = self._thread.find_lease(run_id)
        if lease is not None:
            self._turns.hold(lease.fence, lease.workspace or self._workspace)

    def close(self) -> None:
        """Take no more turns."""
        self._turns.close()
