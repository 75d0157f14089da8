"""Settings beside what a plan file or a log has frozen: stricter ones apply, the others are named or refused."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.action import Action
from orchestrator.errors import UsageError
from orchestrator.playbook.resolved_steps import AnyPlanned, Message, OwnLimits, PlannedStep, RunLimits
from orchestrator.runs.frozen import Applied, Frozen, apply_settings
from orchestrator.settings.load import Settings

LIMITS = RunLimits(10.0, 5, 20, 10)
STEPS = (
    PlannedStep("own", Action.STOP, 60.0, limits=OwnLimits(4.0, 8, 2, dispatch="batch")),
    PlannedStep("none", Action.STOP, 60.0),
    Message("say", "something"),
)


def applied(
    settings: dict[str, Any], *named: str, limits: RunLimits = LIMITS, guards: dict[str, Decimal] | None = None
) -> Applied:
    frozen = Frozen("the plan file", limits, STEPS, guards or {}, has_prices=True, notify_on=("end",))
    return apply_settings(frozen, Settings.model_validate(settings), [f"{name}=x" for name in named])


def own(steps: tuple[AnyPlanned, ...]) -> list[OwnLimits]:
    return [step.limits for step in steps if isinstance(step, PlannedStep)]


def test_defaults_that_nobody_gave_change_nothing_and_are_not_mentioned() -> None:
    assert applied({}) == Applied(LIMITS, STEPS)


@pytest.mark.parametrize(
    ("section", "name", "stricter", "looser"),
    [
        ("rate", "requests_per_second", 1.0, 11.0),
        ("rate", "requests_per_second", 1.0, "auto"),
        ("rate", "burst", 1, 6),
        ("rate", "max_in_flight", 1, 21),
        ("rate", "per_teepod", 1, 11),
        ("rate", "dispatch", "single", None),
        ("guards", "max_targets", 9, 11),
        ("guards", "max_percent", "9", "11"),
        ("settle", "timeout", None, 61.0),
        ("settle", "timeout", None, 59.0),
        ("notify", "on", None, ["start"]),
        ("billing", "storage_usd_per_gb_hour", None, "0.1"),
    ],
)
def test_every_frozen_setting_applies_where_stricter_and_is_refused_or_named_elsewhere(
    section: str, name: str, stricter: object, looser: object
) -> None:
    guards = {"max_targets": Decimal(10), "max_percent": Decimal(10)}
    if stricter is not None:
        found = applied({section: {name: stricter}}, f"{section}.{name}", guards=guards)
        assert (len(found.stricter), found.warnings) == (1, ())
        if section == "rate":
            values = [getattr(found.limits, name), *(getattr(each, name, None) for each in own(found.steps))]
            assert {value for value in values if value is not None} == {stricter}
    if looser is not None:
        found = applied({section: {name: looser}}, guards=guards)
        assert (found.limits, found.steps, found.stricter) == (LIMITS, STEPS, ())
        assert [f"{section}.{name} " in warning.message for warning in found.warnings] == [True]
        with pytest.raises(UsageError, match=f"--set {section}.{name}=.* would have no effect: the plan file says"):
            applied({section: {name: looser}}, f"{section}.{name}", guards=guards)


def test_a_guard_is_stricter_than_none() -> None:
    assert applied({"guards": {"max_targets": 1000}}, "guards.max_targets").stricter == (
        "guards.max_targets 1000 (none)",
    )


def test_several_settings_without_effect_share_one_warning() -> None:
    found = applied({"rate": {"burst": 6, "max_in_flight": 21}, "settle": {"timeout": 5}})
    (warning,) = found.warnings
    assert all(
        name in warning.message for name in ("rate.burst 6 (5)", "rate.max_in_flight 21 (20 or 8)", "settle.timeout 5s")
    )


@pytest.mark.parametrize(("given_rate", "is_fixed"), [(0.5, True), (30.0, False)])
def test_a_number_holds_a_run_that_finds_out_its_rate(given_rate: float, *, is_fixed: bool) -> None:
    auto = RunLimits(5.0, 5, 20, 10, adaptive=True)
    found = applied({"rate": {"requests_per_second": given_rate}}, "rate.requests_per_second", limits=auto)
    assert found.limits.adaptive is not is_fixed
    assert [each.requests_per_second for each in own(found.steps)] == [min(4.0, given_rate), given_rate]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "requests_per_second": st.floats(0.1, 50),
            "burst": st.integers(1, 30),
            "max_in_flight": st.integers(1, 30),
            "per_teepod": st.integers(1, 30),
        },
    )
)
def test_no_setting_ever_loosens_a_limit_and_none_that_is_stricter_is_lost(rate: dict[str, Any]) -> None:
    found = applied({"rate": rate})
    for before, after in zip(own(STEPS), own(found.steps), strict=True):
        was, now = before.within(LIMITS), after.within(found.limits)
        for name in ("requests_per_second", "burst", "max_in_flight", "per_teepod"):
            assert getattr(now, name) == min(getattr(was, name), rate.get(name, float("inf")))
