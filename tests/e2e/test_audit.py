"""The audit log: it says exactly what the server saw, and betrays every change made to it afterwards."""

import stat
from collections import Counter
from collections.abc import Iterator

import pytest
from dirty_equals import IsPartialDict

from tests.e2e.conftest import OpenSite, RunAll
from tests.e2e.site import QUICK, Ended, Site, until

ANSWERS = {"action.accepted", "action.refused", "action.deferred", "action.unknown", "action.failed"}
TROUBLE = {
    "faults": {
        "error_before": {"probability": 0.2, "operations": ["stop_cvm"], "limit": 2},
        "reset_after": {"probability": 0.2, "operations": ["stop_cvm"], "limit": 2},
        "unavailable": {"probability": 0.1, "operations": ["stop_cvm"], "limit": 1},
    },
    "behaviour": [{"kind": "busy", "names": ["web-2"], "attempts": 1}, {"kind": "refuses", "names": ["web-5"]}],
}


@pytest.fixture(scope="module")
def original(run_all: RunAll) -> Site:
    """A site with the log of a run that went well."""

    def run(open_site: OpenSite) -> tuple[Site, Ended]:
        site = open_site()
        return site, site.run("run", site.playbook(), "--yes")

    ((site, ended),) = run_all({"well": run}).values()
    assert ended.code == 0
    return site


@pytest.fixture
def audited(original: Site) -> Iterator[Site]:
    """The same, for a test that may spoil the log."""
    log, written = original.log, original.log.read_bytes()
    yield original
    log.write_bytes(written)


def test_the_log_and_the_server_agree_on_every_request_one_to_one(open_site: OpenSite) -> None:
    site = open_site(**TROUBLE)
    assert site.run("run", site.playbook(), "--yes").code == 6
    intents = [record for record in site.records if record["event"] == "action.intent"]
    assert Counter(record["cvm"]["id"] for record in intents) == Counter(site.stops)
    assert len(intents) > 8
    for cvm, sent in Counter(site.stops).items():
        assert [record["attempt"] for record in intents if record["cvm"]["id"] == cvm] == list(range(1, sent + 1))

    answers = [record for record in site.records if record["event"] in ANSWERS and not record.get("observed")]
    assert Counter((each["cvm"]["id"], each["attempt"]) for each in answers) == Counter(
        (each["cvm"]["id"], each["attempt"]) for each in intents
    )
    seen = {each.request_id: each.status for each in site.sim.requests if each.operation == "stop_cvm"}
    told = {each["request_id"]: each["http_status"] for each in answers if each.get("request_id")}
    assert told == {request_id: status for request_id, status in seen.items() if request_id in told}
    assert set(seen.values()) - set(told.values()) <= {0}


def test_the_log_begins_with_who_started_what_and_exactly_what_was_planned(audited: Site) -> None:
    started, planned = audited.records[:2]
    assert started == IsPartialDict(
        v=1,
        seq=1,
        event="run.started",
        run_id=audited.log.stem,
        prev="0" * 64,
        playbook=IsPartialDict(name="everything", path=str(audited.folder / "playbook.yaml")),
        vars={},
        cloud_url=audited.sim.url,
        limits=IsPartialDict(requests_per_second=200, burst=50, max_in_flight=20, per_teepod=20),
    )
    assert {"actor", "version", "ts", "hash"} <= set(started)
    assert (planned["event"], len(planned["targets"]), planned["skipped"]) == ("run.planned", 8, [])
    assert audited.events() == IsPartialDict(
        {"action.intent": 8, "action.accepted": 8, "target.settled": 8, "run.finished": 1}
    )
    for record in audited.records:
        if record["event"] == "action.accepted":
            assert set(record["billing"]) == {
                "triggered", "at", "compute_usd_per_hour", "storage_usd_per_hour", "rate_source", "notes",
            }  # fmt: skip


def test_the_log_is_for_its_owner_alone(audited: Site) -> None:
    assert stat.S_IMODE(audited.log.stat().st_mode) == 0o600
    assert stat.S_IMODE(audited.runs.stat().st_mode) == 0o700


def altered(lines: list[bytes], how: str) -> tuple[list[bytes], int]:
    """The lines of a log after somebody was at it, and the first line that gives it away."""
    if how == "a byte changed":
        return [*lines[:4], lines[4].replace(b"web-", b"wob-", 1), *lines[5:]], 5
    if how == "a line dropped":
        return [*lines[:6], *lines[7:]], 7
    if how == "two lines swapped":
        return [*lines[:2], lines[3], lines[2], *lines[4:]], 3
    return [*lines, lines[-1]], len(lines) + 1


@pytest.mark.parametrize("how", ["a byte changed", "a line dropped", "two lines swapped", "a line repeated"])
def test_what_was_altered_is_found_and_named_by_line(audited: Site, how: str) -> None:
    lines, line = altered(audited.log.read_bytes().splitlines(keepends=True), how)
    audited.log.write_bytes(b"".join(lines))
    ended = audited.run("audit", "verify", audited.log.stem)
    assert (ended.code, f"ALTERED at line {line}:" in ended.out) == (6, True)


def test_what_was_altered_is_neither_shown_nor_resumed(audited: Site) -> None:
    audited.log.write_bytes(audited.log.read_bytes().replace(b"web-1", b"web-9", 1))
    show, resume, runs = audited.run_each(
        ("show", audited.log.stem, "--json"), ("resume", audited.log.stem, "--json"), ("runs", "--json")
    )
    assert (show.code, show.fault["line"]) == (resume.code, resume.fault["line"]) == (2, 2)
    assert runs.document[0]["state"] == "altered"


@pytest.mark.parametrize(("cut", "words"), [(10, "torn at line"), (1, "its newline is missing")])
def test_a_log_that_was_cut_off_is_whole_so_far_and_torn(audited: Site, cut: int, words: str) -> None:
    audited.log.write_bytes(audited.log.read_bytes()[:-cut])
    ended = audited.run("audit", "verify", audited.log.stem, "--json")
    assert (ended.code, ended.document["verdict"]) == (7, "torn")
    assert words in audited.run("audit", "verify", str(audited.log)).out


def test_a_log_without_its_last_line_is_unfinished(audited: Site) -> None:
    audited.log.write_bytes(b"".join(audited.log.read_bytes().splitlines(keepends=True)[:-1]))
    assert audited.run("audit", "verify", audited.log.stem).code == 7
    resumed = audited.run("resume", audited.log.stem, "--json")
    assert (resumed.code, resumed.document["counts"]) == (0, {"settled": 8})
    assert set(audited.effective.values()) == {1}


def test_a_log_without_a_plan_means_that_nothing_was_sent(audited: Site) -> None:
    audited.log.write_bytes(audited.log.read_bytes().splitlines(keepends=True)[0])
    assert audited.run("runs", "--json").document[0]["state"] == "not_sent"
    ended = audited.run("resume", audited.log.stem, "--json")
    assert (ended.code, "nothing was sent" in ended.fault["message"]) == (3, True)


def test_a_log_that_is_deleted_meanwhile_ends_the_run(open_site: OpenSite) -> None:
    site = open_site(timing={**QUICK, "latency": [0.1, 0.1]})
    process = site.start("run", site.playbook(rate=10, burst=1), "--yes", "--json")
    until(lambda: site.stops)
    site.log.unlink()
    ended = site.end(process)
    assert (ended.code, "deleted while the run was going on" in ended.err) == (8, True)
    assert len(site.stops) < 8
