"""A CVM's identifiers and status, in their normal forms."""

import pytest

from orchestrator.cvm import Cvm, CvmRef, is_down, normal_app_id, normal_uuid
from orchestrator.loopback import is_loopback


@pytest.mark.parametrize("written", ["aB12", "0xab12", "0XAB12", "app_ab12", "APP_0xAB12", " ab12 "])
def test_an_app_id_is_compared_without_prefix_and_case(written: str) -> None:
    assert normal_app_id(written) == "ab12"


def test_a_uuid_is_compared_without_dashes_and_case() -> None:
    assert normal_uuid("0A-b1") == normal_uuid("0ab1")


@pytest.mark.parametrize(
    ("status", "in_progress", "down"),
    [
        ("stopped", False, True),
        ("exited", False, True),
        ("stopped", True, False),
        ("stopping", False, False),
        ("Stopped", False, False),
        ("hibernated", False, False),
    ],
)
def test_only_stopped_or_exited_with_nothing_in_progress_is_down(status: str, *, in_progress: bool, down: bool) -> None:
    assert is_down(status, in_progress=in_progress) is down
    assert Cvm(ref=CvmRef("cvm_1", None, "a"), status=status, in_progress=in_progress).down is down


def test_a_cvm_is_addressed_by_hashid_else_by_uuid_and_never_by_name_or_app_id() -> None:
    assert CvmRef("cvm_1", "A-B", "name", "app").address == "cvm_1"
    assert CvmRef(None, "A-B", "name", "app").address == "A-B"
    assert CvmRef(None, None, "name", "app").address == ""


def test_a_cvm_reads_back_from_its_document() -> None:
    ref = CvmRef("cvm_1", "A-B", "name", "app", 3, "prod-1")
    assert CvmRef.of(ref.document()) == ref
    assert list(ref.document()) == ["id", "vm_uuid", "name", "app_id", "teepod_id", "teepod"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1"])
def test_loopback_can_only_be_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example.com", "128.0.0.1", "127.0.0.1.example.com", "0.0.0.0", "::2"])  # noqa: S104 - refused
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
