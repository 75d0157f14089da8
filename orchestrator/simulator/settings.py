"""The simulator's configuration file: TOML, every key optional, unknown keys refused."""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

VERSIONS = ("2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23")
"""Accepted values of `X-Phala-Version`."""

Version = Literal["2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23"]

BehaviourKind = Literal[
    "stuck",
    "returns",
    "resurrects",
    "errors",
    "vanishes",
    "refuses",
    "busy",
    "conflict",
    "weird_status",
    "null_uuid",
    "unlisted_facts",
    "unknown_facts",
]


class SimulatorSettingsError(Exception):
    """Raised for a configuration file with a problem: unreadable, not TOML, or a wrong key or value."""


def _check_range(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not 0 <= low <= high:
        raise ValueError("a range is [minimum, maximum] in seconds, not negative")
    return bounds


Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
SecondsRange = Annotated[tuple[float, float], AfterValidator(_check_range)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FleetSettings(_Section):
    """`[fleet]`: the number and kinds of CVMs."""

    cvms: Annotated[int, Field(ge=0)] = 100
    seed: int = 0
    teepods: Annotated[int, Field(ge=1)] | None = None
    teepod_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    stopped_share: Share = 0.08
    gpu_share: Share = 0.01
    rental_share: Share = 0.0


class TimingSettings(_Section):
    """`[timing]`: durations in seconds; a value is drawn from its range once per CVM."""

    stop_seconds: SecondsRange = (2.0, 6.0)
    shutdown_seconds: SecondsRange = (8.0, 20.0)
    start_seconds: SecondsRange = (4.0, 12.0)
    read_lag: Seconds = 0.0
    latency: SecondsRange = (0.0, 0.0)


class LimitSettings(_Section):
    """`[limit]`: the server's rate limit; no limit without `requests_per_second`."""

    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    burst: Annotated[int, Field(ge=1)] = 10
    retry_after: Literal["seconds", "date", "none", "zero", "past"] = "seconds"


class ApiSettings(_Section):
    """`[api]`: the reading of the API on points of disagreement between its sources."""

    default_version: Version = "2025-10-28"
    action_id: Literal["by_version", "integer", "string"] = "by_version"
    uuid_dashes: bool = True
    state_streams: Annotated[int, Field(ge=0)] = 5
    simulated_header: bool = True


class WorkspaceSettings(_Section):
    """`[workspace]`: the workspace, its user and its balance."""

    id: str = "wks_simulated"
    name: str = "simulated"
    username: str = "operator"
    balance: Decimal = Decimal("1000.00")
    minimum_balance: Decimal = Decimal("1.00")
    suspended: bool = False
    gpus_available: bool = True


class UsageSettings(_Section):
    """`[usage]`: the reporting of metered usage."""

    usage_delay: Seconds = 0.0
    history_hours: Annotated[float, Field(ge=0)] = 24.0
    total: Literal["returned", "window"] = "returned"


class FaultRule(_Section):
    """How often a fault strikes, on these operations, and how many times at most."""

    probability: Share = 0.0
    operations: tuple[str, ...] = ()
    limit: Annotated[int, Field(ge=0)] | None = None


def _expand_probability(value: object) -> object:
    return {"probability": value} if isinstance(value, int | float) else value


Fault = Annotated[FaultRule, BeforeValidator(_expand_probability)]
_NEVER = FaultRule()


class FaultSettings(_Section):
    """`[faults]`: for every fault a probability, or a table of `probability`, `operations` and `limit`."""

    error_before: Fault = _NEVER
    error_after: Fault = _NEVER
    reset_before: Fault = _NEVER
    reset_after: Fault = _NEVER
    hang_before: Fault = _NEVER
    hang_after: Fault = _NEVER
    truncated: Fault = _NEVER
    gzip_cut: Fault = _NEVER
    not_json: Fault = _NEVER
    throttle: Fault = _NEVER
    unavailable: Fault = _NEVER
    wrong_shape: Fault = _NEVER
    huge: Fault = _NEVER
    redirect: Fault = _NEVER
    gateway_404: Fault = _NEVER
    odd_before: Fault = _NEVER
    odd_after: Fault = _NEVER
    missing_uuids: Fault = _NEVER
    batch_missing: Fault = _NEVER
    shifting_list: Fault = _NEVER
    duplicates: Fault = _NEVER
    batch_cap: Annotated[int, Field(ge=1)] | None = None
    hang_seconds: Seconds = 60.0
    huge_bytes: Annotated[int, Field(ge=1)] = 64_000_000
    retry_after_seconds: Annotated[int, Field(ge=0)] = 2
    odd_statuses: Annotated[tuple[Annotated[int, Field(ge=200, le=999)], ...], Field(min_length=1)] = (
        *(300, 399, 425, 499, 999),
    )


class Behaviour(_Section):
    """`[[behaviour]]`: misbehaviour of CVMs after a stop.

    Attributes:
        kind: the misbehaviour.
        count: number of CVMs, chosen by the seed; without it, every CVM that matches `names`.
        names: patterns with `*` and `?` that limit the choice.
        seconds: duration or delay, depending on the kind; the kind has a default.
        attempts: `busy` only: number of refused stop attempts.
        status: `weird_status` only: the status shown.
    """

    kind: BehaviourKind
    count: Annotated[int, Field(ge=0)] | None = None
    names: tuple[str, ...] = ()
    seconds: Seconds | None = None
    attempts: Annotated[int, Field(ge=0)] | None = None
    status: str = "hibernating"


class WorkspaceChange(_Section):
    """`[[workspaces]]`: a workspace of its own, as changes to the sections of the file, key by key.

    Attributes:
        behaviour: replaces the behaviours of the file; None keeps the behaviours.
    """

    fleet: dict[str, Any] = Field(default_factory=dict)
    timing: dict[str, Any] = Field(default_factory=dict)
    limit: dict[str, Any] = Field(default_factory=dict)
    workspace: dict[str, Any] = Field(default_factory=dict)
    faults: dict[str, Any] = Field(default_factory=dict)
    behaviour: tuple[Behaviour, ...] | None = None


class SimulatorSettings(_Section):
    """The whole configuration file."""

    fleet: FleetSettings = FleetSettings()
    timing: TimingSettings = TimingSettings()
    limit: LimitSettings = LimitSettings()
    api: ApiSettings = ApiSettings()
    workspace: WorkspaceSettings = WorkspaceSettings()
    usage: UsageSettings = UsageSettings()
    faults: FaultSettings = FaultSettings()
    behaviour: tuple[Behaviour, ...] = ()
    workspaces: Annotated[int, Field(ge=1)] | Annotated[tuple[WorkspaceChange, ...], Field(min_length=1)] = 1

    @model_validator(mode="after")
    def _check_workspaces(self) -> Self:
        split = self.split_workspaces()
        if len({each.fleet.seed for each in split}) < len(split):
            raise ValueError("two workspaces have the same seed, so the same key: give each its own fleet.seed")
        if len({each.workspace.name for each in split}) < len(split):
            raise ValueError("two workspaces have the same name: give each its own workspace.name")
        return self

    @model_validator(mode="after")
    def _check_behaviours(self) -> Self:
        for behaviour in self.behaviour:
            if behaviour.count is None and not behaviour.names:
                raise ValueError(f"behaviour {behaviour.kind!r} needs `count`, `names` or both")
        return self

    def split_workspaces(self) -> "tuple[SimulatorSettings, ...]":
        """Return the settings of every workspace; the only workspace has these settings themselves.

        Several workspaces have different ids, names, seeds and keys, unless their own changes say otherwise.
        """
        if self.workspaces == 1:
            return (self,)
        alike = (WorkspaceChange(),)
        changes = alike * self.workspaces if isinstance(self.workspaces, int) else self.workspaces
        return tuple(self._apply_change(change, number) for number, change in enumerate(changes, start=1))

    def _apply_change(self, change: WorkspaceChange, number: int) -> "SimulatorSettings":
        named = {"id": f"{self.workspace.id}_{number}", "name": f"{self.workspace.name}-{number}"}
        changes = {
            "fleet": {"seed": self.fleet.seed + number - 1, **change.fleet},
            "timing": change.timing,
            "limit": change.limit,
            "workspace": {**named, **change.workspace},
            "faults": change.faults,
        }
        document: dict[str, Any] = {name: getattr(self, name) for name in SimulatorSettings.model_fields}
        for name, changed in changes.items():
            section: BaseModel = document[name]
            document[name] = section.model_dump() | changed
        document["workspaces"] = 1
        if change.behaviour is not None:
            document["behaviour"] = change.behaviour
        return SimulatorSettings.model_validate(document)

    def with_fleet(self, *, cvms: int | None = None, seed: int | None = None) -> "SimulatorSettings":
        """Copy these settings with another fleet size or seed; None keeps the present value."""
        changed: dict[str, int] = {}
        if cvms is not None:
            changed["cvms"] = cvms
        if seed is not None:
            changed["seed"] = seed
        return self.model_copy(update={"fleet": self.fleet.model_copy(update=changed)})


def parse_settings(document: Mapping[str, object], *, source: str = "settings") -> SimulatorSettings:
    """Validate a parsed document; a `SimulatorSettingsError` names every wrong key."""
    try:
        return SimulatorSettings.model_validate(document)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            key = ".".join(str(part) for part in problem["loc"])
            what = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"]
            problems.append(f"{key}: {what}" if key else what)
        raise SimulatorSettingsError(f"{source}: " + "; ".join(problems)) from error


def load_settings(path: Path | str) -> SimulatorSettings:
    """Read a TOML configuration file; a `SimulatorSettingsError` names the file and every wrong key."""
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SimulatorSettingsError(f"{path}: {error}") from error
    return parse_settings(document, source=str(path))
