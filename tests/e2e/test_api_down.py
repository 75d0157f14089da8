"""An API that is down, or asks to wait: the command says so on stderr, and Ctrl-C ends it within seconds."""

import json
import signal
import time

import pytest

from tests.e2e.conftest import OpenSite
from tests.e2e.site import NAMES, Process, Site, until

SECONDS = 8
"""What *within seconds* means on a busy machine; the API would be down, or ask to wait, for minutes."""


def start(site: Site) -> Process:
    """A run that has sent some of its stops, and has more to send."""
    process = site.start("run", site.playbook(rate=16, burst=1), "--yes", "--json")
    until(lambda: len(site.stops) >= 3 or process.poll() is not None)
    return process


def said(process: Process, event: str) -> str:
    """Wait for this event on stderr; returns its note."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["event"] == event:
            return str(json.loads(line)["note"])
    raise AssertionError(f"{event} was never logged")


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(open_site: OpenSite) -> None:
    site = open_site()
    process = start(site)
    site.sim.app.faults.force("error_before", times=10)
    ended = site.end(process)
    assert ended.code == 0
    logged = {line["event"]: line for line in ended.logged if line["event"].startswith("api.")}
    assert [*logged] == ["api.down", "api.up"]
    assert {line["level"] for line in logged.values()} == {"warning"}
    note = logged["api.down"]["note"]
    assert note.startswith("The API is down (HTTP 5")
    assert note.endswith("next probe in 2s, the run gives up in 10m.")
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_ctrl_c_during_an_outage_ends_within_seconds_and_resume_finishes(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [1, 1]})
    process = start(site)
    site.sim.app.faults.force("error_before", times=10_000)
    said(process, "api.down")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    ended = site.end(process, seconds=30)
    assert time.monotonic() - begun < SECONDS
    assert ended.code == 130
    site.sim.app.faults._forced.clear()
    resumed = site.run("resume", site.log.stem, "--yes", "--json")
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 8})
    assert site.effective == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize("seconds", [120, 36_000])
def test_a_long_wait_that_the_api_asks_for_is_logged_and_ctrl_c_ends_it(open_site: OpenSite, seconds: int) -> None:
    site = open_site(timing={"stop_seconds": [60, 60]}, faults={"retry_after_seconds": seconds})
    process = start(site)
    site.sim.app.faults.force("throttle", operation="stop_cvm", times=1)
    note = said(process, "api.wait")
    assert note.startswith("The API asked to wait (Retry-After): no request goes for ")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert site.end(process, seconds=30).code == 130
    assert time.monotonic() - begun < SECONDS


def test_plan_says_that_the_api_asked_it_to_wait(open_site: OpenSite) -> None:
    site = open_site(faults={"retry_after_seconds": 120})
    site.sim.app.faults.force("throttle", operation="list_cvms_paginated", times=1)
    process = site.start("plan", site.playbook())
    assert "asked to wait" in said(process, "api.wait")
    process.send_signal(signal.SIGINT)
    assert site.end(process, seconds=30).code == 130


def test_a_guest_that_shut_down_while_no_status_could_be_read_is_not_force_stopped(open_site: OpenSite) -> None:
    site = open_site(timing={"shutdown_seconds": [1.5, 1.5]})
    file = site.folder / "shutdown.yaml"
    step = "{action: shutdown, select: {all: true}, escalate: {after: 3s}, settle: {timeout: 60s}}"
    file.write_text(f"name: down\nlimits: {{requests_per_second: 100, burst: 20}}\nsteps: [{step}]\n")
    process = site.start("run", str(file), "--yes", "--json")
    until(lambda: sum(request.operation == "shutdown_cvm" for request in site.sim.requests) == len(NAMES))
    site.sim.app.faults.force("error_before", times=10_000)
    begun = site.sim.now()
    until(lambda: site.sim.now() > begun + 4)
    site.sim.app.faults._forced.clear()
    ended = site.end(process, seconds=60)
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})
    assert not site.stops
    assert not site.events()["action.escalated"]
