"""Fault files: shipped files, their errors with lines, and the share of each fault."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.rehearsal.faults import NO_FAULTS, SHIPPED, FaultFile, find_faults, load_faults
from orchestrator.simulator.faults import Faults
from orchestrator.simulator.settings import parse_settings


@pytest.mark.parametrize("name", ["outage", "rough-day"])
def test_shipped_fault_files_are_found_by_name(name: str) -> None:
    found = load_faults(find_faults(name))
    assert found != NO_FAULTS
    assert found.description


def test_every_shipped_file_is_named_in_the_help() -> None:
    assert sorted(file.stem for file in SHIPPED.glob("*.yaml")) == ["outage", "rough-day"]


def test_an_unknown_name_lists_the_shipped_files() -> None:
    with pytest.raises(UsageError, match="no such fault file") as error:
        find_faults("rough-dya")
    assert error.value.hint == "did you mean 'rough-day'?"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("version: 2\n", 1, "version must be 1, not '2'"),
        ("faults: {timeout: 0.1}\n", 1, "the key 'version' is missing"),
        ("version: 1\nfaults:\n  eror_before: 0.1\n", 3, "unknown key 'eror_before' in faults"),
        ("version: 1\ncvms: {stuck: 2}\n", 2, "cvms.stuck must be at most 1.0, not '2'"),
        ("version: 1\ncvms: {stuck: 0.6, slow: 0.6}\n", 2, "cvms: the shares add up to more than 1"),
        ("version: 1\noutage: [{from: 1m}]\n", 2, "the key 'for' is missing in outage[0]"),
        ("version: 1\nkill_at: soon\n", 2, "kill_at[0]: 'soon' is not a duration; write seconds, or text such as"),
        ("version: 1\nversion: 1\n", 2, "the key 'version' stands twice, first in line 1"),
        ("", 1, "the fault file is empty"),
        ("- 1\n", 1, "a fault file is a mapping of keys to values"),
    ],
)
def test_a_broken_file_names_line_and_key(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        load_faults(file)
    assert error.value.message.startswith(message)
    assert (error.value.file, error.value.line) == (str(file), line)


def test_an_unknown_teepod_is_refused_with_the_nearest_name() -> None:
    faults = FaultFile.model_validate({"version": 1, "teepod_down": ["prod-11"]})
    with pytest.raises(UsageError, match="the fleet has no teepod 'prod-11'") as error:
        faults.require_teepods(["prod-1", "dev-2"])
    assert error.value.hint == "did you mean 'prod-1'?"


def test_shares_hold_for_all_requests_together() -> None:
    shares = {"error_before": 0.2, "reset_after": 0.2, "timeout": 0.2, "malformed": 0.4}
    faults = FaultFile.model_validate({"version": 1, "faults": shares}).faults
    drawn = Faults(parse_settings({"faults": faults.simulator_faults()}).faults, seed=1)
    counts = Counter(drawn.draw_fault("stop_cvm") for _ in range(10_000))
    assert counts[None] == 0
    for name, share in {"error_before": 0.2, "reset_after": 0.2, "hang_before": 0.1, "not_json": 0.4}.items():
        assert counts[name] / 10_000 == pytest.approx(share, abs=0.02)
