"""A plan as a file: what is read is what was written, or it is refused."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import Cvm
from orchestrator.errors import PlanFileError
from orchestrator.playbook.frozen_plan import MARK
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.load import load_source
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.source import parse_source
from orchestrator.playbook.value_types import Share
from orchestrator.runs.plan_file import build_plan_file, compute_digest, format_plan_file, read_plan
from tests.docs.pages import ROOT, blocks
from tests.playbook.fleet import INVENTORIES, cvm
from tests.playbook.plans import LIMITS, plan_of
from tests.report.runs import EVIL

FILE = Path("p.plan")
TEXT = """\
name: démo
description: "Stop them."
vars: {which: "*"}
guards: {max_targets: 20, max_percent: "99.5", protect: {name: [kms-*]}}
steps:
  - action: stop
    select: {name: "${which}"}
    settle: {timeout: 90s}
"""
LOADED = load_source(parse_source(TEXT.encode(), Path("playbooks/demo.yaml")), {"which": "?*"})
OF_THE_SETTINGS = Guards.model_validate({"max_targets": 12, "protect": {"app_id": ["b2"]}})
GUARDS = merge_guards(LOADED.playbook.guards, OF_THE_SETTINGS)
LIMITED = [
    LIMITS,
    RunLimits(2.5, 1, 2, 3, Share.parse("12.5%"), dispatch="batch"),
    RunLimits(5.0, 5, 10, 10, Share.parse("0"), adaptive=True),
]


def planned(fleet: list[Cvm], limits: RunLimits = LIMITS, **more: Any) -> Plan:  # noqa: ANN401 - any argument
    return plan_of(LOADED.playbook, fleet, guards=GUARDS, limits=limits, **more)


def document(plan: Plan) -> dict[str, Any]:
    return build_plan_file(
        plan,
        LOADED,
        GUARDS,
        workspace_size=7,
        made_at=datetime(2026, 11, 23, 8, tzinfo=UTC),
        actor="me@here",
        version="1",
        cloud_url="https://cloud/api/v1",
        workspace={"workspace": "wks_1", "key_fingerprint": "0123456789abcdef"},
    )


@cache
def example() -> bytes:
    return format_plan_file(document(planned([cvm(1, "dev-1"), cvm(2, "kms-1"), cvm(3, status="stopped")])))


def refusal(data: bytes) -> str:
    with pytest.raises(PlanFileError) as caught:
        read_plan(data, FILE)
    assert (caught.value.file, caught.value.exit_code) == ("p.plan", 2)
    return caught.value.message


@given(INVENTORIES, st.sampled_from(LIMITED))
def test_a_plan_that_is_written_and_read_is_the_same_plan(fleet: list[Cvm], limits: RunLimits) -> None:
    plan = planned(fleet, limits)
    lock = read_plan(format_plan_file(document(plan)), FILE)
    assert (lock.loaded, lock.steps, lock.limits) == (LOADED, plan.steps, plan.limits)
    assert lock.guards.model_dump() == GUARDS.model_dump()
    assert [(each.step, each.action, each.cvm) for each in lock.targets] == [
        (each.step, each.action, each.cvm) for each in plan.targets
    ]
    again = lock.apply_to_plan(planned(fleet, limits, target_filter=lock.filter_target), now=lock.made_at, version="1")
    assert again == plan


def test_names_of_any_kind_come_back_and_nothing_of_them_reaches_a_terminal() -> None:
    fleet = [cvm(1, EVIL), cvm(2, "\ud800"), cvm(3, "é", instance_type="\ud83d")]
    data = format_plan_file(document(planned(fleet)))
    assert all(32 <= byte < 127 or byte == 10 for byte in data)
    lock = read_plan(data, FILE)
    plan = planned(fleet, target_filter=lock.filter_target)
    assert len(plan.targets) == 3


@given(st.data())
def test_any_byte_that_is_changed_put_in_or_taken_out_has_the_file_refused(data: st.DataObject) -> None:
    whole = example()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.binary(min_size=0, max_size=1))
    end = data.draw(st.sampled_from([place, place + 1]))
    spoilt = whole[:place] + byte + whole[end:]
    if spoilt != whole:
        refusal(spoilt)


def test_a_file_that_was_cut_off_anywhere_is_refused() -> None:
    whole = example()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        refusal(whole[:length])


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"max_targets": 12', '"max_targets": 99'),
        lambda text: text.replace("cvm_1", "cvm_4"),
        lambda text: text.replace('"version": "1"', '"version": "2"'),
        lambda text: text.replace('"v": 1', '"v": 1.0'),
        lambda text: text.replace('"actor"', '"actor": "you@there",\n  "actor"'),
        lambda text: text.replace("    ", "\t"),
        lambda text: text + "\n",
        lambda text: json.dumps(json.loads(text), indent=2),
        lambda text: text.replace('"me@here"', "NaN"),
        lambda text: text.replace('"me@here"', "[" * 100_000),
    ],
)
def test_an_edited_file_is_said_to_be_one(edit: Any) -> None:  # noqa: ANN401 - from text to text
    spoilt = edit(example().decode()).encode()
    assert spoilt != example()
    assert "edited or cut off" in refusal(spoilt) or not spoilt.startswith(MARK)


def test_another_file_is_said_to_be_no_plan() -> None:
    for data in (b"", b"{}", b"name: x\n", b"\xff\xfe"):
        assert refusal(data) == "this is not a plan file"


def test_a_file_of_a_later_format_is_left_to_the_version_that_made_it() -> None:
    later = {**document(planned([cvm()])), "v": 2}
    assert "format 2" in refusal(format_plan_file({**later, "digest": compute_digest(later)}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": [{"step": "x"}]}, "targets.0.action"),
        ({"targets": 5}, "targets"),
        ({"limits": {}}, "limits.requests_per_second"),
        ({"guards": {"max_targets": 0}}, "max_targets"),
        ({"steps": []}, "steps"),
        ({"made_at": "yesterday"}, "yesterday"),
        ({"playbook_text": ["name: x"], "vars": {}}, "steps"),
        ({"playbook_text": [*TEXT.split("\n"), "# more"]}, "the digest of the playbook in the plan file is wrong"),
        ({"vars": {"other": "x"}}, "no variable 'other'"),
    ],
)
def test_a_digest_that_was_reckoned_anew_does_not_make_nonsense_a_plan(change: dict[str, Any], words: str) -> None:
    """The digest guards against slips alone; what it lets through still has to be a plan."""
    changed = {**document(planned([cvm()])), **change}
    assert words in refusal(format_plan_file({**changed, "digest": compute_digest(changed)}))


def documented_check(path: Path) -> None:
    """Run the Python that the reference gives for checking a plan file."""
    (block,) = [block for block in blocks("python") if block.page == ROOT / "docs/reference/json.md"]
    exec(compile(block.text, str(block), "exec"), {"path": path})  # noqa: S102 - it is our own page


def test_the_documented_check_accepts_what_the_code_writes_and_no_edited_file(tmp_path: Path) -> None:
    file = tmp_path / "p.plan"
    file.write_bytes(example())
    documented_check(file)
    file.write_bytes(example().replace(b"cvm_1", b"cvm_4"))
    with pytest.raises(AssertionError):
        documented_check(file)


def test_every_field_of_the_file_stands_in_the_reference() -> None:
    reference = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
    section = reference.split("## Plan files")[1].split("## runs")[0]
    assert [key for key in json.loads(example()) if f"`{key}`" not in section] == []


def test_each_cvm_has_a_line_of_its_own_and_so_has_each_line_of_the_playbook() -> None:
    lines = example().decode().splitlines()
    assert sum('"cvm": {' in line for line in lines) == 3
    assert '    "  - action: stop",' in lines


def test_a_target_without_an_instance_type_is_told_from_one_with() -> None:
    lock = read_plan(example(), FILE)
    fleet = [replace(cvm(1, "dev-1"), instance_type="tdx.small")]
    (left,) = planned(fleet, target_filter=lock.filter_target).skipped
    assert left.reason == "changed: instance type was None, is tdx.small"
