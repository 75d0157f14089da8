"""The input and output of an operation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from pydantic import BaseModel

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.randomness import seeded_random
from orchestrator.simulator.settings import SimulatorSettings
from orchestrator.simulator.wire.view import WorldView
from orchestrator.simulator.world import World


@dataclass
class Call:
    """A parsed request.

    Attributes:
        world: the world to read or change.
        now: the time of the request, in seconds.
        version: the requested API version.
        path: the values in the path.
        query: the query, validated by the operation's model.
        body: the body, validated the same way; None if the operation has no body.
        fault: a fault for the operation to put into its answer (`faults.PLAYED_BY_OPERATION`), or None.
        seq: the number of the request.
        subject: the CVM found in the path, for the request record.
    """

    world: World
    now: float
    version: str
    path: dict[str, str]
    query: Any = None
    body: Any = None
    fault: str | None = None
    seq: int = 0
    subject: SimulatedCvm | None = None

    @property
    def settings(self) -> SimulatorSettings:
        """The simulator's settings."""
        return self.world.settings

    @cached_property
    def lagged_view(self) -> WorldView:
        """View of the simulated cloud for reads: late by `read_lag` seconds."""
        return WorldView(self.world, self.now - self.settings.timing.read_lag, self.version)

    @cached_property
    def current_view(self) -> WorldView:
        """The world at this moment."""
        return WorldView(self.world, self.now, self.version)

    def find_cvm(self, *, at: float | None = None) -> SimulatedCvm:
        """Find the CVM in the path, and note the CVM for the request record."""
        self.subject = self.world.find_cvm(self.path["cvm_id"], self.now if at is None else at)
        return self.subject

    def make_random(self) -> Random:
        """Make a random generator for this request alone."""
        return seeded_random(self.settings.fleet.seed, f"request {self.seq}")


@dataclass
class StateWatch:
    """A requested stream of states: until `target`, every `interval` seconds, for `timeout` seconds at most."""

    cvm: SimulatedCvm
    target: str
    interval: float
    timeout: float


@dataclass
class ApiReply:
    """An answer: status, JSON value, extra headers, effect on a CVM; or a stream instead of the body."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    effect: bool = False
    watch: StateWatch | None = None


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """An API operation: its name in records and settings, its method and path, its query and body."""

    name: str
    method: str
    path: str
    answer: Callable[[Call], ApiReply]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_required: bool = True
    public: bool = False
