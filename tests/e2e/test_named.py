"""CVMs named on the command line, with the installed command and a cloud of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from tests.e2e.named_cloud import APPS, NamedCloud, serving
from tests.e2e.site import Ended, Site

NAMES = ("web-1", "web-2", "twin", "twin", "kms-1", "kms-2", "--all", "db-1")
PROTECT = ("--set", 'guards.protect.name=["kms-*"]')


@pytest.fixture
def cloud() -> Iterator[NamedCloud]:
    with serving(*NAMES) as cloud:
        yield cloud


@pytest.fixture
def site(cloud: NamedCloud, tmp_path: Path) -> Site:
    return Site(tmp_path, cast("BackgroundSimulator", cloud))


def test_first_stop_follows_one_read_per_id_and_no_list(cloud: NamedCloud, site: Site) -> None:
    ended = site.run("stop", "cvm_1", cloud.machines[1].uuid, "--expect", "2", "--json")
    assert ended.code == 0, ended.err
    first_stop = cloud.requests.index(cloud.changes[0])
    before = [each for each in cloud.requests[:first_stop] if each.startswith("GET /cvms")]
    assert sorted(before) == [f"GET /cvms/{cloud.machines[1].uuid}", "GET /cvms/cvm_1"]
    assert sorted(cloud.changes) == ["POST /cvms/cvm_1/stop", "POST /cvms/cvm_2/stop"]
    assert cloud.list_reads == []


def test_wrong_names_are_refused_with_candidates(cloud: NamedCloud, site: Site) -> None:
    cases = {
        "web-9": ("there is no CVM 'web-9'", "did you mean web-"),
        "twin": ("2 CVMs have the name 'twin'", "cvm_3 (twin, alpha), cvm_4 (twin, alpha)"),
        APPS[0]: ("is an app_id, not a CVM", "cvm_2 (web-2, alpha)"),
        f"app_{APPS[1]}": ("is an app_id, not a CVM", "cvm_1 (web-1, alpha)"),
        "3": ("there is no CVM '3'", "a number of the API is no identifier"),
        "cvm_99": ("there is no CVM 'cvm_99'", ""),
        "--yes": ("there is no CVM '--yes'", "options belong before --"),
    }
    ends = site.run_each(*(("stop", "--yes", "--json", "--", "web-1", name) for name in cases))
    for ended, (message, hint) in zip(ends, cases.values(), strict=True):
        assert ended.code == 2, ended.out
        assert message in ended.fault["message"]
        assert hint in (ended.fault["hint"] or "")
    assert cloud.changes == []


def test_an_id_that_the_api_reads_as_another_cvm_is_refused(cloud: NamedCloud, site: Site) -> None:
    cloud.wrong_identity = 2
    ended = site.run("stop", "cvm_1", "--yes", "--json")
    assert (ended.code, ended.fault["message"]) == (2, "the API reads 'cvm_1' as another CVM, or as several CVMs")
    assert cloud.changes == []


def test_an_id_that_several_cvms_match_is_refused(cloud: NamedCloud, site: Site) -> None:
    uuid = cloud.machines[0].uuid
    cloud.machines[1].name = uuid  # the API answers ERR-03-010
    ended = site.run("stop", uuid, "--yes", "--json")
    assert (ended.code, ended.fault["message"]) == (2, f"the API reads {uuid!r} as another CVM, or as several CVMs")
    assert cloud.changes == []


def test_a_name_that_looks_like_an_option_is_named_after_dashes(cloud: NamedCloud, site: Site) -> None:
    file = site.folder / "names"
    file.write_text("--all\n")
    ended = site.run("stop", "--expect", "2", "--from", "names", "--", "--all", "web-1")
    assert ended.code == 0, ended.err
    assert sorted(cloud.changes) == ["POST /cvms/cvm_1/stop", "POST /cvms/cvm_7/stop"]


def test_a_legacy_list_without_hashids_resolves_names(cloud: NamedCloud, site: Site) -> None:
    cloud.is_legacy = True
    ended = site.run("stop", "web-1", "--yes", "--json")
    assert ended.code == 0, ended.err
    assert cloud.changes == [f"POST /cvms/{cloud.machines[0].uuid}/stop"]


def test_protected_cvms_alone_are_refused_and_beside_others_skipped(cloud: NamedCloud, site: Site) -> None:
    alone: list[Ended] = site.run_each(
        ("stop", "kms-1", "kms-2", "--yes", "--json", *PROTECT),
        ("stop", "kms-1", "--out", "refused.plan", *PROTECT),
        ("stop", "kms-1", "web-1", "--out", "some.plan", *PROTECT),
    )
    assert [each.code for each in alone] == [3, 3, 0], [each.err for each in alone]
    assert "protected by name kms-*" in alone[0].out
    assert [each.name for each in site.folder.glob("*.plan")] == ["some.plan"]
    assert cloud.changes == []
    ended = site.run("stop", "kms-1", "web-1", "--yes", "--json", *PROTECT)
    assert ended.code == 0, ended.err
    assert cloud.changes == ["POST /cvms/cvm_1/stop"]
    codes = [each["code"] for each in site.records[1]["skipped"]]
    assert sorted(codes) == ["not_selected"] * 6 + ["protected"]


def test_cvms_already_down_leave_a_log_with_skipped(cloud: NamedCloud, site: Site) -> None:
    cloud.machines[0].status = "stopped"
    ended = site.run("stop", "cvm_1", "--yes", "--json")
    assert ended.code == 0, ended.err
    assert cloud.changes == []
    planned = next(each for each in site.records if each["event"] == "run.planned")
    assert [(each["cvm"]["id"], each["code"]) for each in planned["skipped"]] == [("cvm_1", "already_down")]


def test_survivors_of_a_plan_file_are_counted_in_the_whole_app(cloud: NamedCloud, site: Site) -> None:
    keep = ("--set", 'guards.keep_running=[{"per": "app_id", "min": 1}]')
    assert site.run("stop", "cvm_1", "-o", "one.plan", *keep).code == 0
    ended = site.run("run", "--plan", "one.plan", "--yes", "--json", *keep)
    assert ended.code == 0, ended.err
    assert cloud.changes == ["POST /cvms/cvm_1/stop"]
