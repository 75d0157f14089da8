"""Evidence that leaves the machine: sealed, checked with the public key, exported, told as a story, and pruned."""

import csv
import json
import os
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSite, RunAll
from tests.e2e.site import COMMAND, Ended, Site

TROUBLE = {"behaviour": [{"kind": "refuses", "names": ["web-5"]}, {"kind": "busy", "names": ["web-2"], "attempts": 1}]}


@pytest.fixture(scope="module")
def finished(run_all: RunAll) -> Site:
    """A site with the log of a run in which one CVM refused, and a pair of keys."""

    def run(open_site: OpenSite) -> tuple[Site, Ended]:
        site = open_site(**TROUBLE)
        return site, site.run("run", site.playbook(), "--yes")

    ((site, ended),) = run_all({"well": run}).values()
    assert ended.code == 6
    assert site.run("audit", "keygen", "--out", "seal.pem").code == 0
    return site


@pytest.fixture
def site(finished: Site, tmp_path: Path) -> Site:
    """The same with a state folder of its own, which a test may spoil."""
    site = Site(finished.folder, finished.sim)
    site.state = tmp_path / "state"
    site.runs = site.state / "runs"
    shutil.copytree(finished.state, site.state)
    site.environment["ORCHESTRATOR_STATE_DIR"] = str(site.state)
    return site


def verify(site: Site, *more: str) -> Ended:
    return site.run("audit", "verify", site.log.stem, "--public-key", "seal.pub.pem", *more)


def test_a_sealed_log_holds_until_its_end_is_cut_off_or_another_takes_its_place(site: Site, tmp_path: Path) -> None:
    run_id, unsealed = site.log.stem, site.log.read_bytes()
    kept = tmp_path / "kept.json"
    assert verify(site).code == 6
    sealed = site.run("audit", "seal", run_id, "--key", "seal.pem", "--json")
    assert (sealed.code, sealed.document["sealed"][0]["new"]) == (0, True)
    again = site.run("audit", "seal", "--all", "--key", "seal.pem")
    assert (again.code, "no newer records" in again.out) == (0, True)
    good = verify(site, "--json")
    lines = len(unsealed.splitlines())
    assert (good.code, good.document["seal"]["ok"], good.document["seal"]["covers"]["lines"]) == (0, True, lines)
    assert site.run("audit", "verify", run_id).code == 0

    seal_file = site.runs / f"{run_id}.seal.json"
    seal_file.rename(kept)
    site.log.write_bytes(unsealed)
    cut = verify(site)
    assert (cut.code, "NOT SEALED: there is no seal" in cut.out) == (6, True)
    assert verify(site, "--seal", str(kept)).code == 0
    site.log.write_bytes(b"".join(unsealed.splitlines(keepends=True)[:-3]))
    for ended in site.run_each(
        ("audit", "verify", run_id, "--public-key", "seal.pub.pem"),
        ("audit", "verify", run_id, "--public-key", "seal.pub.pem", "--seal", str(kept)),
    ):
        assert ended.code == 6
    refused = site.run("audit", "seal", run_id, "--key", "seal.pem", "--json")
    assert (refused.code, refused.fault["code"]) == (7, "unfinished")


def test_of_all_logs_one_that_was_sealed_and_is_gone_is_missed_unless_it_was_pruned(site: Site, tmp_path: Path) -> None:
    every = ("audit", "verify", "--all", "--public-key", "seal.pub.pem", "--seal", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    assert site.run("audit", "seal", "--all", "--key", "seal.pem", "--out", str(tmp_path / "kept")).code == 0
    run_id, data = site.log.stem, site.log.read_bytes()
    whole = site.run(*every, "--json")
    assert (whole.code, whole.document["missing"], len(whole.document["logs"])) == (0, [], 1)
    site.log.unlink()
    gone = site.run(*every)
    assert (gone.code, f"{run_id}: MISSING" in gone.out) == (6, True)
    (site.runs / f"{run_id}.jsonl").write_bytes(data)
    assert site.run("audit", "prune", "--older-than", "0s", "--unsealed", "--yes").code == 0
    pruned = site.run(*every, "--json")
    assert (pruned.code, [each["run_id"] for each in pruned.document["missing"]]) == (0, [run_id])
    assert pruned.document["missing"][0]["pruned_at"] is not None


def test_an_altered_log_is_neither_sealed_nor_exported_nor_told_nor_pruned(site: Site) -> None:
    run_id = site.log.stem
    site.log.write_bytes(site.log.read_bytes().replace(b"web-1", b"web-9", 1))
    ends = site.run_each(
        ("audit", "seal", run_id, "--key", "seal.pem"),
        ("audit", "export", run_id, "--out", "never.jsonl"),
        ("audit", "show", run_id),
        ("audit", "export", run_id, "--even-altered", "--format", "jsonl"),
        ("audit", "prune", "--older-than", "0s", "--unsealed", "--unfinished", "--yes"),
    )
    assert [ended.code for ended in ends] == [6, 6, 6, 6, 0]
    assert all("altered" in ended.err and ":2:" in ended.err for ended in ends[:3])
    assert not (site.folder / "never.jsonl").exists()
    assert (len(ends[3].out.splitlines()), "ALTERED at line 2" in ends[3].err) == (1, True)
    assert f"Kept: 1 log, altered\n  {site.log.name}" in ends[4].out
    assert site.log.exists()


def test_an_export_has_each_record_once_in_every_format(site: Site) -> None:
    ecs, raw, table, since = site.run_each(
        ("audit", "export", "--all", "--out", "events.jsonl"),
        ("audit", "export", site.log.stem, "--format", "jsonl"),
        ("audit", "export", str(site.log), "--format", "csv"),
        ("audit", "export", "--all", "--since", "2099-01-01"),
    )
    assert [ended.code for ended in (ecs, raw, table)] == [0, 0, 0]
    events = [json.loads(line) for line in (site.folder / "events.jsonl").read_text().splitlines()]
    assert [event["event"]["hash"] for event in events] == [record["hash"] for record in site.records]
    assert len({event["event"]["id"] for event in events}) == len(events)
    assert raw.out == site.log.read_text()
    assert [row["hash"] for row in csv.DictReader(StringIO(table.out))] == [each["hash"] for each in site.records]
    assert (since.code, "--since" in since.err) == (2, True)


def test_no_export_or_report_takes_the_place_of_a_log_or_a_seal(site: Site, tmp_path: Path) -> None:
    log, seal, link = site.log, site.runs / f"{site.log.stem}.seal.json", tmp_path / "events.jsonl"
    assert site.run("audit", "seal", log.stem, "--key", "seal.pem").code == 0
    link.symlink_to(log)
    written = log.read_bytes(), seal.read_bytes()
    ends = site.run_each(
        ("audit", "export", "--all", "--out", str(log)),
        ("audit", "export", "--all", "--out", str(link)),
        ("audit", "export", "--all", "--out", str(seal)),
        ("report", log.stem, "--out", str(seal)),
    )
    assert [ended.code for ended in ends] == [2, 2, 2, 2]
    assert all("name another file" in ended.err for ended in ends)
    assert (log.read_bytes(), seal.read_bytes()) == written


def test_what_is_called_like_a_log_and_is_no_file_holds_up_nothing(site: Site) -> None:
    run_id = site.log.stem
    os.mkfifo(site.runs / "20260101T000000Z-aaaa.jsonl")
    (site.runs / "20260102T000000Z-bbbb.jsonl").mkdir()
    (site.runs / "20260103T000000Z-cccc.jsonl").symlink_to("20260103T000000Z-cccc.jsonl")
    ends = site.run_each(("audit", "verify", "--all"), ("runs", "--json"), ("audit", "export", "--all"))
    assert [ended.code for ended in ends] == [0, 0, 0]
    assert [each["run_id"] for each in ends[1].document] == [run_id]


def test_a_reader_that_goes_away_ends_an_export_without_a_word(site: Site) -> None:
    line = f"{COMMAND} audit export --all --format jsonl | head -1"
    ended = subprocess.run(["sh", "-c", line], env=site.environment, capture_output=True, text=True, check=False)  # noqa: S607 - sh is in the path
    assert (json.loads(ended.stdout)["seq"], ended.stderr) == (1, "")


def test_a_story_is_told_of_the_run_and_of_one_cvm(site: Site) -> None:
    run, cvm, wrong, document = site.run_each(
        ("audit", "show", site.log.stem),
        ("audit", "show", site.log.stem, "--cvm", "web-2"),
        ("audit", "show", site.log.stem, "--cvm", "web-22"),
        ("audit", "show", site.log.stem, "--cvm", "web-5", "--json"),
    )
    assert "web-5: refused" in run.out
    assert "finished: completed with problems (exit 6)" in run.out
    assert max(map(len, [*run.out.splitlines(), *cvm.out.splitlines()])) <= 100
    sentences = [line[24:] for line in cvm.out.splitlines() if line.startswith("  ") and line[2:3].strip()]
    assert [line.split()[0] for line in sentences] == [
        "planned",
        "asked",
        "asked",
        *["status"] * (len(sentences) - 5),
        "settled",
        "the",
    ]
    assert "deferred" in sentences[1]
    assert "accepted in" in sentences[2]
    assert (wrong.code, "web-2" in wrong.err) == (2, True)
    assert document.document["cvms"][0]["outcome"] == "refused"


def test_pruning_asks_first_keeps_what_it_was_not_told_to_remove_and_leaves_a_record(site: Site) -> None:
    run_id = site.log.stem
    unsealed = site.run("audit", "prune", "--older-than", "0s", "--yes")
    assert "Kept: 1 log, not sealed to its end" in unsealed.out
    young = site.run("audit", "prune", "--older-than", "90d", "--unsealed", "--yes")
    assert "Kept: 1 log, younger than that" in young.out
    assert site.run("audit", "seal", run_id, "--key", "seal.pem").code == 0
    asked = site.run("audit", "prune", "--older-than", "0s")
    assert (asked.code, site.log.exists()) == (3, True)
    looked = site.run("audit", "prune", "--older-than", "0s", "--dry-run", "--json")
    assert (looked.document["removed"], len(looked.document["to_remove"])) == ([], 1)
    gone = site.run("audit", "prune", "--older-than", "0s", "--public-key", "seal.pub.pem", "--yes", "--json")
    assert (gone.code, gone.document["removed"]) == (0, [run_id])
    assert list(site.runs.iterdir()) == []
    assert json.loads((site.state / "pruned.jsonl").read_text())["run_id"] == run_id
    missing = site.run("audit", "verify", run_id)
    assert (missing.code, "was pruned at" in missing.err) == (2, True)
