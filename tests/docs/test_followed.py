"""Whoever follows a page to its end gets what the page says."""

import json
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.shell import COMMAND, Reader
from tests.e2e.site import until

APP = "3f2a" * 10
QUICK = {"stop_seconds": [0.05, 0.2], "shutdown_seconds": [0.05, 0.2], "start_seconds": [0.05, 0.2]}
UNTIL_ACCEPTED = """\
until grep -qs action.accepted $(grep -ls '"all-down"' state/runs/*.jsonl) /dev/null; do sleep 0.1; done"""
"""A wait of the shell for the first accepted request of the tutorial's second run, instead of seconds."""
NOT_FOLLOWED = {
    "make ": "takes minutes, and is what runs this",
    "systemctl": "needs systemd",
    "journalctl": "needs systemd",
    "kubectl": "needs Kubernetes",
    "pip install": "needs a network",
    "pipx install": "needs a network",
    "docker ": "needs a container engine",
    ".venv/bin/": "is about a clone",
    "pass show": "needs a password store",
    "store check": "needs a database; tests/postgres calls the command",
    "orchestrator worker": "the same",
    "orchestrator watch": "the same",
    "orchestrator cancel": "the same",
    "serve --config": "the same",
    "playbooks push": "the same",
    "playbooks list": "the same",
    "postgresql://": "the same",
    "--submit": "the same",
    "crontab": "is a crontab",
    "*/5 *": "is a crontab",
    "orchestrator simulate": "is what the test starts",
    "--step look": "needs a run that waits; tests/e2e answers in this way",
}
"""Lines of shell blocks that are not carried out, by what is in them."""


def _has_a_minute_to_charge() -> bool:
    """A stop charges the time since the full hour, and less than a minute is not charged."""
    now = datetime.now(UTC)
    return (now.minute, now.second) >= (1, 5)


def shell_blocks(page: str) -> list[Block]:
    return [block for block in blocks("sh", "console") if block.page == ROOT / page]


def file_named(page: str, first_line: str) -> str:
    """The file on a page that begins with this line."""
    (block,) = [
        each for each in blocks("yaml", "toml", "ics") if each.page == ROOT / page and each.text.startswith(first_line)
    ]
    return block.text


@contextmanager
def reading(folder: Path, **sections: object) -> Iterator[tuple[Reader, BackgroundSimulator]]:
    """A reader before a simulated cloud."""
    settings = parse_settings({"timing": QUICK, **sections})
    with BackgroundSimulator(settings) as sim:
        keys = {"PHALA_CLOUD_API_KEY": sim.api_key, "PHALA_CLOUD_API_PREFIX": sim.url, "TYPED": sim.api_key}
        with Reader.at(folder, keys) as reader:
            reader.replace |= {
                "http://127.0.0.1:8765/api/v1": sim.url,
                "http://127.0.0.1:8765": sim.url[: -len("/api/v1")],
            }
            reader.replace["phak_…"] = sim.api_key
            yield reader, sim


def test_the_readme_is_followed_to_its_end(tmp_path: Path) -> None:
    with reading(tmp_path, fleet={"cvms": 60, "seed": 7}) as (reader, sim):
        for block in shell_blocks("README.md"):
            text = block.text
            if any(words in text for words in ("make ", "pip install", "orchestrator simulate")):
                continue
            if "unset PHALA" in text:  # the real cloud is the same simulated one, with all of its CVMs up again
                reader.environment["ORCHESTRATOR_CLOUD__BASE_URL"] = sim.url
                for cvm in sim.world.cvms:
                    sim.world.set_status(cvm, "running", sim.now())
            reader.follow(block, codes={"reconcile": (0, 7)})  # usage comes later
            if "mkdir" in text:
                file = reader.folder / "playbooks" / "stop-workers.yaml"
                file.write_text(file_named("README.md", "name: stop-workers"))


def test_the_tutorial_is_followed_to_its_end(tmp_path: Path) -> None:
    page = "docs/tutorial.md"
    with reading(tmp_path, fleet={"cvms": 200, "seed": 7}) as (reader, sim):
        for block in shell_blocks(page):
            if "orchestrator simulate" in block.text:
                continue
            if "all-down --yes" in block.text:
                (reader.folder / "playbooks" / "all-down.yaml").write_text(file_named(page, "name: all-down"))
                reader.do(block.text.replace("\nsleep 8;", f" {UNTIL_ACCEPTED};"), codes=(0,))
                continue
            if block.text.startswith("orchestrator run empty-teepod"):
                reader.environment["ORCHESTRATOR_RATE__REQUESTS_PER_SECOND"] = "20"  # no later text shows the rate
            reader.follow(block, codes={"prod2": (4,), "verify copy.jsonl": (6,)})
            if "mkdir" in block.text:
                file = reader.folder / "playbooks" / "empty-teepod.yaml"
                file.write_text(file_named(page, "name: empty-teepod"))
        assert {cvm.phase_at(sim.now()).status for cvm in sim.world.cvms} == {"stopped"}


HOW_TO = sorted(
    {str(block.page.relative_to(ROOT)) for block in blocks("sh", "console")} - {"README.md", "docs/tutorial.md"}
)
NAMES = ["dev-api-1", "staging-api-1", "batch-report-1", "worker-1", "worker-7", "api-1", "api-3", "api-forensics"]
CODES: dict[str, dict[str, tuple[int, ...]]] = {
    "docs/how-to/ask-before-going-on.md": {"--refuse": (3,), "--step": (3,)},  # the first answer counts
    "docs/how-to/have-a-plan-read.md": {"< /dev/null": (3,)},
    "docs/how-to/prune.md": {"audit verify": (2,)},
    "docs/how-to/rehearse-with-faults.md": {"run bad-day": (6,)},
    "docs/how-to/resume.md": {"abandon": (8,)},
    "docs/how-to/undo-a-run.md": {"< /dev/null": (3,)},
    # Stopped by an earlier line, or no such CVM.
    "docs/how-to/stop-named-cvms.md": {
        "--from -": (3,),
        "--gpus": (4,),
        "--only": (0, 4),
    },
    # Of another fleet, or finished; stopped before; a restart is nothing to undo.
    "docs/reference/cli.md": {
        "restore": (4,),
        "--expect 12": (3,),
        "stop.plan": (2,),
        "approve": (3,),
        "abandon": (2,),
        "--from": (0, 3),
    },
}
"""Exit codes other than 0 that a page says, or that belong to its matter, by words of the command."""
STAYS_DOWN = frozenset({"docs/how-to/undo-a-run.md"})
"""Pages that are about CVMs that the first run took down."""
PLAYBOOKS = {
    "first": 'limits: {requests_per_second: 100, burst: 20}\nsteps: [{action: stop, select: {name: "*-*"}}]\n',
    "slow": "limits: {requests_per_second: 5, burst: 1}\nsteps: [{action: stop, select: {all: true}}]\n",
    "ask": "steps: [{action: pause, question: Well, timeout: 1m}, {action: stop, select: {name: worker-1}}]\n",
}


def up(reader: Reader, sim: BackgroundSimulator) -> None:
    """Have every CVM run."""
    del reader
    for cvm in sim.world.cvms:
        sim.world.set_status(cvm, "running", sim.now())


def logged(reader: Reader, event: str, before: str) -> None:
    """Wait until a run that came after another one has logged an event."""
    until(lambda: reader.last_run != before and event in (reader.logs / f"{reader.last_run}.jsonl").read_text())


def interrupted(reader: Reader, sim: BackgroundSimulator) -> None:
    """Begin a run of all CVMs, and kill it."""
    up(reader, sim)
    before = reader.last_run
    process = subprocess.Popen(
        [COMMAND, "run", "slow", "--yes"],
        cwd=reader.folder,
        env=reader.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        logged(reader, "action.accepted", before)
    finally:
        process.kill()
        process.wait()


def asking(reader: Reader, sim: BackgroundSimulator) -> None:
    """Begin a run that waits at a question."""
    up(reader, sim)
    before = reader.last_run
    reader.do("orchestrator run ask --yes > run.out 2>&1 &")
    logged(reader, "approval.requested", before)


def copied(reader: Reader, sim: BackgroundSimulator) -> None:
    """Copy the log to another folder before anybody seals it."""
    del sim
    (reader.folder / "copies").mkdir()
    shutil.copy(reader.logs / f"{reader.last_run}.jsonl", reader.folder / "copies")


def pruned(reader: Reader, sim: BackgroundSimulator) -> None:
    """Remove the log of the run."""
    del sim
    reader.run_ids["20261123T080000Z-4f2a"] = reader.last_run
    time.sleep(1.1)
    reader.do("orchestrator audit prune --older-than 1s --unsealed --yes")


def no_copy(reader: Reader, sim: BackgroundSimulator) -> None:
    """Be in a folder without a copy of the shipped playbook, as after an install."""
    del sim
    (reader.folder / "playbooks" / "emergency-stop-teepod.yaml").unlink()


def with_approvers(reader: Reader, sim: BackgroundSimulator) -> None:
    """Have the settings of the page, with Ann's new key and Ben's key of the test vector."""
    del sim
    (reader.folder / "keys").mkdir()
    shutil.copy(reader.folder / "ann.pub.pem", reader.folder / "keys")
    ben = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    (reader.folder / "ben.pem").write_bytes(ben.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (reader.folder / "ben.pem").chmod(0o600)
    public = ben.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (reader.folder / "keys" / "ben.pub.pem").write_bytes(public)
    (reader.folder / "config.toml").write_text(file_named("docs/how-to/approve-a-plan.md", "[approval]"))


HOOKS: dict[tuple[str, str], Callable[[Reader, BackgroundSimulator], None]] = {
    ("docs/how-to/approve-a-plan.md", "orchestrator plan"): with_approvers,
    ("docs/how-to/ask-before-going-on.md", "orchestrator approve"): asking,
    ("docs/how-to/emergency-stop.md", "mkdir"): no_copy,
    ("docs/how-to/have-a-plan-read.md", "--expect"): up,
    ("docs/how-to/prune.md", "$ orchestrator audit verify"): pruned,
    ("docs/how-to/resume.md", "runs --unfinished"): interrupted,
    ("docs/how-to/resume.md", "orchestrator abandon"): interrupted,
    ("docs/how-to/seal-a-log.md", "audit seal --all"): copied,
    ("docs/how-to/stop-named-cvms.md", "--out stop.plan"): up,
}
"""What has happened before a block, by the page and words of the block."""


def prepare(page: str, reader: Reader, sim: BackgroundSimulator) -> None:
    """Put what the page takes for granted in its place."""
    of_prod_1 = [
        cvm for cvm in sim.world.cvms if cvm.teepod.name == "prod-1" and not cvm.name.startswith(("kms-", "gateway-"))
    ]
    reader.replace |= {
        APP: sim.world.find_by_name("api-1").app.app_id if page != WITH_FAULTS else APP,
        "--expect 6": "--expect 1",
        "--expect 29": f"--expect {len(of_prod_1)}",
        "web-1 web-2": "worker-1 worker-7",
        "/opt/orchestrator/bin": str(reader.folder.parent / "bin"),
        "/srv/fleet": str(reader.folder),
        "/var/lib/orchestrator": str(reader.folder / "other-state"),
        "/var/spool/siem": str(reader.folder),
    }
    for name in ("ids", "ids.txt"):
        (reader.folder / name).write_text("worker-1\nworker-7\n# the rest of the fleet\nstaging-api-1\n")
    (reader.folder / "key").write_text(sim.api_key)
    (reader.folder / "key").chmod(0o600)
    named = {name: {"api_key_env": "PHALA_CLOUD_API_KEY"} for name in ("prod-eu", "prod-us", "dev")}
    if page == "docs/how-to/many-workspaces.md":
        reader.environment["ORCHESTRATOR_WORKSPACES"] = json.dumps(named)
    folder = reader.folder / "playbooks"
    shutil.copytree(ROOT / "playbooks", folder)
    files = PLAYBOOKS | {
        each.text.split("\n")[0].removeprefix("name: "): each.text.partition("\n")[2]
        for each in blocks("yaml")
        if each.page == ROOT / page and each.text.startswith("name: ")
    }
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(f"name: {name}\n{text}")
    for script in blocks("python"):
        if script.page == ROOT / page:
            (reader.folder / script.text.split("\n")[0].removeprefix("# ")).write_text(script.text)
    for calendar in blocks("ics"):
        if calendar.page == ROOT / page:
            (folder / "holidays.ics").write_text(calendar.text)


WITH_FAULTS = "docs/how-to/rehearse-with-faults.md"


@pytest.mark.parametrize(
    "page", [pytest.param(each, marks=[pytest.mark.soak] if each == WITH_FAULTS else []) for each in HOW_TO]
)
@pytest.mark.timeout(300)
def test_a_page_is_followed_to_its_end(page: str, tmp_path: Path) -> None:
    sections: dict[str, object] = {"fleet": {"cvms": 24, "seed": 7, "names": NAMES, "stopped_share": 0}}
    if page == WITH_FAULTS:
        sections = tomllib.loads(file_named(page, "[fleet]"))
    with reading(tmp_path, **sections) as (reader, sim):
        prepare(page, reader, sim)
        reader.environment["ORCHESTRATOR_RATE__REQUESTS_PER_SECOND"] = "20"
        if any("orchestrator reconcile" in block.text for block in shell_blocks(page)):
            until(_has_a_minute_to_charge, seconds=120)
        if page != WITH_FAULTS:
            reader.do("orchestrator run first --yes")
        if page not in STAYS_DOWN | {WITH_FAULTS}:
            up(reader, sim)
        if not any("audit keygen" in block.text for block in shell_blocks(page)):
            reader.do("orchestrator audit keygen --out seal.pem")
        for block in shell_blocks(page):
            if any(words in block.text for words in NOT_FOLLOWED):
                continue
            for (where, words), happens in HOOKS.items():
                if where == page and words in block.text:
                    happens(reader, sim)
            reader.follow(block, codes=CODES.get(page, {}))
