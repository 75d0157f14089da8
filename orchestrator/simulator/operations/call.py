"""What an operation is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from pydantic import BaseModel

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.randomness import seeded_random
from orchestrator.simulator.settings import Settings
from orchestrator.simulator.wire.view import View
from orchestrator.simulator.world import World


@dataclass
class Call:
    """One request, understood.

    Attributes:
        world: the world it acts on.
        now: the moment at which it takes effect, in seconds.
        version: the API version asked for.
        path: the values in the path.
        query: the query, validated by the operation's own model.
        body: the body, likewise; None where the operation has none.
        fault: the fault that strikes, if it is one that the operation itself has to play.
        seq: the number of the request.
        subject: the CVM it turned out to be about, for the record.
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
    def settings(self) -> Settings:
        """The simulator's settings."""
        return self.world.settings

    @cached_property
    def lagged_view(self) -> View:
        """The world as reads show it, which may lag."""
        return View(self.world, self.now - self.settings.timing.read_lag, self.version)

    @cached_property
    def current_view(self) -> View:
        """The world as it is."""
        return View(self.world, self.now, self.version)

    def find_cvm(self, *, at: float | None = None) -> SimulatedCvm:
        """The CVM in the path, and note it for the record."""
        self.subject = self.world.find_cvm(self.path["cvm_id"], self.now if at is None else at)
        return self.subject

    def make_random(self) -> Random:
        """A generator for what this request alone draws."""
        return seeded_random(self.settings.fleet.seed, f"request {self.seq}")


@dataclass
class Watch:
    """A stream of states asked for: until `target`, looking every `interval` seconds, for `timeout` at most."""

    cvm: SimulatedCvm
    target: str
    interval: float
    timeout: float


@dataclass
class Reply:
    """An answer: status, JSON value, extra headers; whether a CVM changed; a stream in place of the body."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    effect: bool = False
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its name in records and settings, how it is reached, what it takes."""

    name: str
    method: str
    path: str
    answer: Callable[[Call], Reply]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_required: bool = True
    public: bool = False
