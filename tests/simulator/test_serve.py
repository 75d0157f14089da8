"""The simulator on a real socket."""

import signal
import subprocess
import sys
import time
from subprocess import PIPE

import anyio
import httpx
import pytest

from orchestrator.simulator.app import create_app
from orchestrator.simulator.memory import MemoryTransport
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import SimulatorSettings, parse_settings
from orchestrator.simulator.world import World


def test_answers_on_a_real_socket_and_records_requests() -> None:
    with BackgroundSimulator(SimulatorSettings().with_fleet(cvms=5, seed=1)) as sim:
        assert sim.url.endswith("/api/v1")
        with httpx.Client(base_url=sim.url, headers={"X-API-Key": sim.api_key}) as client:
            assert client.get("/cvms/paginated").json()["total"] == 5
            assert client.post(f"/cvms/{sim.world.cvms[0].hashid}/stop").json()["status"] == "stopping"
        assert [(record.operation, record.effect) for record in sim.requests] == [
            ("list_cvms_paginated", False),
            ("stop_cvm", True),
        ]
        assert sim.world.cvms[0].effective_stops == 1


def test_starts_within_a_tenth_of_a_second() -> None:
    took = []
    for _ in range(3):
        begun = time.monotonic()
        with BackgroundSimulator(SimulatorSettings()):
            took.append(time.monotonic() - begun)
    assert min(took) < 0.1


def test_stops_without_waiting_for_hanging_requests() -> None:
    document = {"faults": {"hang_before": 1, "hang_seconds": 600}}
    with BackgroundSimulator(parse_settings(document)) as sim:
        with httpx.Client(headers={"X-API-Key": sim.api_key}, timeout=0.1) as client, pytest.raises(httpx.ReadTimeout):
            client.get(f"{sim.url}/cvms")
        begun = time.monotonic()
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_without_error_at_a_signal(number: signal.Signals) -> None:
    program = (
        "from orchestrator.simulator.serve import serve\n"
        "from orchestrator.simulator.settings import SimulatorSettings\n"
        "serve(SimulatorSettings(), on_ready=lambda url, cloud: print(url, cloud.first.world.api_key, flush=True))\n"
        "print('ended')\n"
    )
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", program], stdout=PIPE, stderr=PIPE, text=True)
    with process:
        assert process.stdout is not None
        url, key = process.stdout.readline().split()
        assert httpx.get(f"{url}/auth/me", headers={"X-API-Key": key}).status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_the_application_also_runs_under_asyncio() -> None:
    async def stop() -> str:
        app = create_app(World.generate(cvms=5, seed=1), clock=anyio.current_time)
        headers = {"X-API-Key": app.world.api_key}
        async with httpx.AsyncClient(transport=MemoryTransport(app), base_url="http://simulated/api/v1") as client:
            answer = await client.post(f"/cvms/{app.world.cvms[0].hashid}/stop", headers=headers)
        return str(answer.json()["status"])

    assert anyio.run(stop) == "stopping"


def test_the_simulator_imports_nothing_of_the_client() -> None:
    program = (
        "import sys, orchestrator.simulator.serve, orchestrator.simulator.memory\n"
        "ours = {name.split('.')[1] for name in sys.modules if name.startswith('orchestrator.')}\n"
        "assert ours == {'simulator'}, ours\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
