"""The simulator on a real socket."""

import time

import httpx

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import Settings


def test_it_answers_on_a_real_socket_and_keeps_a_record() -> None:
    with BackgroundSimulator(Settings().with_fleet(cvms=5, seed=1)) as sim:
        assert sim.url.endswith("/api/v1")
        with httpx.Client(base_url=sim.url, headers={"X-API-Key": sim.api_key}) as client:
            assert client.get("/cvms/paginated").json()["total"] == 5
            assert client.post(f"/cvms/{sim.world.cvms[0].hashid}/stop").json()["status"] == "stopping"
        assert [(record.operation, record.effect) for record in sim.requests] == [
            ("list_cvms_paginated", False),
            ("stop_cvm", True),
        ]
        assert sim.world.cvms[0].effective_stops == 1


def test_it_starts_within_a_tenth_of_a_second() -> None:
    begun = time.monotonic()
    with BackgroundSimulator(Settings()):
        assert time.monotonic() - begun < 0.1
