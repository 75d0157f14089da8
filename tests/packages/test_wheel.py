"""`make dist`, and the installed wheel in an environment and a folder of its own."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from orchestrator.playbook.shipped import is_cases_file
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.docs.pages import ROOT
from tests.e2e.site import STILL, Site

TOOLS = Path(sys.executable).parent
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.invalid")
PLAYBOOKS = sorted(file.stem for file in (ROOT / "playbooks").glob("*.yaml") if not is_cases_file(file))


def call(*command: str | Path, cwd: Path, umask: int = 0o022) -> str:
    ended = subprocess.run(
        [*map(str, command)], cwd=cwd, umask=umask, check=False, timeout=120, text=True, capture_output=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def make_dist(clone: Path, umask: int) -> dict[str, bytes]:
    """Call `make dist` with the present environment; returns the files."""
    stamp = f"{TOOLS.parent}/.installed"
    call("make", "-o", stamp, f"VENV={TOOLS.parent}", f"BIN={TOOLS}", f"STAMP={stamp}", "dist", cwd=clone, umask=umask)
    return {file.name: file.read_bytes() for file in (clone / "dist").iterdir() if file.name != ".gitignore"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files of this checkout, committed, and a file outside of the commit."""
    folder = tmp_path_factory.mktemp("packages") / "clone"
    folder.mkdir()
    listed = call("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    call("git", "init", "-q", cwd=folder)
    call("git", "add", "-A", cwd=folder)
    call(*GIT, "commit", "-qm", "files", cwd=folder)
    (folder / "orchestrator" / "secret.py").write_text("not committed")
    return folder


@pytest.fixture(scope="module")
def dist(clone: Path) -> dict[str, bytes]:
    return make_dist(clone, 0o022)


@pytest.fixture(scope="module")
def wheel(clone: Path, dist: dict[str, bytes]) -> Path:
    (name,) = (name for name in dist if name.endswith(".whl"))
    file = clone.parent / name
    file.write_bytes(dist[name])
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The installed command of the wheel, in an environment of its own beside the locked dependencies."""
    folder = wheel.parent / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    call(TOOLS / "uv", "pip", "install", "--offline", "--no-deps", "--python", python, wheel, cwd=wheel.parent)
    # A path file adds no editable install of the checkout, unlike a site folder.
    (site,) = (folder / "lib").glob("*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.with_name("orchestrator")


@pytest.mark.soak
def test_a_second_build_with_another_umask_has_the_same_bytes(clone: Path, dist: dict[str, bytes]) -> None:
    assert make_dist(clone, 0o077) == dist
    assert {name.partition("-")[0] for name in dist} == {"cvm_orchestrator"}


def test_the_sdist_has_committed_files_only_and_enough_to_work_on_the_project(
    clone: Path, dist: dict[str, bytes]
) -> None:
    (name,) = (name for name in dist if name.endswith(".tar.gz"))
    with tarfile.open(clone / "dist" / name) as archive:
        names = {each.partition("/")[2] for each in archive.getnames()}
    assert {"LICENSE", "Makefile", "requirements/run.lock", "tests/conftest.py", "playbooks/demo.sh"} <= names
    assert "orchestrator/secret.py" not in names


def test_the_wheel_has_playbooks_types_licence_and_the_readme(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        described = message_from_bytes(archive.read(metadata))
        licence = archive.read(metadata.replace("METADATA", "licenses/LICENSE"))
    in_folder = {name for name in names if name.startswith("orchestrator/playbooks/")}
    assert in_folder == {
        f"orchestrator/playbooks/{name}{end}" for name in PLAYBOOKS for end in (".yaml", ".cases.yaml")
    }
    assert {"orchestrator/py.typed", "orchestrator/postgres/schema/001_runs.sql"} <= names
    assert {f"orchestrator/rehearsals/{name}.yaml" for name in ("outage", "rough-day")} <= names
    assert "orchestrator/secret.py" not in names
    assert {name.partition("/")[0] for name in names} == {"orchestrator", metadata.partition("/")[0]}
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert (described["Name"], described["License-Expression"]) == ("cvm-orchestrator", "Apache-2.0")
    text = described.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_the_installed_wheel_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    settings = parse_settings({**STILL, "timing": {"stop_seconds": [0.05, 0.1]}, "api": {"simulated_header": False}})
    with BackgroundSimulator(settings) as sim:
        environment = {**Site(tmp_path, sim).environment, "PATH": os.environ["PATH"]}

        def run(*command: str | Path) -> str:
            ended = subprocess.run(
                command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=60, check=False
            )
            assert ended.returncode == 0, ended.stdout + ended.stderr
            return ended.stdout

        version = run(installed, "--version")
        assert version == run(installed.with_name("python"), "-m", "orchestrator", "--version")
        example = run(installed, "--help").split("Example: orchestrator run ")[1].splitlines()[0].split()
        assert "will be stopped" in run(installed, "plan", *example)
        assert run(installed, "validate", *PLAYBOOKS).count(f"{installed.parents[1]}") == len(PLAYBOOKS)
        run(installed, "run", "emergency-stop-teepod", "--var", "teepod=alpha", "--yes", "--json")
        status = {cvm.teepod.name: cvm.phase_at(sim.now()).status for cvm in sim.world.cvms}
        assert status == {"alpha": "stopped", "beta": "running"}
