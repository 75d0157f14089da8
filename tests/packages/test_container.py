"""The Dockerfile: its rules, and its steps one by one in a folder instead of an image.

Both stages share the folder, the locked dependencies come from the present environment, and the user stays the same.
The soak suite builds the image, where a builder works.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from orchestrator import __version__
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.docs.pages import ROOT
from tests.e2e.site import STILL

Step = tuple[str, str]
INSIDE = re.compile(r"(?<![\w.])/(?=opt/|src|state|fleet|usr/share/licenses)")


def read_steps() -> list[list[Step]]:
    """Read the instructions and their values, by stage; the first list comes before the first stage."""
    stages: list[list[Step]] = [[]]
    for each in DockerfileParser(path=str(ROOT)).structure:
        if each["instruction"] == "FROM":
            stages.append([])
        if each["instruction"] != "COMMENT":
            stages[-1].append((each["instruction"], each["value"]))
    return stages


(BEFORE, BUILD, FINAL) = read_steps()


def values(stage: list[Step], instruction: str) -> list[str]:
    return [value for name, value in stage if name == instruction]


def make_context(folder: Path) -> Path:
    """Copy the files let through by .dockerignore."""
    first, *others = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert first == "*"
    for pattern in (each[1:] for each in others if each.startswith("!")):
        for source in ROOT.glob(pattern):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
    return folder


class Image:
    """A folder in place of the root of an image."""

    def __init__(self, root: Path, context: Path) -> None:
        self.root, self._context, self._folder = root, context, root
        self.environment = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "python").symlink_to(sys.executable)

    def inside(self, text: str) -> str:
        return INSIDE.sub(f"{self.root}/", text)

    def take(self, instruction: str, value: str) -> None:
        """Take a step of the Dockerfile."""
        if instruction == "WORKDIR":
            self._folder = Path(self.inside(value))
            self._folder.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            self._copy(shlex.split(value))
        elif instruction == "ENV":
            for name, text in (each.split("=", 1) for each in shlex.split(value)):
                self.environment[name] = self.inside(text).replace("$PATH", self.environment["PATH"])
        elif instruction == "RUN" and "--require-hashes" in value:
            self._use_present_packages("build" if "build.lock" in value else "orchestrator")
        elif instruction == "RUN":
            # The present environment has pip too: an install of pip would take longer than all other steps.
            script = self.inside(value).replace("python -m venv /", "python -m venv --without-pip /")
            script = script if os.geteuid() == 0 else script.replace("-o 10001 -g 10001", "")
            ended = subprocess.run(
                ["/bin/sh", "-c", script],
                cwd=self._folder,
                env=self.environment,
                check=False,
                timeout=100,
                text=True,
                capture_output=True,
            )
            assert ended.returncode == 0, f"{value}\n{ended.stdout}{ended.stderr}"

    def _copy(self, words: list[str]) -> None:
        if words[0].startswith("--from"):
            assert words[1] == words[2]
            assert Path(self.inside(words[1])).exists()
            return
        *sources, target = words
        for source in sources:
            path = self._context / source
            if path.is_dir():
                shutil.copytree(path, self._folder / target, dirs_exist_ok=True)
            else:
                (self._folder / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self._folder / target)

    def _use_present_packages(self, name: str) -> None:
        (site,) = (self.root / "opt" / name / "lib").glob("*/site-packages")
        (site / "present.pth").write_text(sysconfig.get_path("purelib") + "\n")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("container")
    built = Image(folder / "root", make_context(folder / "context"))
    for instruction, value in [*BUILD, *FINAL]:
        built.take(instruction, value)
    return built


def test_the_base_is_pinned_and_every_install_is_locked() -> None:
    (base,) = values(BEFORE, "ARG")
    assert re.fullmatch(r"BASE=\S+:3\.13\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert values(BUILD, "FROM") == ["${BASE} AS build"]
    assert values(FINAL, "FROM") == ["${BASE}"]
    installs = [value for value in values(BUILD, "RUN") if " install " in value]
    assert all("--require-hashes --only-binary :all:" in each or "--no-deps --no-index" in each for each in installs)
    assert not any(" install " in value for value in values(FINAL, "RUN") if "pip" in value)


def test_the_image_has_a_numeric_user_labels_a_volume_and_a_health_check() -> None:
    assert values(FINAL, "USER") == ["10001:10001"]
    assert values(FINAL, "VOLUME") == ["/state"]
    (labels,) = values(FINAL, "LABEL")
    assert f'image.version="{__version__}"' in labels
    assert 'image.licenses="Apache-2.0"' in labels
    assert "curl" not in " ".join(values(FINAL, "HEALTHCHECK"))


def test_the_steps_make_a_service_that_is_healthy_and_writes_only_to_its_state(image: Image) -> None:
    shutil.copytree(ROOT / "playbooks", Path(image.inside("/fleet/playbooks")))
    state = Path(image.inside("/state"))

    def other_files() -> set[tuple[Path, int]]:
        files = (path for path in image.root.rglob("*") if path.is_file() and not path.is_relative_to(state))
        return {(path, path.stat().st_mtime_ns) for path in files}

    before = other_files()
    command = [json.loads(each)[0] for each in values(FINAL, "ENTRYPOINT")] + json.loads(values(FINAL, "CMD")[0])
    (check,) = values(FINAL, "HEALTHCHECK")
    with BackgroundSimulator(parse_settings(STILL)) as sim:
        environment = {
            **image.environment,
            "PHALA_CLOUD_API_KEY": sim.api_key,
            "PHALA_CLOUD_API_PREFIX": sim.url,
        }
        process = subprocess.Popen(
            [shutil.which(command[0], path=environment["PATH"]) or "", *command[1:-1], "127.0.0.1:0"],
            cwd=image.inside("/fleet"),
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                assert process.stderr is not None
                said = json.loads(process.stderr.readline())
                words = json.loads(check.partition("CMD ")[2])
                words[0] = shutil.which(words[0], path=environment["PATH"])
                assert Path(words[0]).is_relative_to(image.inside("/opt/orchestrator"))
                subprocess.run([*words, f"{said['url']}/healthz"], env=environment, check=True, timeout=30)
                dead = subprocess.run([*words, "http://127.0.0.1:1/healthz"], env=environment, check=False, timeout=30)
                assert dead.returncode == 1
            finally:
                process.terminate()
            process.stderr.read()
        assert process.returncode == 0
    assert other_files() == before
    assert (state / "runs").is_dir()


def test_the_image_has_licences_of_the_program_and_of_all_locked_dependencies(image: Image) -> None:
    found = {
        each.name.lower().replace("_", "-").replace(".", "-")
        for each in Path(image.inside("/usr/share/licenses")).iterdir()
    }
    locked = re.findall(r"^([\w.-]+)==(?!.* ; )", (ROOT / "requirements/postgres.lock").read_text(), re.MULTILINE)
    assert {"cvm-orchestrator", *locked} <= found
    assert Path(image.inside("/usr/share/licenses/httpx/licenses-LICENSE.md")).is_file()


@pytest.mark.soak
def test_a_builder_builds_the_image() -> None:
    builder = next((each for each in ("docker", "podman", "buildah") if works(each)), None)
    if builder is None:
        pytest.skip("no builder works here")
    subprocess.run([builder, "build", "--tag", "cvm-orchestrator:test", "."], cwd=ROOT, check=True, timeout=1200)
    out = subprocess.check_output([builder, "run", "--rm", "--read-only", "cvm-orchestrator:test", "--version"])
    assert __version__ in out.decode()


def works(builder: str) -> bool:
    """Check for a builder with a running engine."""
    try:
        return subprocess.run([builder, "info"], check=False, capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False
