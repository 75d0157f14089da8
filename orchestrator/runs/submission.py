"""The order for a run that a worker carries out: written by `run --submit` and by schedules, read by a worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import NotConfirmedError, SettingsError
from orchestrator.playbook.load import LoadedPlaybook, load_source
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.source import parse_source
from orchestrator.postgres.lease import BASE_FORMAT, FORMAT
from orchestrator.runs.fleet.coordinate import FleetOrder
from orchestrator.runs.prepare import NO_OVERRIDES, Overrides
from orchestrator.runs.session import limits_of
from orchestrator.runs.start import RunRequest
from orchestrator.runs.stores import workspace_budget
from orchestrator.settings.load import Settings


@dataclass(frozen=True, slots=True)
class Submission:
    """The order for a run. Has no settings: the settings of the worker apply, with its key and its guards.

    Attributes:
        loaded: the playbook with its variables, and with the calendars of its freezes.
        expect: the number of targets to confirm; None for any number.
        narrowing: the conditions of `--only` and `--exclude`.
        ignore_running: whether to act on CVMs claimed by another run.
        overrides: the decisions to act despite freezes and exemptions.
        trigger: `trigger` of `run.started`, for the firing of a schedule.
        skip: names of workspaces to leave out of a fleet run if unreachable.
        wakes: whether to start the CVMs that the playbook stopped, in place of a run of the playbook.
    """

    loaded: LoadedPlaybook
    expect: int | None = None
    narrowing: Narrowing | None = None
    ignore_running: bool = False
    overrides: Overrides = NO_OVERRIDES
    trigger: Mapping[str, str] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    wakes: bool = False

    @property
    def version(self) -> int:
        """The format of the document; a worker leaves an order of a later format alone."""
        return FORMAT if self.wakes else BASE_FORMAT

    def document(self) -> dict[str, Any]:
        """Build the document for the store; `from_document` reads the document."""
        loaded = self.loaded
        return {
            "v": self.version,
            "playbook": {"file": str(loaded.file), "source": loaded.data.decode(), "sha256": loaded.sha256},
            "calendars": dict(loaded.calendars),
            "vars": loaded.variables,
            "expect": self.expect,
            "narrowing": None if self.narrowing is None else self.narrowing.document(),
            "ignore_running": self.ignore_running,
            "break_freeze": self.overrides.break_freeze,
            "ignore_keep": self.overrides.ignore_keep,
            "trigger": dict(self.trigger),
            "skip": list(self.skip),
            **({"wakes": True} if self.wakes else {}),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a document from the store.

        Raises:
            PlaybookError: when the playbook is invalid for this version.
            SettingsError: when the source of the playbook was changed, or the document has another form.
        """
        try:
            playbook = document["playbook"]
            source = parse_source(playbook["source"].encode(), Path(playbook["file"]))
            if source.sha256 != playbook["sha256"]:
                raise SettingsError("the submitted playbook was changed in the store", hint="submit the run again")
            calendars = {text: content.encode().decode() for text, content in document.get("calendars", {}).items()}
            return cls(
                replace(load_source(source, document["vars"]), calendars=calendars),
                document["expect"],
                Narrowing.from_record(document["narrowing"]),
                document["ignore_running"],
                Overrides(document["break_freeze"], document.get("ignore_keep")),
                document["trigger"],
                tuple(document.get("skip", ())),
                wakes=document.get("wakes", False),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise SettingsError("the submitted run has an unknown form", hint="submit the run again") from error

    def build_request(self, settings: Settings, run_id: str, submitted: Mapping[str, object]) -> RunRequest:
        """Build the request for the run.

        Args:
            settings: the settings of the worker, for the workspace of the run.
            run_id: the id of the run.
            submitted: `submitted` of `run.started`: the person (`by`, `db_user`) and the time.
        """
        origin: dict[str, object] = {"actor": submitted["by"], "submitted": dict(submitted)}
        if self.trigger:
            origin["trigger"] = dict(self.trigger)
        if self.wakes:
            wake = self._request_wake(settings)
            return replace(wake, origin_fields=origin, run_id=run_id, ignore_running=self.ignore_running)
        return RunRequest(
            self.loaded,
            limits_of(self.loaded.playbook.limits, settings),
            origin_fields=origin,
            run_id=run_id,
            ignore_running=self.ignore_running,
            narrowing=self.narrowing,
            overrides=self.overrides,
        )

    def build_order(self, settings: Settings, submitted: Mapping[str, object]) -> FleetOrder:
        """Build the order for a fleet run.

        Args:
            settings: the settings of the coordinator, with the guards of the total.
            submitted: as in `build_request`.
        """
        about: dict[str, object] = {"actor": submitted["by"], "submitted": dict(submitted)}
        if self.trigger:
            about["trigger"] = dict(self.trigger)
        loaded = self._request_wake(settings).loaded if self.wakes else self.loaded
        return FleetOrder(loaded, settings.guards, self.expect, self.skip, about, may_be_empty=self.wakes)

    def _request_wake(self, settings: Settings) -> RunRequest:
        from orchestrator.runs.wake import request_wake  # noqa: PLC0415 - few orders are wakes

        return request_wake(self.loaded, settings)

    async def confirm_plan(self, plan: Plan) -> bool:
        """Compare the plan with `--expect`.

        Raises:
            NotConfirmedError: when the plan has another number of targets.
        """
        if self.expect not in {None, len(plan.targets)}:
            message = f"--expect {self.expect}, but the plan has {len(plan.targets)} targets"
            raise NotConfirmedError(message, hint="make a plan with `orchestrator plan`, then submit again")
        return True


def find_budget(settings: Settings, workspace: str) -> tuple[float, int]:
    """Return rate and burst for a workspace without a budget in the store; a worker's own settings replace both."""
    return workspace_budget(settings.for_workspace(workspace) if workspace in settings.workspaces else settings)
