"""Limits and settle timeouts: one declaration for playbooks and settings."""

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator.playbook.limits import Limits, RateLimits, Settle
from orchestrator.settings.model import RateSection, SettleSection


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    return {name: node["description"] for name, node in model.model_json_schema()["properties"].items()}


@pytest.mark.parametrize(("section", "declared"), [(RateSection, RateLimits), (SettleSection, Settle)])
def test_the_settings_inherit_the_descriptions_of_playbooks(
    section: type[BaseModel], declared: type[BaseModel]
) -> None:
    assert descriptions(declared).items() <= descriptions(section).items()


def test_every_limit_of_the_settings_has_a_default() -> None:
    assert all(value is not None for _, value in RateSection())


@pytest.mark.parametrize("name", sorted(RateLimits.model_fields))
@pytest.mark.parametrize("value", ["0", "-1", "", "x"])
def test_settings_and_playbooks_refuse_the_same_values(name: str, value: str) -> None:
    for model in (Limits, RateSection):
        with pytest.raises(ValidationError):
            model.model_validate({name: value})
