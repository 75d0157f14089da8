"""Fleet runs against scripted clouds on virtual time: one cloud for each workspace."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.fleet_store import FileFleetStore
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import FileRunStore, read_run
from orchestrator.audit.verify import Verdict
from orchestrator.playbook.schema import Guards
from orchestrator.runs.claims import claim_again
from orchestrator.runs.fleet.abandon import abandon_fleet
from orchestrator.runs.fleet.execute import FleetResult, carry_out_fleet
from orchestrator.runs.fleet.plan import FleetPlan, WorkspaceRequest, plan_fleet
from orchestrator.runs.fleet.restore import read_fleet_undo
from orchestrator.runs.fleet.resume import ReopenedFleet, plan_fleet_resume, record_fleet_resume, reopen_fleet
from orchestrator.runs.fleet.start import OpenFleet, start_fleet
from orchestrator.runs.session import Endpoint, Session
from orchestrator.runs.status import StopRequest
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection
from orchestrator.settings.workspaces import WorkspaceSection
from tests.engine.fakes import FakeCloud
from tests.logs import write_by
from tests.runs.sessions import request_of, session_of, write_at_once


async def agree(plan: FleetPlan) -> bool:
    return plan.target_count >= 0


@dataclass
class Fleet:
    """Workspaces by name, each with its cloud, and the playbook `all-down`."""

    folder: Path
    clouds: Mapping[str, FakeCloud]

    @property
    def store(self) -> FileFleetStore:
        return FileFleetStore(self.folder)

    def settings(self, name: str) -> Settings:
        sections = {each: WorkspaceSection(api_key_env=f"KEY_{each}") for each in self.clouds}
        settings = Settings(audit=AuditSection(state_dir=self.folder), workspaces=sections)
        return settings.for_workspace(name)

    def session(self, name: str) -> Session:
        session = session_of(self.clouds[name], self.folder, workspace=f"ws_{name}")
        endpoint = Endpoint(f"http://127.0.0.1/{name}/api/v1", f"key-{name}")
        return replace(session, settings=self.settings(name), endpoint=endpoint)

    async def plan(self, *, skip: Collection[str] = (), **fields: Any) -> FleetPlan:  # noqa: ANN401 - any key of a playbook
        request = request_of(**fields)
        requests = [WorkspaceRequest(name, self.session(name), request) for name in self.clouds]
        return await plan_fleet(request.loaded, requests, base_guards=Guards(), skip=skip)

    async def start(self, *, skip: Collection[str] = (), **fields: Any) -> OpenFleet:  # noqa: ANN401 - any key
        opened = await start_fleet(self.store, await self.plan(skip=skip, **fields), agree)
        write_inline(opened)
        return opened

    async def run(self, *, skip: Collection[str] = (), stop: StopRequest | None = None, **fields: Any) -> FleetResult:  # noqa: ANN401 - any key
        return await carry_out_fleet(await self.start(skip=skip, **fields), stop or StopRequest())

    @contextmanager
    def reopen(self, *, to_abandon: bool = False) -> Iterator[ReopenedFleet]:
        """The newest fleet run with its logs reopened."""
        with reopen_fleet(next(self.store.list_fleets()), FileRunStore(self.folder), to_abandon=to_abandon) as reopened:
            write_by(reopened.log, write_at_once)
            for run in reopened.runs.values():
                write_by(run.log, write_at_once)
            yield reopened

    async def resume(self, *, skip: Collection[str] = (), stop: StopRequest | None = None) -> FleetResult:
        """Resume the newest fleet run."""
        with self.reopen() as reopened, ExitStack() as claimed:
            sessions = {name: self.session(name) for name in reopened.open_runs}
            applied = {name: run.apply_settings(self.settings(name), ()) for name, run in reopened.open_runs.items()}
            claims = {
                name: claimed.enter_context(claim_again(sessions[name].claims, run.state, ignore_running=False))
                for name, run in reopened.open_runs.items()
            }
            plan = await plan_fleet_resume(reopened, sessions, applied, claims, skip=skip)
            return await carry_out_fleet(await record_fleet_resume(plan), stop or StopRequest())

    async def abandon(self) -> FleetResult:
        """Abandon the newest fleet run."""
        with self.reopen(to_abandon=True) as reopened:
            sessions = {name: self.session(name) for name in reopened.open_runs}
            return await abandon_fleet(reopened, sessions, "a test")

    async def restore(self) -> FleetResult:
        """Undo the newest fleet run."""
        fleet = next(self.store.list_fleets())
        undo = read_fleet_undo(fleet, FileRunStore(self.folder))
        requests = undo.list_requests({name: self.session(name) for name in undo.names})
        plan = await plan_fleet(undo.loaded, requests, base_guards=Guards())
        opened = await start_fleet(self.store, plan, agree, about={"restores": fleet.run_id})
        write_inline(opened)
        return await carry_out_fleet(opened, StopRequest())

    def read(self) -> tuple[Verdict, FleetState]:
        """The newest fleet log."""
        state = FleetState()
        return read_run(next(self.store.list_fleets()), state.apply_record).verdict, state

    def read_runs(self) -> dict[str, RunState]:
        """The runs of the newest fleet log, by workspace."""
        found = {}
        for run in self.read()[1].runs:
            found[run.workspace] = RunState()
            verdict = read_run(FileRunStore(self.folder).get_run(run.run_id), found[run.workspace].apply_record).verdict
            assert verdict in {Verdict.WHOLE, Verdict.UNFINISHED}
        return found

    def stops(self) -> dict[str, int]:
        """The number of stop requests by workspace."""
        return {name: sum(cloud.posts.values()) for name, cloud in self.clouds.items()}


def write_inline(fleet: OpenFleet) -> None:
    """Write all logs in the event loop's thread."""
    write_by(fleet.log, write_at_once)
    for member in fleet.members:
        if member.opened is not None:
            write_by(member.opened.log, write_at_once)


def fleet_of(folder: Path, **counts: int) -> Fleet:
    return Fleet(folder, {name: FakeCloud(count) for name, count in counts.items()})
