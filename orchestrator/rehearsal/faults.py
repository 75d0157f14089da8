"""Fault files: the faults of the API, of CVMs and of the process in a rehearsal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from orchestrator.documented_model import DocumentedModel
from orchestrator.errors import PlaybookError, UsageError
from orchestrator.playbook.shipped import list_playbooks, locate_playbook
from orchestrator.playbook.source import Source, read_source
from orchestrator.playbook.value_types import Text, Texts
from orchestrator.rehearsal.network import Outage
from orchestrator.simulator.machine import Delays, SimulatedCvm
from orchestrator.simulator.randomness import seeded_random
from orchestrator.simulator.world import World
from orchestrator.times import parse_duration
from orchestrator.validation_messages import explain_fault, suggest_nearest

SHIPPED = Path(__file__).parents[1] / "rehearsals"
"""The folder of the shipped fault files."""

VERSION = 1
SLOWER = 10
"""A slow CVM takes so many times as long to settle."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, BeforeValidator(parse_duration)]


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


class ApiFaults(DocumentedModel):
    """Shares of requests with a fault, between 0 and 1."""

    error_before: Share = 0.0
    """A 5xx answer, without an effect."""
    error_after: Share = 0.0
    """A 5xx answer, after the effect."""
    reset_before: Share = 0.0
    """A connection reset, without an effect."""
    reset_after: Share = 0.0
    """A connection reset, after the effect."""
    timeout: Share = 0.0
    """No answer in time; half of these requests have their effect."""
    malformed: Share = 0.0
    """An answer that is not JSON, after the effect."""

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if sum(dict(self).values()) > 1:
            raise ValueError("the shares add up to more than 1")
        return self

    def simulator_faults(self) -> dict[str, object]:
        """Build the section `[faults]` of the simulator."""
        shares = self.model_dump()
        shares |= {"not_json": shares.pop("malformed")}
        half = shares.pop("timeout") / 2
        return {**_draw_in_turn({**shares, "hang_before": half, "hang_after": half}), "hang_seconds": 86_400.0}


def _draw_in_turn(shares: dict[str, float]) -> dict[str, object]:
    """Convert shares of all requests for a simulator with one draw after another."""
    order = ("error_before", "error_after", "reset_before", "reset_after", "hang_before", "hang_after", "not_json")
    left, found = 1.0, dict[str, object]()
    for name in order:
        found[name] = min(1.0, shares[name] / left) if left > 0 else 0.0
        left -= shares[name]
    return found


class CvmFaults(DocumentedModel):
    """Shares of CVMs with a fault, between 0 and 1; a CVM has a single fault at most."""

    stuck: Share = 0.0
    """Accepts a request, and never settles."""
    returns: Share = 0.0
    """Goes back to running after a stop or shutdown."""
    vanishes: Share = 0.0
    """Is deleted after a stop or shutdown."""
    slow: Share = 0.0
    """Takes ten times as long to settle."""

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if sum(dict(self).values()) > 1:
            raise ValueError("the shares add up to more than 1")
        return self


class OutageEntry(DocumentedModel):
    """An outage of the whole API: no connection can be made."""

    begin: Annotated[Seconds, Field(alias="from")]
    """The begin, since the start of the run."""
    length: Annotated[Seconds, Field(alias="for")]
    """The duration."""


class ServerLimit(DocumentedModel):
    """The rate limit of the API."""

    requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Requests a second."""
    burst: Annotated[int, Field(ge=1)] = 10
    """Requests at once."""


class FaultFile(DocumentedModel):
    """A fault file."""

    version: Annotated[Literal[1], BeforeValidator(lambda value: 1 if value == "1" else value)]
    """The version of the format: 1."""
    description: Text | None = None
    """A description for people."""
    faults: ApiFaults = ApiFaults()
    """Faults of the API."""
    cvms: CvmFaults = CvmFaults()
    """Faults of CVMs."""
    teepod_down: Texts = Field(default_factory=list)
    """Names of teepods that hang: their CVMs never settle."""
    outage: list[OutageEntry] = Field(default_factory=list)
    """Outages of the API."""
    limit: ServerLimit | None = None
    """The rate limit of the API, in place of the learnt limit."""
    key_refused_at: Seconds | None = None
    """The moment from which on the API refuses the key, since the start of the run."""
    kill_at: Annotated[list[Seconds], BeforeValidator(_as_list)] = Field(default_factory=list)
    """The moments at which the process is killed, and resumed at once."""

    @property
    def outages(self) -> tuple[Outage, ...]:
        """The outages of the API."""
        return tuple(Outage(each.begin, each.begin + each.length) for each in self.outage)

    def require_teepods(self, known: Sequence[str], file: Path | None = None) -> None:
        """Refuse a fault of an unknown teepod.

        Raises:
            UsageError: when the fleet has no such teepod.
        """
        unknown = next((name for name in self.teepod_down if name not in known), None)
        if unknown is not None:
            message = f"teepod_down: the fleet has no teepod {unknown!r}"
            raise UsageError(message, file=file, hint=suggest_nearest(unknown, known))

    def apply_to_world(self, world: World, seed: int) -> None:
        """Give CVMs of a simulated cloud their faults."""
        cvms = world.cvms
        seeded_random(seed, "faults of CVMs").shuffle(cvms)
        down = frozenset(self.teepod_down)
        left = iter([cvm for cvm in cvms if cvm.teepod.name not in down])
        for cvm in cvms:
            if cvm.teepod.name in down:
                _delay(cvm, float("inf"))
        for name, share in dict(self.cvms).items():
            for cvm in _take(left, share, len(cvms)):
                match name:
                    case "stuck":
                        _delay(cvm, float("inf"))
                    case "slow":
                        _delay(cvm, SLOWER)
                    case "returns":
                        world.set_behaviour(cvm, "returns")
                    case "vanishes":
                        world.set_behaviour(cvm, "vanishes")


NO_FAULTS = FaultFile.model_validate({"version": 1})


def describe_source(file: Path, faults: FaultFile) -> str:
    """Describe a fault file for people."""
    return f"{file.stem}: {faults.description}" if faults.description else str(file)


def _take(cvms: Iterator[SimulatedCvm], share: float, total: int) -> Iterator[SimulatedCvm]:
    """Take a share of all CVMs; at least one CVM for a share above 0."""
    number = max(1, round(share * total)) if share > 0 else 0
    yield from (cvm for _, cvm in zip(range(number), cvms, strict=False))


def _delay(cvm: SimulatedCvm, factor: float) -> None:
    delays = cvm.delays
    cvm.delays = Delays(*(max(seconds, 0.001) * factor for seconds in (delays.stop, delays.shutdown, delays.start)))


def find_faults(name: str, shipped: Path = SHIPPED) -> Path:
    """Find a fault file: a path, or the name of a shipped fault file.

    Raises:
        UsageError: when there is no such file.
    """
    found = locate_playbook(name, Path("rehearsals"), shipped)
    if found is not None and found.exists():
        return found
    own, others = list_playbooks(Path("rehearsals")), list_playbooks(shipped)
    known = f"shipped: {', '.join(others)}" if others else "give the path of a fault file"
    hint = suggest_nearest(name, [*own, *others], known)
    raise UsageError("there is no such fault file", file=name, hint=hint)


def load_faults(file: Path) -> FaultFile:
    """Read a fault file.

    Raises:
        UsageError: with the line, when the file can't be read, or has an unknown key or an invalid value.
    """
    try:
        source = read_source(file)
    except PlaybookError as error:
        message = error.message.replace("the playbook", "the fault file").replace("a playbook is", "a fault file is")
        raise UsageError(message, file=error.file, line=error.line, hint=_HINT) from error
    try:
        return FaultFile.model_validate(source.tree)
    except ValidationError as error:
        first, *rest = (_locate_fault(fault, source) for fault in error.errors())
        first.more = tuple(rest)
        raise first from None


def _locate_fault(fault: ErrorDetails, source: Source) -> UsageError:
    place, message, hint = explain_fault(fault, FaultFile)
    return UsageError(message, file=source.file, line=source.line_of(place), hint=hint or _HINT)


_HINT = "the keys are in docs/reference/rehearsal.md"
