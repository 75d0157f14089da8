"""`--only` and `--exclude` narrow a plan; selector options select CVMs."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.outcome import SkipReason
from orchestrator.playbook.narrowing import KEYS, Narrowing, build_select
from orchestrator.playbook.select import find_ids_to_read, find_unknown_fact, is_covered
from orchestrator.playbook.steps import Select
from orchestrator.runs.prepare import find_refusal
from tests.playbook.fleet import cvm
from tests.playbook.loading import playbook
from tests.playbook.plans import plan_of

FLEET = [cvm(1, "web-1"), cvm(2, "web-2", pod=2), cvm(3, "kms-1"), cvm(4, "db-1", pod=2)]
ALL = playbook({"all": "true"})


def narrow(*only: str, exclude: tuple[str, ...] = ()) -> Narrowing:
    found = Narrowing.parse_options(only, exclude)
    assert found is not None
    return found


def targets_of(narrowing: Narrowing) -> list[str]:
    return [each.cvm.ref.name for each in plan_of(ALL, FLEET, narrowing=narrowing).targets]


def test_values_of_a_key_are_or_and_keys_are_and() -> None:
    assert targets_of(narrow("name=web-*", "name=kms-*")) == ["web-1", "web-2", "kms-1"]
    assert targets_of(narrow("name=web-*", "teepod=2")) == ["web-2"]


def test_each_exclude_removes() -> None:
    assert targets_of(narrow(exclude=("name=web-*", "teepod=2"))) == ["kms-1"]


@pytest.mark.parametrize("identifier", ["cvm_2", f"{2:032x}", "00000000-0000-0000-0000-000000000002"])
def test_id_is_a_hashid_or_a_uuid(identifier: str) -> None:
    assert targets_of(narrow(f"id={identifier}")) == ["web-2"]


def test_excluded_cvms_have_a_code_and_count_as_not_selected() -> None:
    plan = plan_of(ALL, FLEET, narrowing=narrow("name=none"))
    assert {each.why.code for each in plan.skipped} == {SkipReason.EXCLUDED_BY_OPTION}
    assert {each.reason for each in plan.skipped} == {"not in --only name"}
    refusal = find_refusal(plan)
    assert refusal is not None
    assert refusal.exit_code == 4
    assert "no CVM named 'none'" in (refusal.hint or "")


def test_unknown_fact_is_left_alone_and_only_exclude_counts_as_unsure() -> None:
    fleet = [cvm(1, "web-1", app=None)]
    plan = plan_of(ALL, fleet, narrowing=narrow(exclude=("app_id=b2",)))
    assert [(each.why.code, each.why.needed_by, each.selected) for each in plan.skipped] == [
        (SkipReason.FACT_UNKNOWN, "exclude", True)
    ]
    plan = plan_of(ALL, fleet, narrowing=narrow("app_id=a1"))
    assert [(each.why.code, each.why.needed_by, each.selected) for each in plan.skipped] == [
        (SkipReason.FACT_UNKNOWN, "--only", False)
    ]


def test_narrowing_comes_before_guards() -> None:
    book = playbook({"all": "true"}, guards={"max_targets": "1", "protect": {"name": ["kms-*"]}})
    plan = plan_of(book, FLEET, narrowing=narrow("name=web-1"))
    assert all(check.ok for check in plan.guards)
    assert {check.name: check.value for check in plan.guards} == {"max_targets": 1, "protect": 0}


def test_record_gives_the_same_narrowing() -> None:
    narrowing = narrow("name=web-*", "teepod=2", exclude=("id=cvm_1",))
    fields = narrowing.document()
    assert fields == {"only": {"name": ["web-*"], "teepod": ["2"]}, "exclude": [{"id": "cvm_1"}]}
    assert Narrowing.from_record(fields) == narrowing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("naem=web", "unknown key 'naem'"),
        ("name", "takes KEY=VALUE"),
        ("name=", "takes KEY=VALUE"),
        ("gpus=many", "must be a number"),
        ("older_than=soon", "older_than"),
        ("any=x", "unknown key 'any'"),
        ("id=123", "is no identifier"),
    ],
)
def test_wrong_key_or_value_is_a_usage_error(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        narrow(text)
    assert message in error.value.message


def test_wrong_key_names_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        narrow("instance-typ=x")
    assert error.value.hint == "did you mean 'instance_type'?"


def test_select_of_ids_needs_only_these_cvms() -> None:
    assert find_ids_to_read([Select.model_validate({"id": ["cvm_1", "cvm_2"]})]) == ["cvm_1", "cvm_2"]
    assert find_ids_to_read([Select.model_validate({"name": ["a"]})]) is None


LISTED = [
    cvm(1, "web-1", gpus=0, region="eu"),
    cvm(2, "web-2", gpus=2, region="us"),
    cvm(3, "kms-1", "stopped", gpus=1),
]


def select_of(selectors: dict[str, list[str]], *excludes: str) -> Select:
    return Select.model_validate(build_select(selectors, excludes))


def names(selectors: dict[str, list[str]], *excludes: str) -> list[str]:
    select = select_of(selectors, *excludes)
    return [each.ref.name for each in LISTED if is_covered(select, each)]


def test_options_become_a_select() -> None:
    select = build_select({"teepod": ["a", "b"], "older_than": ["7d"]}, ["name=kms-*", "id=cvm_1"])
    exclude = {"any": [{"name": ["kms-*"]}, {"id": ["cvm_1"]}]}
    assert select == {"teepod": ["a", "b"], "older_than": "7d", "exclude": exclude}


def test_selector_options_are_or_within_a_key_and_and_between_keys() -> None:
    assert names({}) == ["web-1", "web-2", "kms-1"]
    assert names({"name": ["web-1", "kms-*"]}) == ["web-1", "kms-1"]
    assert names({"name": ["web-*"], "gpus": [">0"]}) == ["web-2"]
    assert names({"status": ["stopped"]}) == ["kms-1"]


def test_each_exclude_removes_and_an_unknown_fact_may_be_excluded() -> None:
    assert names({}, "name=web-1", "gpus=2") == ["kms-1"]
    assert names({}, "id=cvm_1", f"id={3:032X}") == ["web-2"]
    assert names({"status": ["running"]}, "instance-type=x") == []
    assert names({}, "region=eu") == ["web-2"]
    assert find_unknown_fact(select_of({}, "region=eu"), LISTED[2]) == "region"


EXCLUDES = [
    "name=web-*",
    "id=cvm_2",
    "gpus=>1",
    "region=eu",
    "status=stopped",
    "instance-type=x",
    "created_before=2026-01-01",
]


@pytest.mark.parametrize("text", EXCLUDES)
def test_exclude_means_the_same_for_a_playbook_and_for_selector_options(text: str) -> None:
    narrowing = narrow(exclude=(text,))
    assert names({}, text) == [each.ref.name for each in LISTED if narrowing.narrow(each, None) is None]


@pytest.mark.parametrize(
    ("selectors", "excludes", "words"),
    [
        ({"gpus": ["many"]}, [], "--gpus: must be a number"),
        ({"name": ["web-1", ""]}, [], "--name: "),
        ({"older_than": ["7"]}, [], "--older-than: '7' is a number without a unit"),
        ({"created_before": ["2026-01-01T10:00"]}, [], "--created-before: the time '2026-01-01T10:00' has no offset"),
        ({"app_id": ["web-*"]}, [], "--app-id: must be an app's id"),
        ({}, ["web-1"], "--exclude takes KEY=VALUE"),
        ({}, ["name="], "--exclude takes KEY=VALUE"),
        ({}, ["statuses=x"], "--exclude: unknown key 'statuses'"),
        ({}, ["all=true"], "--exclude: unknown key 'all'"),
        ({}, ["id=7"], "--exclude id: must be a hashid"),
        ({}, ["up_longer_than=12"], "--exclude up_longer_than: '12' is a number without a unit"),
    ],
)
def test_wrong_selector_option_is_named(selectors: dict[str, list[str]], excludes: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_select(selectors, excludes)
    assert words in caught.value.message


def test_every_key_of_a_select_is_a_key_of_options() -> None:
    assert set(KEYS) >= {"teepod", "app_id", "name", "status", "creator", "up_longer_than"}
    assert not {"any", "all", "exclude", "result"} & set(KEYS)


def test_hint_for_an_unknown_key_lists_every_key_once() -> None:
    with pytest.raises(UsageError) as raised:
        narrow(exclude=("qqqq=1",))
    assert raised.value.hint == f"known here: {', '.join(sorted(set(KEYS)))}"
