"""The vendor's own command line works against the simulator."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings

PHALA = os.environ.get("ORCHESTRATOR_VENDOR_CLI", "")

pytestmark = pytest.mark.skipif(not PHALA, reason="ORCHESTRATOR_VENDOR_CLI does not say where the vendor's CLI is")

Phala = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def sim() -> Iterator[BackgroundSimulator]:
    timing = {"stop_seconds": [0.1, 0.1], "start_seconds": [0.1, 0.1], "shutdown_seconds": [0.1, 0.1]}
    with BackgroundSimulator(parse_settings({"fleet": {"cvms": 12, "seed": 3}, "timing": timing})) as running:
        yield running


@pytest.fixture
def phala(sim: BackgroundSimulator, tmp_path: Path) -> Phala:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment |= {"PHALA_CLOUD_API_PREFIX": sim.url, "PHALA_CLOUD_API_KEY": sim.api_key}

    def run(*arguments: str) -> dict[str, Any]:
        command = [PHALA, *arguments, "--json"]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr + done.stdout
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run


def test_whoami_and_status_know_the_user(phala: Phala) -> None:
    assert phala("whoami")["username"] == "operator"
    assert phala("status")["team_name"] == "simulated"


@pytest.mark.parametrize("version", ["2025-10-28", "2026-01-21"])
def test_list_and_get_understand_both_shapes(sim: BackgroundSimulator, phala: Phala, version: str) -> None:
    listed = phala("cvms", "list", "--api-version", version)
    assert listed["total"] == len(sim.world.apps)
    assert {item["status"] for item in listed["items"]} <= {"running", "stopped"}
    cvm = sim.world.cvms[0]
    for identifier in (cvm.uuid, cvm.hashid, cvm.name, cvm.instance_id):
        assert phala("cvms", "get", identifier, "--api-version", version)["vm_uuid"] == cvm.uuid


@pytest.mark.parametrize("version", ["2025-10-28", "2026-01-21"])
def test_stop_start_and_restart_have_their_effect(sim: BackgroundSimulator, phala: Phala, version: str) -> None:
    cvm = sim.world.find_by_name("kms-1")
    before = cvm.effective_stops
    assert phala("cvms", "stop", cvm.uuid, "--api-version", version)["cvm"]["status"] == "stopping"
    assert cvm.effective_stops == before + 1
    assert phala("cvms", "start", cvm.uuid, "--api-version", version)["cvm"]["status"] == "starting"
    assert phala("cvms", "restart", cvm.uuid, "--api-version", version)["cvm"]["status"] == "restarting"
