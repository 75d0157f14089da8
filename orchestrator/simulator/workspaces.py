"""Several simulated workspaces at one address: the API key of a request chooses the workspace."""

from collections.abc import Callable
from datetime import datetime
from time import monotonic
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from orchestrator.simulator import control
from orchestrator.simulator.app import Simulator, create_app
from orchestrator.simulator.settings import SimulatorSettings
from orchestrator.simulator.world import World


class SimulatedWorkspaces:
    """The ASGI application of all workspaces; each workspace has its own fleet, rate limit, faults and records.

    A request without a known key goes to the first workspace, and is refused there unless the operation is public.
    A request to the control paths goes to the workspace named by `?workspace=NAME`, by default to the first.

    Attributes:
        by_key: the workspaces by API key, in the order of the settings.
    """

    def __init__(self, settings: SimulatorSettings, *, epoch: datetime, clock: Callable[[], float] = monotonic) -> None:
        """Make the workspaces; their settings have different seeds, and so different keys."""
        self.by_key: dict[str, Simulator] = {}
        for each in settings.split_workspaces():
            world = World.generate(settings=each, epoch=epoch)
            self.by_key[world.api_key] = create_app(world, clock=clock)

    def __repr__(self) -> str:
        return f"<SimulatedWorkspaces {', '.join(self.by_name)}>"

    @property
    def first(self) -> Simulator:
        """The first workspace."""
        return next(iter(self.by_key.values()))

    @property
    def by_name(self) -> dict[str, Simulator]:
        """The workspaces by name."""
        return {simulator.world.settings.workspace.name: simulator for simulator in self.by_key.values()}

    def begin(self) -> None:
        """Begin the time of every workspace."""
        for simulator in self.by_key.values():
            simulator.now()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to its workspace."""
        await self._find_workspace(scope)(scope, receive, send)

    def _find_workspace(self, scope: Scope) -> Simulator:
        if scope["type"] != "http" or len(self.by_key) == 1:
            return self.first
        if scope["path"].startswith(control.PREFIX):
            named = parse_qs(scope["query_string"].decode("latin-1")).get("workspace", [""])[0]
            return self.by_name.get(named, self.first)
        key = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-api-key"), "")
        return self.by_key.get(key, self.first)
