"""Choose the failing requests and their faults: drawn from the seed, at most one fault per request."""

from dataclasses import dataclass
from random import Random

from orchestrator.simulator.operations.table import OPERATION_NAMES
from orchestrator.simulator.randomness import seeded_random
from orchestrator.simulator.settings import FaultRule, FaultSettings, SimulatorSettingsError

WITHOUT_EFFECT = frozenset(
    {
        *("error_before", "reset_before", "hang_before", "throttle", "unavailable", "redirect"),
        *("gateway_404", "odd_before"),
    }
)
"""Faults that strike before the operation has an effect."""

PLAYED_BY_OPERATION = frozenset({"missing_uuids", "batch_missing", "shifting_list", "duplicates"})
"""Faults that the operation itself puts into its answer."""

_ONLY = {
    "missing_uuids": ("status_batch",),
    "batch_missing": ("status_batch",),
    "shifting_list": ("list_cvms_paginated",),
    "duplicates": ("list_cvms_paginated",),
}

FAULTS = tuple(name for name, field in FaultSettings.model_fields.items() if isinstance(field.default, FaultRule))


@dataclass
class _Forced:
    fault: str
    operation: str | None
    times: int


class Faults:
    """Random faults of requests."""

    def __init__(self, settings: FaultSettings, seed: int) -> None:
        self.settings = settings
        self._rng = seeded_random(seed, "faults")
        self._rules = _active_rules(settings)
        self._left = {name: rule.limit for name, rule in self._rules.items()}  # strikes left; None: no limit
        self._forced: list[_Forced] = []  # come before random faults

    def __repr__(self) -> str:
        return f"<Faults {', '.join(self._rules) or 'none'}; {len(self._forced)} forced>"

    @property
    def rng(self) -> Random:
        """Random generator for the details of a fault, such as the choice of a 5xx status."""
        return self._rng

    def force(self, fault: str, *, operation: str | None = None, times: int = 1) -> None:
        """Force a fault on the next requests of an operation (None: any operation), before random faults."""
        if fault not in FAULTS:
            raise ValueError(f"unknown fault {fault!r}; known: {', '.join(FAULTS)}")
        if operation is not None and operation not in OPERATION_NAMES:
            raise ValueError(f"unknown operation {operation!r}; known: {', '.join(sorted(OPERATION_NAMES))}")
        self._forced.append(_Forced(fault, operation, times))

    def draw_fault(self, operation: str) -> str | None:
        """Draw the fault of this request; None for no fault."""
        for forced in self._forced:
            if forced.operation in {None, operation}:
                forced.times -= 1
                if forced.times <= 0:
                    self._forced.remove(forced)
                return forced.fault
        for name, rule in self._rules.items():
            if operation not in (rule.operations or _ONLY.get(name) or OPERATION_NAMES):
                continue
            left = self._left[name]
            if left != 0 and self._rng.random() < rule.probability:
                self._left[name] = None if left is None else left - 1
                return name
        return None


def _active_rules(settings: FaultSettings) -> dict[str, FaultRule]:
    rules: dict[str, FaultRule] = {}
    for name in FAULTS:
        rule: FaultRule = getattr(settings, name)
        unknown = [operation for operation in rule.operations if operation not in OPERATION_NAMES]
        if unknown:
            known = ", ".join(sorted(OPERATION_NAMES))
            raise SimulatorSettingsError(f"faults.{name}.operations: unknown operation {unknown[0]!r}; known: {known}")
        if rule.probability > 0:
            rules[name] = rule
    return rules
