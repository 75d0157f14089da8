"""Settings frozen by a plan file or a run's log: a stricter value applies, any other value is ignored and named.

| setting | stricter is |
|---|---|
| `rate.requests_per_second`, `.burst`, `.max_in_flight`, `.per_teepod` | less; any number is stricter than `auto` |
| `rate.dispatch` | `single` |
| `guards.max_targets`, `guards.max_percent` | less; any value is stricter than none |
| `settle.timeout`, `notify.on`, `billing.storage_usd_per_gb_hour` | nothing |
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.engine.rate.adaptive import START
from orchestrator.errors import UsageError
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.resolved_steps import AnyPlanned, OwnLimits, PlannedStep, RunLimits
from orchestrator.playbook.value_types import AUTO
from orchestrator.settings.load import Settings
from orchestrator.settings.model import RateSection


@dataclass(frozen=True, slots=True)
class Frozen:
    """The frozen settings of a plan file or a run's log.

    Attributes:
        source: the name of the source, such as `the plan file`.
        limits: the limits of the run.
        steps: the steps of the run.
        guards: the limits of the guards, by the guard's name; guards without a limit are left out.
        notify_on: the kinds of notices to send, if set in the playbook.
        has_prices: whether the storage price is frozen as well.
        file: the file, for errors.
    """

    source: str
    limits: RunLimits
    steps: tuple[AnyPlanned, ...]
    guards: Mapping[str, Decimal]
    notify_on: Sequence[str] | None = None
    has_prices: bool = False
    file: Path | str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The effective limits.

    Attributes:
        limits: the limits of the run.
        steps: the steps with their own limits.
        stricter: a phrase for every setting stricter than the frozen value.
        warnings: a warning about the settings without effect; at most one warning.
    """

    limits: RunLimits
    steps: tuple[AnyPlanned, ...]
    stricter: tuple[str, ...] = ()
    warnings: tuple[PlanWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class _Difference:
    setting: str
    given: str
    frozen: str
    is_stricter: bool

    @property
    def text(self) -> str:
        return f"{self.setting} {self.given} ({self.frozen})"


def apply_settings(frozen: Frozen, settings: Settings, assignments: Iterable[str]) -> Applied:
    """Apply the settings stricter than the frozen values.

    Args:
        frozen: the frozen settings of the plan file or the log.
        settings: the current settings.
        assignments: the settings given on the command line, as `section.field=value`.

    Raises:
        UsageError: when a value of the command line would have no effect.
    """
    named = {assignment.partition("=")[0] for assignment in assignments}
    found = list(_find_differences(frozen, settings))
    refused = [each for each in found if each.setting in named and not each.is_stricter]
    if refused:
        first = refused[0]
        raise UsageError(
            f"--set {first.setting}={first.given} would have no effect: {frozen.source} says {first.frozen}, "
            f"and only a stricter value applies",
            file=frozen.file,
            hint="remove this --set, or make a new plan",
        )
    looser = [each for each in found if not each.is_stricter]
    message = (
        f"settings without effect, because {frozen.source} has other values: {', '.join(each.text for each in looser)}"
    )
    warning = PlanWarning(WarningCode.SETTINGS_FROZEN, message)
    limits, steps = frozen.limits, frozen.steps
    stricter = {each.setting for each in found if each.is_stricter}
    for name in RateSection.model_fields:
        if f"rate.{name}" in stricter:
            limits, steps = _hold_to(name, settings.rate, limits, steps)
    return Applied(limits, steps, tuple(each.text for each in found if each.is_stricter), (warning,) if looser else ())


def _find_differences(frozen: Frozen, settings: Settings) -> Iterator[_Difference]:
    yield from _rate_differences(frozen, settings.rate)
    for name in ("max_targets", "max_percent"):
        given, limit = getattr(settings.guards, name), frozen.guards.get(name)
        if given is not None and given != limit:
            yield _Difference(
                f"guards.{name}", f"{given}", "none" if limit is None else f"{limit:f}", limit is None or given < limit
            )
    timeouts = {step.settle_timeout for step in frozen.steps if isinstance(step, PlannedStep)}
    if "timeout" in settings.settle.model_fields_set and settings.settle.timeout not in timeouts:
        text = ", ".join(f"{seconds:g}s" for seconds in sorted(timeouts))
        yield _Difference("settle.timeout", f"{settings.settle.timeout:g}s", text, is_stricter=False)
    on = settings.notify.on
    if "on" in settings.notify.model_fields_set and frozen.notify_on is not None and set(on) != set(frozen.notify_on):
        yield _Difference("notify.on", " ".join(on), " ".join(frozen.notify_on) or "nothing", is_stricter=False)
    if frozen.has_prices and "storage_usd_per_gb_hour" in settings.billing.model_fields_set:
        price = settings.billing.storage_usd_per_gb_hour
        yield _Difference("billing.storage_usd_per_gb_hour", f"{price:f}", "the plan's price", is_stricter=False)


def _rate_differences(frozen: Frozen, rate: RateSection) -> Iterator[_Difference]:
    own = [step.limits for step in frozen.steps if isinstance(step, PlannedStep)]
    for name in RateSection.model_fields:
        if name not in rate.model_fields_set:
            continue
        given, values = getattr(rate, name), _frozen_values(name, frozen.limits, own)
        if set(values) == {given}:
            continue
        stricter = any(_is_stricter(given, value) for value in values)
        yield _Difference(
            f"rate.{name}", _format_value(given), " or ".join(dict.fromkeys(map(_format_value, values))), stricter
        )


def _frozen_values(name: str, limits: RunLimits, own: Iterable[OwnLimits]) -> list[object]:
    """List the frozen values of a limit: the run's value, and the steps' own values."""
    of_run: object = AUTO if name == "requests_per_second" and limits.adaptive else getattr(limits, name)
    of_steps = (getattr(each, name, None) for each in own)
    return [of_run, *(value for value in of_steps if value is not None)]


def _is_stricter(given: object, value: object) -> bool:
    if isinstance(given, int | float):
        return not isinstance(value, int | float) or given < value
    return (given, value) == ("single", "batch")


def _hold_to(
    name: str, rate: RateSection, limits: RunLimits, steps: tuple[AnyPlanned, ...]
) -> tuple[RunLimits, tuple[AnyPlanned, ...]]:
    """Apply a limit of the settings to a run and its steps."""
    given = getattr(rate, name)
    finds_out = name == "requests_per_second" and limits.adaptive
    capped = tuple(
        replace(step, limits=_cap_limit(step.limits, name, given, everywhere=finds_out))
        if isinstance(step, PlannedStep)
        else step
        for step in steps
    )
    if not finds_out:
        values: dict[str, Any] = {name: _stricter_of(given, getattr(limits, name))}
        return replace(limits, **values), capped
    if given < START:  # the first rate of an adaptive run is higher
        return replace(limits, requests_per_second=given, adaptive=False), capped
    return limits, capped


def _cap_limit(own: OwnLimits, name: str, given: object, *, everywhere: bool) -> OwnLimits:
    """Cap the own limits of a step by a limit of the settings.

    Args:
        own: the step's own limits.
        name: the limit.
        given: its value in the settings.
        everywhere: whether the limit also applies to a step without its own limit.
    """
    value = getattr(own, name, None)
    if value is None and not everywhere:
        return own
    return replace(own, **{name: given if value is None else _stricter_of(given, value)})  # type: ignore[arg-type]


def _stricter_of(given: object, value: object) -> object:
    return given if _is_stricter(given, value) else value


def _format_value(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
