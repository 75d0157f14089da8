"""Selects by facts: instance type, region, creator, GPUs, price, age, uptime."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.playbook.select import Coverage, derive_facts, find_coverage, is_covered, needs_uptime, rewind_uptime
from tests.playbook.fleet import cvm
from tests.playbook.loading import playbook, refusal, select
from tests.playbook.plans import plan_of

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
FACTS: dict[str, Any] = {
    "instance_type": "tdx.Small",
    "region": "EU-west",
    "creator": "jane",
    "creator_id": "usr_1",
    "gpus": 2,
    "usd_per_hour": Decimal("1.50"),
    "created_at": NOW - timedelta(days=7, seconds=1),
    "age": 7 * 86400 + 1.0,
    "uptime": 3600.0,
}


@pytest.mark.parametrize(
    ("key", "yes", "no"),
    [
        ("instance_type", ["tdx.*", "TDX.SMALL"], ["h100*"]),
        ("region", ["eu-*", "EU-WEST"], ["us-*"]),
        ("creator", ["jane", "usr_?"], ["JANE", "joe"]),
        ("gpus", ["2", ">0", ">=2", "<3", "=2", 2], ["0", ">2", "<2"]),
        ("usd_per_hour", ["1.5", ">1", "<=1.50"], [">1.5", "0"]),
        ("older_than", ["7d", "1h"], ["8d"]),
        ("created_before", ["2026-05-26", "2026-05-25T14:00+02:00"], ["2026-05-25", "2026-05-25T11:59Z"]),
        ("up_longer_than", ["59m"], ["1h", "2h"]),
    ],
)
def test_a_key_matches_its_fact_and_an_unknown_fact_never_matches(
    key: str, yes: list[object], no: list[object]
) -> None:
    known, unknown = cvm(**FACTS), cvm()
    assert [is_covered(select(**{key: value}), known) for value in (*yes, *no)] == [True] * len(yes) + [False] * len(no)
    for value in (*yes, *no):
        assert not is_covered(select(**{key: value}), unknown)
        assert find_coverage(select(all="true", exclude={key: value}), unknown) is Coverage.UNSURE


@given(st.sampled_from(["", "=", "<", "<=", ">", ">="]), st.integers(0, 9), st.integers(0, 9))
def test_a_comparison_is_that_of_numbers(operator: str, number: int, gpus: int) -> None:
    met = {"<": gpus < number, "<=": gpus <= number, ">": gpus > number, ">=": gpus >= number}.get(
        operator, gpus == number
    )
    assert is_covered(select(gpus=f"{operator}{number}"), cvm(gpus=gpus)) is met


@pytest.mark.parametrize("status", ["stopped", "exited", "starting"])
def test_no_cvm_that_is_down_or_coming_up_is_up_longer(status: str) -> None:
    each = cvm(status=status)
    assert find_coverage(select(all="true", exclude={"up_longer_than": "1h"}), each) is Coverage.YES
    assert not needs_uptime(select(up_longer_than="1h"), each)


def test_uptimes_are_needed_only_where_they_decide() -> None:
    wanted = select(up_longer_than="1h", gpus=">0")
    assert needs_uptime(wanted, cvm(gpus=1))
    assert not needs_uptime(wanted, cvm(gpus=0))
    assert not needs_uptime(wanted, cvm(gpus=1, uptime=5.0))
    assert not needs_uptime(select(gpus=">0"), cvm())
    assert needs_uptime(select(any=[{"name": "x"}, {"up_longer_than": "1h"}]), cvm())
    assert needs_uptime(select(all="true", exclude={"up_longer_than": "1h"}), cvm())


def test_age_and_price_are_of_the_moment_of_the_plan() -> None:
    each = cvm(created_at=NOW - timedelta(hours=1), instance_type="a", uptime=60.0)
    found = derive_facts(each, moment=NOW, price_list={"a": Decimal(2)})
    assert (found.age, found.usd_per_hour) == (3600.0, Decimal(2))
    assert derive_facts(found, moment=NOW, price_list={"a": Decimal(2)}) == found
    assert [rewind_uptime(each, seconds).uptime for seconds in (20, 100)] == [40.0, 0.0]


def test_the_plan_counts_cvms_without_the_fact() -> None:
    plan = plan_of(
        playbook({"gpus": ">0", "region": "eu"}), [cvm(1, gpus=1, region="eu"), cvm(2, gpus=0), cvm(3, gpus=1)]
    )
    assert plan.unknown_facts == {"region": 1}
    assert [each.why.summary for each in plan.skipped][1] == "not matched: its region is not known"


@pytest.mark.parametrize(
    ("line", "at", "words"),
    [
        ("gpus: >0", 5, '">1.5"'),
        ("usd_per_hour: > 1", 5, '">1.5"'),
        ("gpus: many", 5, "a comparison such as"),
        ("usd_per_hour: '>-1'", 5, "in quotes"),
        ("created_before: 2026-01-01T10:00", 5, "has no offset"),
        ("created_before: soon", 5, "2027-12-24"),
        ("older_than: 0", 5, "above 0"),
        ("up_longer_than: long", 5, "duration"),
        ("instancetype: eu", 5, "did you mean 'instance_type'"),
    ],
)
def test_an_invalid_value_is_refused_with_its_line_and_a_hint(tmp_path: Path, line: str, at: int, words: str) -> None:
    error = refusal(tmp_path, f"name: x\nsteps:\n  - action: stop\n    select:\n      {line}\n")
    assert error.line == at
    assert words in f"{error.message} {error.hint}"


@pytest.mark.parametrize("key", ["gpus", "older_than", "region"])
def test_a_fact_beside_all_is_a_contradiction(key: str) -> None:
    with pytest.raises(ValidationError, match="contradict each other"):
        select(all="true", **{key: "1"})
