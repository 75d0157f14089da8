"""`savings` and the choices of `runs`, with the installed command."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.simulator.usage import meter_usage
from tests.billing.meter import Style
from tests.e2e.conftest import OpenSite
from tests.e2e.other_cloud import serving
from tests.e2e.site import Site, until
from tests.e2e.test_reconcile import reconciled, site_before, stopped
from tests.logs import build_stop

QUICK = {"stop_seconds": [0.05, 0.2], "start_seconds": [0.05, 0.2]}


def savings(site: Site, *more: str) -> Any:  # noqa: ANN401 - any JSON value
    ended = site.run("savings", "--json", *more)
    assert ended.code == 0, ended.err
    return ended.document


def test_what_was_stopped_and_started_again_is_told_by_every_form_and_agrees_with_the_usage(
    open_site: OpenSite,
) -> None:
    site = open_site(timing=QUICK)
    run_id = stopped(site)
    still = savings(site)
    assert (still["total"]["cvms"], still["total"]["open"], still["not_known_yet"]) == (8, 8, [run_id])
    asked = site.run("reconcile", run_id, "--json").document
    restored = site.run("restore", run_id, "--yes", "--json")
    assert restored.code == 0, restored.err

    document = savings(site)
    total = document["total"]
    assert (total["times"], total["cvms"], total["open"], total["seen"]) == (8, 8, 0, 0)
    assert (document["runs"], [row["key"] for row in document["rows"]]) == (2, ["everything"])
    world = site.sim.world
    usage = [
        each.cost
        for cvm in world.cvms
        for each in meter_usage(world, cvm, until=site.sim.now())
        if (each.event_type, each.usage_type) == ("stop", "compute")
    ]
    assert total["charges"]["charged_usd"] == asked["total"]["charged_usd"]
    assert Decimal(total["charges"]["charged_usd"]) == sum(usage, Decimal(0))
    assert sum(total["charges"][each] for each in ("charged", "pending", "none", "unknown", "not_asked")) == 8

    text, rows, page, chart, by_teepod = site.run_each(
        ("savings",),
        ("savings", "--format", "csv", "--by", "app"),
        ("savings", "--format", "html", "--out", "-"),
        ("savings", "--format", "svg"),
        ("savings", "--by", "teepod", "--since", "1h", "--out", "here.txt"),
    )
    assert [each.code for each in (text, rows, page, chart, by_teepod)] == [0] * 5
    assert "8 CVMs stopped 8 times" in text.out
    assert "Saved compute: an estimate" in text.out
    hours = sum(Decimal(line["hours"]) for line in csv.DictReader(io.StringIO(rows.out)))
    assert abs(hours - Decimal(total["hours"])) < Decimal("0.0001")
    assert (by_teepod.out, by_teepod.err) == ("", "Written to here.txt.\n")
    assert "alpha" in (site.folder / "here.txt").read_text()
    assert page.out.startswith("<!DOCTYPE html>")
    assert "<svg" in chart.out

    site.state.joinpath("history.sqlite3").write_bytes(b"no index")
    again = savings(site)
    assert {key: again["total"][key] for key in ("times", "hours", "charges")} == {
        key: total[key] for key in ("times", "hours", "charges")
    }


def test_a_start_by_somebody_else_is_seen_live_or_by_the_next_run_and_said_to_be_an_upper_bound(
    open_site: OpenSite,
) -> None:
    site = open_site(timing=QUICK)
    stopped(site)
    world = site.sim.world
    world.set_status(world.find_by_name("web-1"), "running", site.sim.now())
    # Reads may lag by two seconds: what a list showed sooner proves nothing.
    log = json.loads(site.log.read_text().splitlines()[-1])
    later = datetime.fromisoformat(log["ts"]) + timedelta(seconds=2.1)
    until(lambda: datetime.now(UTC) > later)
    by_logs, live, unasked = site.run_each(
        ("savings", "--json"),
        ("savings", "--json", "--live"),
        ("savings", "--json", "--live"),
        envs=[None, None, {"PHALA_CLOUD_API_KEY": "phak_wrong"}],
    )
    told = [
        (each.document["live"], each.document["total"]["open"], each.document["total"]["seen"])
        for each in (by_logs, live)
    ]
    assert told == [(False, 8, 0), (True, 7, 1)]
    assert (unasked.code, unasked.fault["code"]) == (5, "cloud")
    site.run("run", site.playbook("{name: web-2}"), "--yes")
    document = savings(site)
    assert [document["total"][key] for key in ("times", "open", "seen")] == [8, 7, 1]
    assert any("upper bound" in sentence for sentence in document["assumptions"])


def test_charges_agree_to_the_cent_with_the_usage_of_a_cloud_that_is_none_of_ours(tmp_path: Path) -> None:
    with serving(Style(digits=6)) as cloud:
        site = site_before(cloud, tmp_path)
        run_id = stopped(site)
        reconciled(site, run_id, 7)
        early = savings(site)
        assert (early["total"]["charges"]["pending"], early["not_known_yet"]) == (3, [run_id])
        cloud.arrive()
        asked = reconciled(site, run_id, 0)["total"]
        document = savings(site)
        assert document["not_known_yet"] == []
        told = site.run("report", run_id, "--json").document["billing"]["total"]["charged"]["charged_usd"]
        assert told == asked["charged_usd"]
        charged = Decimal(document["total"]["charges"]["charged_usd"])
        assert charged == Decimal(asked["charged_usd"]) == cloud.due > 0
        assert sum(Decimal(row["charges"]["charged_usd"]) for row in document["rows"]) == charged


def test_runs_are_chosen_by_time_playbook_outcome_and_exit_code(site: Site) -> None:
    now = datetime.now(UTC)
    old = build_stop(now - timedelta(days=400), 1, playbook="nightly-stop")
    mixed = build_stop(now - timedelta(days=2), 1, 2, playbook="nightly-check")
    mixed.lines.pop()
    for made in (old, build_stop(now - timedelta(days=3), 1, playbook="weekly"), mixed):
        made.write(site.state)
    choices = {
        (): 3,
        ("--since", "30d"): 2,
        ("--since", "30d", "--until", "60h"): 1,
        ("--until", f"{now - timedelta(days=300):%Y-%m-%d}"): 1,
        ("--playbook", "nightly-*"): 2,
        ("--playbook", "nightly-*", "--playbook", "weekly"): 3,
        ("--outcome", "settled"): 3,
        ("--outcome", "failed", "--outcome", "refused"): 0,
        ("--exit-code", "0"): 2,
        ("--unfinished",): 1,
        ("--limit", "1"): 1,
    }
    ends = site.run_each(*(("runs", "--json", *choice) for choice in choices))
    assert [len(ended.document) for ended in ends] == list(choices.values())
    none, cut, *refused = site.run_each(
        ("runs", "--playbook", "x"),
        ("runs", "--limit", "2"),
        ("runs", "--since", "30", "--json"),
        ("savings", "--since", "1h", "--until", "2h", "--format", "json"),
        ("savings", "--json", "--out", str(next(site.runs.iterdir()))),
        ("savings", "--json", "--live", "--until", "2h"),
    )
    assert [(each.code, each.fault["code"]) for each in refused] == [(2, "usage")] * 4
    assert "No runs with these options" in none.out
    assert "There are more runs; show them with --limit 4." in cut.out
