"""Evidence that leaves the machine: sealed, checked with the public key, exported, told as a story, and pruned."""

import csv
import json
import os
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenDesk, RunAll
from tests.e2e.desk import COMMAND, Desk, Ended

TROUBLE = {"behaviour": [{"kind": "refuses", "names": ["web-5"]}, {"kind": "busy", "names": ["web-2"], "attempts": 1}]}


@pytest.fixture(scope="module")
def finished(run_all: RunAll) -> Desk:
    """A desk with the log of a run in which one CVM refused, and a pair of keys."""

    def run(open_desk: OpenDesk) -> tuple[Desk, Ended]:
        desk = open_desk(**TROUBLE)
        return desk, desk.run("run", desk.playbook(), "--yes")

    ((desk, ended),) = run_all({"well": run}).values()
    assert ended.code == 6
    assert desk.run("audit", "keygen", "--out", "seal.pem").code == 0
    return desk


@pytest.fixture
def desk(finished: Desk, tmp_path: Path) -> Desk:
    """The same with a state folder of its own, which a test may spoil."""
    desk = Desk(finished.folder, finished.sim)
    desk.state = tmp_path / "state"
    desk.runs = desk.state / "runs"
    shutil.copytree(finished.state, desk.state)
    desk.environment["ORCHESTRATOR_STATE_DIR"] = str(desk.state)
    return desk


def verify(desk: Desk, *more: str) -> Ended:
    return desk.run("audit", "verify", desk.log.stem, "--public-key", "seal.pub.pem", *more)


def test_a_sealed_log_holds_until_its_end_is_cut_off_or_another_takes_its_place(desk: Desk, tmp_path: Path) -> None:
    run_id, unsealed = desk.log.stem, desk.log.read_bytes()
    kept = tmp_path / "kept.json"
    assert verify(desk).code == 6
    sealed = desk.run("audit", "seal", run_id, "--key", "seal.pem", "--json")
    assert (sealed.code, sealed.document["sealed"][0]["new"]) == (0, True)
    again = desk.run("audit", "seal", "--all", "--key", "seal.pem")
    assert (again.code, "no newer records" in again.out) == (0, True)
    good = verify(desk, "--json")
    lines = len(unsealed.splitlines())
    assert (good.code, good.document["seal"]["ok"], good.document["seal"]["covers"]["lines"]) == (0, True, lines)
    assert desk.run("audit", "verify", run_id).code == 0

    seal_file = desk.runs / f"{run_id}.seal.json"
    seal_file.rename(kept)
    desk.log.write_bytes(unsealed)
    cut = verify(desk)
    assert (cut.code, "NOT SEALED: there is no seal" in cut.out) == (6, True)
    assert verify(desk, "--seal", str(kept)).code == 0
    desk.log.write_bytes(b"".join(unsealed.splitlines(keepends=True)[:-3]))
    for ended in desk.run_each(
        ("audit", "verify", run_id, "--public-key", "seal.pub.pem"),
        ("audit", "verify", run_id, "--public-key", "seal.pub.pem", "--seal", str(kept)),
    ):
        assert ended.code == 6
    refused = desk.run("audit", "seal", run_id, "--key", "seal.pem", "--json")
    assert (refused.code, refused.fault["code"]) == (7, "unfinished")


def test_of_all_logs_one_that_was_sealed_and_is_gone_is_missed_unless_it_was_pruned(desk: Desk, tmp_path: Path) -> None:
    every = ("audit", "verify", "--all", "--public-key", "seal.pub.pem", "--seal", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    assert desk.run("audit", "seal", "--all", "--key", "seal.pem", "--out", str(tmp_path / "kept")).code == 0
    run_id, data = desk.log.stem, desk.log.read_bytes()
    whole = desk.run(*every, "--json")
    assert (whole.code, whole.document["missing"], len(whole.document["logs"])) == (0, [], 1)
    desk.log.unlink()
    gone = desk.run(*every)
    assert (gone.code, f"{run_id}: MISSING" in gone.out) == (6, True)
    (desk.runs / f"{run_id}.jsonl").write_bytes(data)
    assert desk.run("audit", "prune", "--older-than", "0s", "--unsealed", "--yes").code == 0
    pruned = desk.run(*every, "--json")
    assert (pruned.code, [each["run_id"] for each in pruned.document["missing"]]) == (0, [run_id])
    assert pruned.document["missing"][0]["pruned_at"] is not None


def test_an_altered_log_is_neither_sealed_nor_exported_nor_told_nor_pruned(desk: Desk) -> None:
    run_id = desk.log.stem
    desk.log.write_bytes(desk.log.read_bytes().replace(b"web-1", b"web-9", 1))
    ends = desk.run_each(
        ("audit", "seal", run_id, "--key", "seal.pem"),
        ("audit", "export", run_id, "--out", "never.jsonl"),
        ("audit", "show", run_id),
        ("audit", "export", run_id, "--even-altered", "--format", "jsonl"),
        ("audit", "prune", "--older-than", "0s", "--unsealed", "--unfinished", "--yes"),
    )
    assert [ended.code for ended in ends] == [6, 6, 6, 6, 0]
    assert all("altered" in ended.err and ":2:" in ended.err for ended in ends[:3])
    assert not (desk.folder / "never.jsonl").exists()
    assert (len(ends[3].out.splitlines()), "ALTERED at line 2" in ends[3].err) == (1, True)
    assert f"Kept: 1 log, altered\n  {desk.log.name}" in ends[4].out
    assert desk.log.exists()


def test_an_export_has_each_record_once_in_every_format(desk: Desk) -> None:
    ecs, raw, table, since = desk.run_each(
        ("audit", "export", "--all", "--out", "events.jsonl"),
        ("audit", "export", desk.log.stem, "--format", "jsonl"),
        ("audit", "export", str(desk.log), "--format", "csv"),
        ("audit", "export", "--all", "--since", "2099-01-01"),
    )
    assert [ended.code for ended in (ecs, raw, table)] == [0, 0, 0]
    events = [json.loads(line) for line in (desk.folder / "events.jsonl").read_text().splitlines()]
    assert [event["event"]["hash"] for event in events] == [record["hash"] for record in desk.records]
    assert len({event["event"]["id"] for event in events}) == len(events)
    assert raw.out == desk.log.read_text()
    assert [row["hash"] for row in csv.DictReader(StringIO(table.out))] == [each["hash"] for each in desk.records]
    assert (since.code, "--since" in since.err) == (2, True)


def test_no_export_or_report_takes_the_place_of_a_log_or_a_seal(desk: Desk, tmp_path: Path) -> None:
    log, seal, link = desk.log, desk.runs / f"{desk.log.stem}.seal.json", tmp_path / "events.jsonl"
    assert desk.run("audit", "seal", log.stem, "--key", "seal.pem").code == 0
    link.symlink_to(log)
    written = log.read_bytes(), seal.read_bytes()
    ends = desk.run_each(
        ("audit", "export", "--all", "--out", str(log)),
        ("audit", "export", "--all", "--out", str(link)),
        ("audit", "export", "--all", "--out", str(seal)),
        ("report", log.stem, "--out", str(seal)),
    )
    assert [ended.code for ended in ends] == [2, 2, 2, 2]
    assert all("name another file" in ended.err for ended in ends)
    assert (log.read_bytes(), seal.read_bytes()) == written


def test_what_is_called_like_a_log_and_is_no_file_holds_up_nothing(desk: Desk) -> None:
    run_id = desk.log.stem
    os.mkfifo(desk.runs / "20260101T000000Z-aaaa.jsonl")
    (desk.runs / "20260102T000000Z-bbbb.jsonl").mkdir()
    (desk.runs / "20260103T000000Z-cccc.jsonl").symlink_to("20260103T000000Z-cccc.jsonl")
    ends = desk.run_each(("audit", "verify", "--all"), ("runs", "--json"), ("audit", "export", "--all"))
    assert [ended.code for ended in ends] == [0, 0, 0]
    assert [each["run_id"] for each in ends[1].document] == [run_id]


def test_a_reader_that_goes_away_ends_an_export_without_a_word(desk: Desk) -> None:
    line = f"{COMMAND} audit export --all --format jsonl | head -1"
    ended = subprocess.run(["sh", "-c", line], env=desk.environment, capture_output=True, text=True, check=False)  # noqa: S607 - sh is in the path
    assert (json.loads(ended.stdout)["seq"], ended.stderr) == (1, "")


def test_a_story_is_told_of_the_run_and_of_one_cvm(desk: Desk) -> None:
    run, cvm, wrong, document = desk.run_each(
        ("audit", "show", desk.log.stem),
        ("audit", "show", desk.log.stem, "--cvm", "web-2"),
        ("audit", "show", desk.log.stem, "--cvm", "web-22"),
        ("audit", "show", desk.log.stem, "--cvm", "web-5", "--json"),
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


def test_pruning_asks_first_keeps_what_it_was_not_told_to_remove_and_leaves_a_record(desk: Desk) -> None:
    run_id = desk.log.stem
    unsealed = desk.run("audit", "prune", "--older-than", "0s", "--yes")
    assert "Kept: 1 log, not sealed to its end" in unsealed.out
    young = desk.run("audit", "prune", "--older-than", "90d", "--unsealed", "--yes")
    assert "Kept: 1 log, younger than that" in young.out
    assert desk.run("audit", "seal", run_id, "--key", "seal.pem").code == 0
    asked = desk.run("audit", "prune", "--older-than", "0s")
    assert (asked.code, desk.log.exists()) == (3, True)
    looked = desk.run("audit", "prune", "--older-than", "0s", "--dry-run", "--json")
    assert (looked.document["removed"], len(looked.document["to_remove"])) == ([], 1)
    gone = desk.run("audit", "prune", "--older-than", "0s", "--public-key", "seal.pub.pem", "--yes", "--json")
    assert (gone.code, gone.document["removed"]) == (0, [run_id])
    assert list(desk.runs.iterdir()) == []
    assert json.loads((desk.state / "pruned.jsonl").read_text())["run_id"] == run_id
    missing = desk.run("audit", "verify", run_id)
    assert (missing.code, "was pruned at" in missing.err) == (2, True)
