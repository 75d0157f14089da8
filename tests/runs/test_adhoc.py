"""Ad-hoc orders: names of CVMs, and playbooks in memory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.action import Action
from orchestrator.cli.cvm_list import read_names
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.errors import UsageError
from orchestrator.playbook.plan import Plan
from orchestrator.runs.adhoc import build_playbook, resolve_names
from orchestrator.runs.prepare import find_refusal
from tests.playbook.fleet import cvm
from tests.playbook.plans import plan_of

APP = "a" * 40
FLEET = [cvm(1, "web-1"), cvm(2, "web-2", app=APP), cvm(3, "twin"), cvm(4, "twin"), cvm(5, "kms-1")]
INSTANCE = "b" * 40


@pytest.mark.parametrize("name", ["web-2", "cvm_2", f"{2:032x}", "00000000-0000-0000-0000-000000000002"])
def test_a_cvm_is_named_by_name_hashid_or_uuid(name: str) -> None:
    assert resolve_names([name], FLEET) == [FLEET[1]]


def test_a_cvm_is_named_by_instance_id() -> None:
    known = cvm(9, "db-1", instance_id=INSTANCE)
    assert resolve_names([INSTANCE], [*FLEET, known]) == [known]


def test_two_names_of_a_cvm_count_once() -> None:
    assert resolve_names(["web-1", "cvm_1", "web-1"], FLEET) == [FLEET[0]]


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("web-3", "there is no CVM 'web-3'", "did you mean web-"),
        ("twin", "2 CVMs have the name 'twin'", "cvm_3 (twin, prod-1), cvm_4"),
        (APP, "is an app_id, not a CVM", "cvm_2 (web-2, prod-1)"),
        ("4711", "there is no CVM '4711'", "is no identifier"),
        ("web-*", "there is no CVM 'web-*'", "web-"),
    ],
)
def test_a_wrong_name_is_refused_with_candidates(name: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve_names([name], FLEET)
    assert message in error.value.message
    assert hint in (error.value.hint or "")


def test_the_playbook_is_ordinary_and_has_no_file() -> None:
    loaded = build_playbook(Action.STOP, {"id": ["cvm_1"]})
    assert (loaded.playbook.name, loaded.path) == ("ad-hoc stop", None)
    assert json.loads(loaded.data)["steps"][0]["select"] == {"id": ["cvm_1"]}


def make_plan_of(names: list[str], fleet: list[Cvm]) -> Plan:
    loaded = build_playbook(Action.STOP, {"id": names})
    book = loaded.playbook.model_copy(update={"guards": PROTECT})
    return plan_of(book, fleet)


PROTECT = build_playbook(Action.STOP, {"id": ["x"]}).playbook.guards.model_validate({"protect": {"name": ["kms-*"]}})


def test_only_protected_cvms_are_refused() -> None:
    refusal = find_refusal(make_plan_of(["cvm_5"], FLEET), is_named=True)
    assert refusal is not None
    assert refusal.exit_code == 3
    assert "kms-1: protected by name kms-*" in refusal.message
    assert find_refusal(make_plan_of(["cvm_5", "cvm_1"], FLEET), is_named=True) is None


def test_file_of_cvms_skips_blanks_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    file.write_bytes(b"\xef\xbb\xbf# ours\r\nweb-1\r\n\r\n  web-2  \r\n")
    assert read_names((), (str(file),)) == ["web-1", "web-2"]


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"\xff\xfe", b"a\0b", b"x" * 10_000_001])
def test_unusable_file_of_cvms_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "ids"
    file.write_bytes(data)
    with pytest.raises(UsageError):
        read_names((), (str(file),))


def test_hashids_differ_by_case_and_by_dashes() -> None:
    twins = [
        replace(cvm(number, f"web-{number}"), ref=CvmRef(hashid, f"{number:032x}", f"web-{number}"))
        for number, hashid in enumerate(["cvm_AbC1", "cvm_aBc1", "cvm_x-y", "cvm_xy"])
    ]
    for twin in twins:
        assert resolve_names([twin.ref.address], twins) == [twin]
    with pytest.raises(UsageError):
        resolve_names(["CVM_AbC1"], twins)


def test_several_files_of_cvms_are_read_and_stdin_once(tmp_path: Path) -> None:
    files = (tmp_path / "a", tmp_path / "b")
    for file in files:
        file.write_text(f"web-{file.name}\n")
    assert read_names(("db-1",), tuple(map(str, files))) == ["db-1", "web-a", "web-b"]
    with pytest.raises(UsageError, match="given twice"):
        read_names((), ("-", "-"))
