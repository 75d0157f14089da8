"""Selections from options."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.playbook.narrowing import KEYS, build_selection
from tests.playbook.fleet import cvm

FLEET = [
    cvm(1, "web-1", gpus=0, region="eu"),
    cvm(2, "web-2", gpus=2, region="us"),
    cvm(3, "kms-1", "stopped", gpus=1),
]


def names(selectors: dict[str, list[str]], *excludes: str) -> list[str]:
    selection = build_selection(selectors, excludes)
    return [each.ref.name for each in FLEET if selection.covers(each)]


def test_values_of_a_key_or_together_keys_and_together_and_no_key_is_every_cvm() -> None:
    assert names({}) == ["web-1", "web-2", "kms-1"]
    assert names({"name": ["web-1", "kms-*"]}) == ["web-1", "kms-1"]
    assert names({"name": ["web-*"], "gpus": [">0"]}) == ["web-2"]
    assert names({"status": ["stopped"]}) == ["kms-1"]


def test_each_exclude_removes_and_an_unknown_fact_may_be_excluded() -> None:
    assert names({}, "name=web-1", "gpus=2") == ["kms-1"]
    assert names({}, "id=cvm_1", f"id={3:032X}") == ["web-2"]
    assert names({"status": ["running"]}, "instance-type=x") == []
    assert names({}, "region=eu") == ["web-2"]
    assert build_selection({}, ["region=eu"]).find_unknown_fact(FLEET[2]) == "region"


@pytest.mark.parametrize(
    ("selectors", "excludes", "words"),
    [
        ({"gpus": ["many"]}, [], "--gpus: must be a number"),
        ({"older_than": ["7"]}, [], "--older-than: '7' is a number without a unit"),
        ({"created_before": ["2026-01-01T10:00"]}, [], "--created-before: the time '2026-01-01T10:00' has no offset"),
        ({"app_id": ["web-*"]}, [], "--app-id: must be an app's id"),
        ({}, ["web-1"], "--exclude takes KEY=VALUE"),
        ({}, ["name="], "--exclude takes KEY=VALUE"),
        ({}, ["statuses=x"], "--exclude: unknown key 'statuses'"),
        ({}, ["all=true"], "--exclude: unknown key 'all'"),
        ({}, ["up_longer_than=12"], "--exclude up_longer_than: '12' is a number without a unit"),
    ],
)
def test_an_invalid_option_is_a_usage_error(selectors: dict[str, list[str]], excludes: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_selection(selectors, excludes)
    assert words in caught.value.message


def test_every_key_of_a_select_is_a_key_of_options() -> None:
    assert set(KEYS) >= {"teepod", "app_id", "name", "status", "creator", "up_longer_than"}
    assert not {"any", "all", "exclude", "result"} & set(KEYS)
