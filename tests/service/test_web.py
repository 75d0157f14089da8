"""Replies and metrics of the service over HTTP."""

import json
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.playbook.keep import KeepEntry
from orchestrator.reply import Reply
from orchestrator.service.folder import Fault
from orchestrator.service.metrics import Metrics
from orchestrator.service.overview import STUCK_AFTER, Overview, Row
from orchestrator.service.web import create_app
from tests.service.host import MONDAY

pytestmark = pytest.mark.anyio
ROW = Row("nightly", "/x/nightly.yaml", "UTC", None, MONDAY, "20270301T000000Z-0001", 1, None, MONDAY)
CALM = Overview(MONDAY, MONDAY, (ROW,), (), (), stopping=False, round_at=0.0)


class Service:
    """A service with a settable overview."""

    def __init__(self) -> None:
        self.now = CALM
        self.troubles: list[str] = []
        self.metrics = Metrics(lambda: self.now)
        app = create_app(lambda: self.now, self.metrics, lambda: self.troubles)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(path)

    async def samples(self) -> dict[str, float]:
        """All samples, by series."""
        families = text_string_to_metric_families((await self.get("/metrics")).text)
        found = {}
        for family in families:
            for each in family.samples:
                labels = ",".join(f"{key}={value}" for key, value in sorted(each.labels.items()))
                found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
        return found


async def test_a_service_that_goes_round_is_healthy_and_one_that_is_stuck_is_not() -> None:
    service = Service()
    assert (await service.get("/healthz")).status_code == 200
    service.now = replace(CALM, round_at=-STUCK_AFTER - 1)
    assert (await service.get("/healthz")).status_code == 503


async def test_the_metrics_count_exemptions_in_force_and_expired() -> None:
    service = Service()
    entries = [
        KeepEntry("name", "web-1", MONDAY + timedelta(hours=hours), "ann", "demo", "keep.yaml:1")
        for hours in (-1, 1, 2)
    ]
    service.now = replace(CALM, kept=tuple(entries))
    samples = await service.samples()
    assert samples["orchestrator_exemptions{state=in_force}"] == 2
    assert samples["orchestrator_exemptions{state=expired}"] == 1


async def test_the_metrics_name_the_leader_of_several_machines_only() -> None:
    service = Service()
    assert "orchestrator_leader" not in await service.samples()
    service.now = replace(CALM, leader="ops@one:1")
    assert (await service.samples())["orchestrator_leader"] == 1
    service.now = replace(CALM, leader="ops@one:1", is_standby=True, rows=())
    assert (await service.samples())["orchestrator_leader"] == 0
    assert (await service.get("/readyz")).status_code == 200
    document = service.now.document()
    assert (document["leader"], document["standby"]) == ("ops@one:1", True)


@pytest.mark.parametrize(
    ("now", "ready"),
    [
        (CALM, True),
        (replace(CALM, faults=(Fault("/x/y.yaml", "odd", None, "y"),)), True),
        (replace(CALM, troubles=("no disk",)), False),
        (replace(CALM, stopping=True), False),
        (replace(CALM, round_at=None), False),
    ],
)
async def test_a_service_is_ready_when_firings_would_be_carried_out(now: Overview, ready: bool) -> None:
    service = Service()
    service.now = now
    answer = await service.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200 if ready else 503, ready)
    assert bool(answer.json()["troubles"]) is not ready


async def test_without_a_key_it_is_not_ready() -> None:
    service = Service()
    service.troubles = ["there is no API key"]
    answer = await service.get("/readyz")
    assert (answer.status_code, answer.json()["troubles"]) == (503, ["there is no API key"])


def test_its_document_says_what_there_is() -> None:
    document = CALM.document()
    assert (document["playbooks"][0]["playbook"], document["playbooks"][0]["running"]) == ("nightly", ROW.running)
    assert json.dumps(document)


async def test_without_a_page_there_is_none() -> None:
    assert (await Service().get("/")).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_nothing_can_be_changed_through_it(path: str) -> None:
    assert (await Service().client.post(path)).status_code == 405


async def test_what_happens_is_counted_by_playbook() -> None:
    service = Service()
    emit = service.metrics.count_event
    emit("schedule.enabled", playbook="nightly")
    emit("firing.ended", playbook="nightly", result="ran", exit_code=6)
    emit("firing.ended", playbook="nightly", result="snoozed", exit_code=None)
    emit("firing.left_out", playbook="nightly", reason="overlap", count=1)
    emit("firing.missed", playbook="nightly", count=7)
    settled = {"event": "target.settled", "action": "stop", "outcome": "settled", "seconds": 12.5}
    service.metrics.count_record("nightly", settled)
    service.metrics.count_record("nightly", {**settled, "event": "target.failed", "outcome": "refused"})
    service.metrics.count_record("nightly", {**settled, "event": "action.accepted"})
    for status in (429, 429, 200):
        service.metrics.count_reply("nightly", None, Reply(http_status=status))
    found = await service.samples()
    one = "playbook=nightly"
    results = {result: found[f"orchestrator_firings_total{{{one},result={result}}}"] for result in ("ran", "missed")}
    assert results == {"ran": 1, "missed": 7}
    assert found[f"orchestrator_firings_total{{{one},result=left}}"] == 0
    assert found[f"orchestrator_runs_total{{exit_code=6,{one}}}"] == 1
    assert found[f"orchestrator_targets_total{{action=stop,outcome=settled,{one}}}"] == 1
    assert found[f"orchestrator_targets_total{{action=stop,outcome=refused,{one}}}"] == 1
    assert found[f"orchestrator_settle_seconds_sum{{action=stop,{one}}}"] == 12.5
    assert found[f"orchestrator_rate_limited_total{{{one}}}"] == 2


async def test_runs_of_a_named_workspace_are_counted_with_its_name_and_others_without_the_label() -> None:
    service = Service()
    service.metrics.add_playbook("nightly")
    settled = {"event": "target.settled", "action": "stop", "outcome": "settled", "seconds": 12.5}
    service.metrics.count_record("nightly", {"event": "run.started"}, "prod")
    service.metrics.count_record("nightly", settled, "prod")
    service.metrics.count_record("nightly", settled)
    service.metrics.count_reply("nightly", "prod", Reply(http_status=429))
    found = await service.samples()
    one = "action=stop,outcome=settled,playbook=nightly"
    assert found[f"orchestrator_targets_total{{{one},workspace=prod}}"] == 1
    assert found[f"orchestrator_targets_total{{{one}}}"] == 1
    assert found["orchestrator_targets_total{action=start,outcome=failed,playbook=nightly,workspace=prod}"] == 0
    assert found["orchestrator_rate_limited_total{playbook=nightly,workspace=prod}"] == 1
    assert found["orchestrator_rate_limited_total{playbook=nightly}"] == 0


async def test_how_things_stand_is_told_when_somebody_asks() -> None:
    service = Service()
    found = await service.samples()
    one = "{playbook=nightly}"
    assert found[f"orchestrator_last_success_timestamp_seconds{one}"] == MONDAY.timestamp()
    assert found[f"orchestrator_snoozed_until_timestamp_seconds{one}"] == MONDAY.timestamp()
    assert (found[f"orchestrator_runs_under_way{one}"], found[f"orchestrator_firings_waiting{one}"]) == (1, 1)
    assert f"orchestrator_next_firing_timestamp_seconds{one}" not in found
    later = MONDAY + timedelta(days=1)
    service.now = replace(CALM, rows=(replace(ROW, last_success=later),))
    assert (await service.samples())[f"orchestrator_last_success_timestamp_seconds{one}"] == later.timestamp()


async def test_open_questions_and_an_outage_are_told_until_their_end() -> None:
    service = Service()
    question = {"event": "approval.requested", "run_id": "r1", "step": "ask"}
    service.metrics.count_record("nightly", question)
    service.metrics.count_record("nightly", {**question, "run_id": "r2"})
    service.metrics.api.note_warning("api.down", {"note": "The API is down."})
    found = await service.samples()
    assert (found["orchestrator_open_questions{playbook=nightly}"], found["orchestrator_api_down"]) == (2, 1)
    service.metrics.count_record("nightly", {**question, "event": "approval.answered", "answer": "approved"})
    service.metrics.count_record("nightly", {"event": "run.interrupted", "run_id": "r2"})
    service.metrics.api.note_warning("api.up", {})
    found = await service.samples()
    assert ("orchestrator_open_questions{playbook=nightly}" in found, found["orchestrator_api_down"]) == (False, 0)
