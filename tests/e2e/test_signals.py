"""Interrupted, terminated, hung up on, killed: nothing more is sent, nothing is lost, and `resume` finishes."""

import hashlib
import json
import signal
from collections.abc import Callable
from functools import partial

import httpx
import pytest
from dirty_equals import IsPartialDict

from orchestrator.audit.verify import Verdict, read_log
from tests.e2e.conftest import Finished, OpenSite, RunAll
from tests.e2e.site import NAMES, Ended, Process, Site, until


def under_way(site: Site, *, stops: int = 3) -> Process:
    """A run that has sent so many of its stops, and has more to send."""
    process = site.start("run", site.playbook(rate=16, burst=1), "--yes", "--json")
    until(lambda: len(site.stops) >= stops or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def assert_finished_by_resume(site: Site) -> None:
    """`runs` says how to go on, `resume` does, and each CVM was stopped exactly once over all."""
    run_id = site.log.stem
    assert site.run("runs", "--unfinished", "--json").document == [
        IsPartialDict(run_id=run_id, state="unfinished", next=f"orchestrator resume {run_id}")
    ]
    assert read_log(site.log).verdict in {Verdict.UNFINISHED, Verdict.TORN}
    resumed = site.run("resume", run_id, "--yes", "--json")
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 8})
    assert site.effective == dict.fromkeys(NAMES, 1)
    assert read_log(site.log).verdict is Verdict.WHOLE


def told(*numbers: signal.Signals, stop_seconds: float) -> Callable[[OpenSite], tuple[Site, Ended]]:
    """A run that gets these signals, each once it has said what the one before it means."""

    def run(open_site: OpenSite) -> tuple[Site, Ended]:
        site = open_site(timing={"stop_seconds": [stop_seconds, stop_seconds]})
        process = under_way(site)
        process.send_signal(numbers[0])
        said = process.stderr
        assert said is not None
        for number in numbers[1:]:
            until(lambda: "exit at once" in said.readline())
            process.send_signal(number)
        return site, site.end(process, seconds=2 if numbers[1:] else 20)

    return run


@pytest.fixture(scope="module")
def runs(run_all: RunAll) -> Finished:
    """One run for each way of being told."""
    return run_all(
        {
            "SIGINT": told(signal.SIGINT, stop_seconds=0.5),
            "SIGTERM": told(signal.SIGTERM, stop_seconds=0.5),
            "SIGHUP": told(signal.SIGHUP, stop_seconds=0.2),
            "SIGKILL": told(signal.SIGKILL, stop_seconds=0.3),
            "SIGKILL, torn": told(signal.SIGKILL, stop_seconds=0.3),
            "twice": told(signal.SIGINT, signal.SIGTERM, stop_seconds=2.5),
        }
    )


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_told_once_it_sends_nothing_more_and_watches_what_was_sent(runs: Finished, number: str, code: int) -> None:
    site, ended = runs[number]
    sent = len(site.stops)
    assert ended.code == ended.document["exit_code"] == code
    assert 3 <= sent < 8
    assert ended.document["counts"] == {"settled": sent, "not_sent": 8 - sent}
    assert "Press Ctrl-C again to exit at once" in ended.err
    assert site.run("show", site.log.stem, "--json").document["exit_code"] == code
    assert_finished_by_resume(site)


def test_told_twice_it_leaves_at_once_and_the_first_signal_is_the_reason(runs: Finished) -> None:
    site, ended = runs["twice"]
    assert ended.code == ended.document["exit_code"] == 130
    assert ended.document["counts"]["unsettled"] >= 3
    assert site.records[-1]["event"] == "run.interrupted"
    assert_finished_by_resume(site)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_before_anything_was_sent_it_changes_nothing(
    open_site: OpenSite, number: signal.Signals, code: int
) -> None:
    site = open_site(timing={"latency": [600, 600]})
    process = site.start("run", site.playbook(), "--yes", "--json", env={"ORCHESTRATOR_CLOUD__TIMEOUT": "600"})
    until(lambda: site.sim._server.server_state.connections)
    process.send_signal(number)
    assert site.end(process) == Ended(code, "", "\nInterrupted; nothing was changed.\n")
    site.assert_nothing_happened()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_right_after_the_log_has_begun_names_the_run_and_how_to_go_on(
    open_site: OpenSite, number: signal.Signals
) -> None:
    site = open_site()
    process = site.start("run", site.playbook(rate=2, burst=1), "--yes")
    until(lambda: list(site.runs.glob("*.jsonl")))
    process.send_signal(number)
    ended = site.end(process)
    assert ended.code == 128 + number
    assert f"orchestrator resume {site.log.stem}" in ended.out
    assert "nothing was changed" not in ended.err
    assert_finished_by_resume(site)


def test_a_job_of_a_script_ignores_ctrl_c_and_heeds_sigterm(open_site: OpenSite) -> None:
    site = open_site(timing={"latency": [600, 600]})
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    process = site.start("plan", site.playbook(), env={"ORCHESTRATOR_CLOUD__TIMEOUT": "600"}, prepare=ignore)
    until(lambda: site.sim._server.server_state.connections)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert site.end(process) == Ended(143, "", "Interrupted; nothing was changed.\n")


def test_a_lost_terminal_loses_nothing(runs: Finished) -> None:
    _, ended = runs["SIGHUP"]
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 8})


@pytest.mark.parametrize("torn", [False, True])
def test_killed_in_the_middle_it_is_resumed_with_one_stop_a_cvm(runs: Finished, *, torn: bool) -> None:
    site, _ = runs["SIGKILL, torn" if torn else "SIGKILL"]
    half = b'{"action":"stop","cvm":{"app_'
    if torn:
        with site.log.open("ab") as log:
            log.write(half)
    lines = len(site.log.read_bytes().splitlines())
    assert_finished_by_resume(site)
    resumed = json.loads(site.log.read_bytes().splitlines()[lines])
    assert resumed["event"] == "run.resumed"
    named = {"line": lines, "bytes": len(half), "sha256": hashlib.sha256(half).hexdigest()}
    assert resumed.get("torn") == (named if torn else None)


def test_a_run_that_is_going_on_cannot_be_resumed_by_another_process(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [600, 600]})
    process = under_way(site, stops=8)
    second, runs, show = site.run_each(
        ("resume", site.log.stem, "--yes", "--json"), ("runs", "--json"), ("show", site.log.stem)
    )
    assert "running" in show.out
    assert (second.code, second.fault["code"]) == (3, "run_held")
    assert runs.document[0]["state"] == "running"
    for cvm in site.sim.world.cvms:
        site.sim.world.set_status(cvm, "stopped", site.sim.now())
    assert site.end(process).code == 0
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_an_old_plan_is_not_resumed_without_a_yes(site: Site) -> None:
    process = under_way(site)
    process.send_signal(signal.SIGINT)
    site.end(process)
    sent = len(site.stops)
    old = {"ORCHESTRATOR_AUDIT__RESUME_WITHOUT_ASKING": "0.001"}
    refused = site.run("resume", site.log.stem, "--json", env=old)
    assert (refused.code, refused.fault["code"]) == (3, "not_confirmed")
    assert len(site.stops) == sent
    assert site.events()["run.resumed"] == 0
    assert site.run("resume", site.log.stem, "--json").code == 0


def test_what_others_stopped_meanwhile_is_left_alone_by_resume(site: Site) -> None:
    process = under_way(site)
    process.send_signal(signal.SIGINT)
    waiting = [each["cvm"] for each in site.end(process).document["targets"] if each["outcome"] == "not_sent"]
    control = f"{site.sim.url.removesuffix('/api/v1')}/__simulator__/cvms/{waiting[0]['id']}"
    assert httpx.post(control, json={"status": "stopped"}).status_code == 200
    before = len(site.stops)
    resumed = site.run("resume", site.log.stem, "--yes", "--json")
    assert resumed.code == 0
    assert resumed.document["counts"]["skipped"] == 1
    assert len(site.stops) == before + len(waiting) - 1
    assert site.effective[waiting[0]["name"]] == 0


def test_a_run_is_not_resumed_on_another_cloud(site: Site) -> None:
    process = under_way(site)
    process.send_signal(signal.SIGINT)
    site.end(process)
    other = {"PHALA_CLOUD_API_PREFIX": site.sim.url.replace("127.0.0.1", "localhost")}
    ended = site.run("resume", site.log.stem, "--yes", "--json", env=other)
    assert (ended.code, "use the cloud.base_url" in ended.fault["hint"]) == (2, True)


def test_a_run_of_which_many_cvms_were_deleted_is_resumed_all_the_same(site: Site) -> None:
    process = under_way(site, stops=1)
    process.send_signal(signal.SIGINT)
    site.end(process)
    unsent = [cvm for cvm in site.sim.world.cvms if not cvm.effective_stops]
    for cvm in unsent[:-1]:
        site.sim.world.delete_cvm(cvm, site.sim.now())
    resumed = site.run("resume", site.log.stem, "--yes", "--json")
    gone = len(unsent) - 1
    assert gone >= 4
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": len(NAMES) - gone, "gone": gone})


def test_a_key_that_knows_not_one_of_the_open_cvms_ends_nothing(site: Site) -> None:
    process = under_way(site, stops=1)
    process.send_signal(signal.SIGINT)
    site.end(process)
    for cvm in list(site.sim.world.cvms):
        site.sim.world.delete_cvm(cvm, site.sim.now())
    resumed = site.run("resume", site.log.stem, "--yes", "--json")
    assert (resumed.code, resumed.fault["code"]) == (5, "cloud")
    assert site.events()["run.resumed"] == 0
