"""The beginning of a run: the request, and the first two records of its log."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator import __version__
from orchestrator.audit.events import Event
from orchestrator.audit.log import AuditLog, Observer
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, new_run_id
from orchestrator.moment import timestamp
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import PlanConstraint
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.runs.actor import actor
from orchestrator.runs.prepare import Prepared
from orchestrator.runs.records import planned_fields, started_fields
from orchestrator.runs.session import Session
from orchestrator.runs.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request for a run.

    Attributes:
        loaded: the playbook.
        limits: the rate and concurrency limits.
        hold: the constraints of the plan; None for a new plan.
        origin: the text about the origin of the constraints, for a person.
        origin_fields: the fields of `run.started` about the origin.
        run_id: the id of the run; None for an id generated at the start.
        ignore_running: whether to act on CVMs claimed by another run.
        workspace: the workspace of the constraints; None for a new plan.
        warnings: warnings for a person, beside the plan's own warnings.
    """

    loaded: LoadedPlaybook
    limits: RunLimits
    hold: PlanConstraint | None = None
    origin: str | None = None
    origin_fields: Mapping[str, object] = field(default_factory=dict)
    run_id: str | None = None
    ignore_running: bool = False
    workspace: Workspace | None = None
    warnings: tuple[PlanWarning, ...] = ()


def begin_log(
    session: Session, order: RunRequest, prepared: Prepared, heard: Observer | None = None
) -> tuple[AuditLog, RunState]:
    """Record the actor, the request, and the exact plan.

    Args:
        session: the connection to the cloud.
        order: the request for the run.
        prepared: the plan.
        heard: receives every record; by default `run_log`.
    """
    from orchestrator.runs.event_log import configure, run_log  # noqa: PLC0415 - takes long to import

    configure(session.settings.log)
    run_id = order.run_id or new_run_id(session.clock.wall())
    started = started_fields(
        order.loaded,
        actor=actor(),
        version=__version__,
        cloud_url=session.endpoint.base_url,
        limits=session.limits,
        simulated=session.simulated,
        served=not session.endpoint.simulated and session.simulated,
    )
    started.update(prepared.workspace.fields())
    started.update(order.origin_fields)
    if order.ignore_running:
        started["ignore_running"] = True
    planned = {**planned_fields(prepared.plan, prepared.workspace_size), "read_at": timestamp(prepared.read_at)}
    state = RunState()
    log = AuditLog.create(
        RunStore(session.settings.audit.state_dir).path(run_id),
        run_id,
        [(Event.RUN_STARTED, started), (Event.RUN_PLANNED, planned)],
        observers=[state.apply, heard or run_log(session.settings.log, state)],
    )
    return log, state
