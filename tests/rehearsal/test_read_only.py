"""A rehearsal of the live fleet over a transport that refuses every changing request."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.cli.handlers.rehearse import rehearse_playbook
from orchestrator.cloud.client import connect
from orchestrator.runs import session
from orchestrator.runs.prepare import NO_OVERRIDES
from orchestrator.simulator.app import create_app
from orchestrator.simulator.memory import MemoryTransport
from orchestrator.simulator.world import World


class ReadOnlyTransport(MemoryTransport):
    """Carries reading requests alone; any other request fails the test."""

    seen: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "GET" or request.url.path.endswith("/status/batch"), request
        self.seen += 1
        return await super().handle_async_request(request)


@pytest.mark.parametrize("seeds", [None, 2])
def test_a_rehearsal_sends_reading_requests_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seeds: int | None
) -> None:
    app = create_app(World.generate(cvms=8))
    app.now()
    transport = ReadOnlyTransport(app)
    monkeypatch.setattr(session, "connect", partial(connect, transport=transport))
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", app.world.api_key)
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "all.yaml"
    file.write_text("name: all\nsteps: [{action: shutdown, select: {up_longer_than: 1h}}]\n")
    options: dict[str, Any] = {"inventory": None, "faults": "rough-day", "seeds": seeds, "seed": 0, "settle": None}
    code = rehearse_playbook(
        *(str(file), (), None, ()),
        **options,
        answer="yes",
        workspaces=(),
        only=(),
        exclude=(),
        overrides=NO_OVERRIDES,
        simulate=False,
        form="json",
        out=None,
    )
    document = json.loads(capsys.readouterr().out)
    assert (code, document["rehearsal"]) == (0, True)
    assert transport.seen > 0
    assert {cvm.effective_stops for cvm in app.world.cvms} == {0}
    assert not (tmp_path / "state").exists()
