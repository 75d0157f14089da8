"""Commands over the team store, as a user meets them: the same results as over files."""

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from orchestrator.times import timestamp, utc_now
from tests.e2e.site import QUICK, STILL, Ended, Site, until
from tests.e2e.test_signed_approvals import ASKS, with_keys
from tests.postgres.cluster import PASSWORD, Cluster


@pytest.fixture
def open_site(durable: Cluster, database: str, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Open sites of one simulated cloud, each with a folder of its own, as on several machines."""
    timing: Mapping[str, Any] = {**STILL, "timing": QUICK, "api": {"simulated_header": False}}
    with BackgroundSimulator(parse_settings(timing)) as sim:

        def open_folder(name: str = "first", user: str = "oli_operator") -> Site:
            site = Site(tmp_path / name, sim)
            site.folder.mkdir(exist_ok=True)
            site.environment |= {"ORCHESTRATOR_STORE__URL": durable.url(database, user), "PGPASSWORD": PASSWORD}
            return site

        yield open_folder


def without_place(ended: Ended, folder: Path) -> str:
    """Take the folder of the logs and the time of a report out of an output."""
    out = re.sub(r"audit verify \S*/(\S+)\.jsonl", r"audit verify \1", ended.out.replace(str(folder), "LOGS"))
    return re.sub(r'"made_at": "[^"]*"', "", out)


READS = (
    ("show", "RUN", "--json"),
    ("report", "RUN", "--json"),
    ("audit", "verify", "RUN", "--json"),
    ("runs", "--json"),
    ("savings", "--since", "2020-01-01", "--until", "NOW", "--json"),
)


def test_a_run_of_the_store_reads_the_same_on_another_machine_and_over_files(open_site: Callable[..., Site]) -> None:
    mine = open_site()
    ended = mine.run("run", mine.playbook(), "--expect", "8", "--json")
    assert ended.code == 0, ended.err
    run_id = ended.document["run_id"]
    log = Path(ended.document["audit_log"])
    assert log == mine.state / "mirror" / f"{run_id}.jsonl"
    assert [json.loads(line)["seq"] for line in log.read_bytes().splitlines()][-1] == log.read_bytes().count(b"\n")
    other = open_site("other", "vic_viewer")
    files = open_site("files")
    files.environment.pop("ORCHESTRATOR_STORE__URL")
    files.runs.mkdir(parents=True)
    shutil.copy(log, files.runs)
    names = {"RUN": run_id, "NOW": timestamp(utc_now())}
    commands = [tuple(names.get(part, part) for part in command) for command in READS]
    over_store, over_files = other.run_each(*commands), files.run_each(*commands)
    for command, first, second in zip(commands, over_store, over_files, strict=True):
        assert (first.code, first.err) == (second.code, second.err), command
        assert without_place(first, other.state / "mirror") == without_place(second, files.runs), command
    assert (other.state / "mirror" / log.name).read_bytes() == log.read_bytes()
    bills = [site.run("reconcile", run_id, "--json").document for site in (mine, files)]
    for bill in bills:
        del bill["audit_log"]
        for target in bill["targets"]:
            del target["asked_at"]
    assert bills[0] == bills[1]
    refused = mine.run("audit", "prune", "--older-than", "1d", "--yes", "--json")
    assert (refused.code, "not in a team store" in refused.fault["message"]) == (2, True)


def test_an_interrupted_run_goes_on_on_another_machine(open_site: Callable[..., Site]) -> None:
    mine, other = open_site(), open_site("other")
    process = mine.start("run", mine.playbook(rate=2, burst=2), "--yes", "--json")
    until(lambda: len(mine.stops) >= 3)
    held = other.run("resume", "2", "--yes", "--json")
    assert (held.code, "another process executes this run" in held.fault["message"]) == (3, True)
    process.send_signal(signal.SIGINT)
    ended = mine.end(process)
    assert ended.code == 130, ended.err
    run_id = ended.document["run_id"]
    resumed = other.run("resume", run_id, "--yes", "--json")
    assert resumed.code == 0, resumed.err
    assert mine.effective == dict.fromkeys(mine.effective, 1)
    verified = mine.run("audit", "verify", "--all", "--json")
    assert (verified.code, verified.document["logs"][0]["verdict"]) == (0, "whole")
    log = mine.state / "mirror" / f"{run_id}.jsonl"
    records = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert [record["event"] for record in records].count("run.resumed") == 1
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]) + b'{"seq":99,"hash":"x"}\n')
    verified = mine.run("audit", "verify", "--all", "--json")
    (difference,) = verified.document["differences"]
    assert (verified.code, difference["audit_log"]) == (6, str(log))


def test_a_store_that_is_down_or_wrong_ends_every_command_before_the_first_request(
    open_site: Callable[..., Site], cluster: Cluster
) -> None:
    site = open_site()
    down = "postgresql://oli_operator@127.0.0.1:1/store"
    envs = [{"ORCHESTRATOR_STORE__URL": down}] * 3 + [
        {"PGPASSWORD": "wrong"},
        {"ORCHESTRATOR_STORE__URL": cluster.url("postgres", "oli_operator")},
    ]
    commands = [
        ("run", site.playbook(), "--yes"),
        ("runs",),
        ("resume", "last"),
        ("run", "playbook.yaml", "--yes"),
        ("show", "last"),
    ]
    ends = site.run_each(*commands, envs=envs)
    assert [ended.code for ended in ends] == [5, 5, 5, 2, 2]
    for ended in ends[:3]:
        assert "can't be reached" in ended.err
    assert "wrong user or password" in ends[3].err
    assert "no schema" in ends[4].err
    assert site.stops == []


def test_an_approved_plan_is_used_once_by_all_machines_and_its_question_is_answered_from_another(
    open_site: Callable[..., Site],
) -> None:
    mine, other = open_site(), open_site("other")
    config = ("--config", with_keys(mine))
    (mine.folder / "asks.yaml").write_text(ASKS)
    assert mine.run("plan", "asks.yaml", "--out", "asks.plan").code == 0
    assert mine.run("approve", "asks.plan", "--key", "ann.pem", "--yes", *config).code == 0
    for name in ("asks.plan", "asks.plan.approvals.jsonl"):
        shutil.copy(mine.folder / name, other.folder)
    key = str(mine.folder / "ben.pem")
    start = ("run", "--plan", "asks.plan", "--key", key, "--yes", "--json", *config)
    process = mine.start(*start)
    until(lambda: '"asked"' in (mine.folder / "asks.plan.approvals.jsonl").read_text())
    again = other.run(*start)
    assert (again.code, "the approved plan was used by run" in again.fault["message"]) == (3, True), again.err
    answered = other.run("approve", "2", "--key", str(mine.folder / "ann.pem"), "--yes", "--json", *config)
    assert (answered.code, answered.document["key_name"], answered.document["on_record"]) == (0, "ann", True), answered
    ended = mine.end(process)
    assert (ended.code, ended.document["counts"]) == (0, {"settled": 4}), ended.err
    keys = [part for name in ("ann", "ben") for part in ("--approval-keys", str(mine.folder / f"{name}.pub.pem"))]
    verified = other.run("audit", "verify", ended.document["run_id"], *keys)
    assert (verified.code, "1 signed answer" in verified.out) == (0, True), verified.out
    shown = other.run("audit", "show", ended.document["run_id"]).out
    assert "database user oli_operator, signed by ann" in " ".join(shown.split())
