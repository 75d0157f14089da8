"""`reconcile RUN_ID`: what the stops of a run were charged, by the usage records of a cloud."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.billing.charges import TOLERANCE
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.usage import meter_usage
from tests.billing.meter import Style
from tests.e2e.other_cloud import OtherCloud, serving
from tests.e2e.site import Site, until
from tests.logs import records_in

STYLES = {
    "plain": Style(digits=6, counts_all=True),
    "odd": Style(stop="VM_Stopped", zone="", between=" ", dashes=False, keyed=False, newest_first=True, most=5),
}


def site_before(cloud: OtherCloud, folder: Path) -> Site:
    site = Site(folder, cast("BackgroundSimulator", cloud))
    site.environment["ORCHESTRATOR_RATE__REQUESTS_PER_SECOND"] = "100"
    return site


def stopped(site: Site) -> str:
    ended = site.run("run", site.playbook(), "--yes", "--json")
    assert ended.code == 0, ended.err
    run_id: str = ended.document["run_id"]
    return run_id


def reconciled(site: Site, run_id: str, code: int) -> Any:  # noqa: ANN401 - any JSON value
    ended = site.run("reconcile", run_id, "--json")
    assert ended.code == code, ended.err
    assert ended.document["exit_code"] == code
    return ended.document


def states(document: Any) -> list[str]:  # noqa: ANN401 - any JSON value
    return [each["state"] for each in document["targets"]]


def saved(site: Site) -> dict[str, Any]:
    charges: dict[str, Any] = site.run("savings", "--json").document["total"]["charges"]
    return charges


@pytest.mark.parametrize("style", STYLES)
def test_the_charges_of_a_cloud_that_is_none_of_ours_are_found_once_they_arrive_and_every_sum_is_its_own(
    style: str, tmp_path: Path
) -> None:
    with serving(STYLES[style]) as cloud:
        site = site_before(cloud, tmp_path)
        run_id = stopped(site)
        assert cloud.due > 1

        early = reconciled(site, run_id, 7)
        assert (states(early), early["total"]["charged_usd"]) == (["pending"] * 3, "0")
        assert (early["asked"], early["recorded"], early["next"]) == (2, 3, f"orchestrator reconcile {run_id}")
        assert reconciled(site, run_id, 7)["recorded"] == 0

        assert saved(site)["pending"] == 3

        cloud.arrive()
        late = reconciled(site, run_id, 0)
        assert states(late) == ["charged"] * 3
        assert Decimal(late["total"]["charged_usd"]) == cloud.due
        assert abs(Decimal(late["total"]["difference_usd"])) < Decimal("0.01")
        assert late["next"] is None

        reported = site.run("report", run_id, "--json").document["billing"]["total"]["charged"]
        assert {**reported, **late["total"]} == reported
        assert {**saved(site), **late["total"]} == saved(site)

        questions = len(cloud.asked)
        again = reconciled(site, run_id, 0)
        assert (again["asked"], again["recorded"], again["total"]) == (0, 0, late["total"])
        assert len(cloud.asked) == questions
        log = site.runs / f"{run_id}.jsonl"
        assert [each["event"] for each in records_in(log)][-6:] == ["billing.reconciled"] * 6
        assert site.run("audit", "verify", run_id).code == 0

        # Stopped again soon: less than a minute is not charged, and the first charge is not the second's.
        last_charge = max(
            datetime.fromisoformat(each["ts"]) for each in records_in(log) if each["event"] == "target.settled"
        )
        until(lambda: datetime.now(UTC) > last_charge + 2 * TOLERANCE)
        for number in range(3):
            cloud.start(number, datetime.now(UTC))
        second = reconciled(site, stopped(site), 7)
        assert second["total"]["charged_usd"] == "0"


def test_the_charges_in_the_simulator_are_found_even_after_a_line_that_was_cut_off_while_reconciling(
    site: Site,
) -> None:
    run_id = stopped(site)
    with site.log.open("ab") as log:
        log.write(b'{"event":"billing.reconc')
    assert site.run("audit", "verify", run_id).code == 7

    ended = site.run("reconcile", run_id)
    world = site.sim.world
    stops = [
        usage
        for cvm in world.cvms
        for usage in meter_usage(world, cvm, until=site.sim.now())
        if (usage.event_type, usage.usage_type) == ("stop", "compute")
    ]
    assert ended.code == (0 if len(stops) == 8 else 7)
    assert f"${sum(usage.cost for usage in stops):.2f} for {len(stops)} stops" in ended.out
    assert site.run("audit", "verify", run_id).code == 0


def unfinished(log: Path) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))


def altered(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b"web-1", b"web-x", 1))


def untouched(log: Path) -> None:
    assert log.exists()


REFUSED: list[tuple[Callable[[Path], None], dict[str, str], int, str]] = [
    (unfinished, {}, 2, "orchestrator resume "),
    (altered, {}, 2, "altered"),
    (untouched, {"PHALA_CLOUD_API_PREFIX": "http://127.0.0.1:9/api/v1"}, 2, "the run is for"),
    (untouched, {"PHALA_CLOUD_API_KEY": "phak_wrong"}, 5, "refuses the key"),
]


def test_what_cannot_be_asked_about_is_refused_with_what_to_do_and_nothing_is_added(site: Site) -> None:
    run_id = stopped(site)
    whole = site.log.read_bytes()
    for change, environment, code, words in REFUSED:
        site.log.write_bytes(whole)
        change(site.log)
        before = site.log.read_bytes()
        ended = site.run("reconcile", run_id, "--json", env=environment)
        assert ended.code == code
        assert words in json.dumps(ended.fault)
        assert site.log.read_bytes() == before
