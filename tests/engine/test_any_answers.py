"""Whatever the API answers, and whether or not it acted on the request: one effective request, and a true report."""

from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from orchestrator.action import Action
from orchestrator.engine.context import SettleSettings
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.reply import Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet

CVMS = 4
NO_EFFECT = [401, 403, 404, 409, 422, 429]

statuses = st.sampled_from([None, 200, 302, 408, *NO_EFFECT, 500, 502, 503, 599])
answers = st.tuples(statuses, st.booleans(), st.none() | st.floats(0, 50), st.sampled_from([None, "ERR-03-007"]))
"""Status, whether the API acted on the request all the same, Retry-After, error code."""


@given(
    scripts=st.lists(st.lists(answers, max_size=4), min_size=CVMS, max_size=CVMS),
    lag=st.floats(0, 1.9),
    faulty_reads=st.sets(st.integers(0, 20)),
    action=st.sampled_from(Action),
    escalate_after=st.none() | st.floats(0.5, 20),
)
def test_no_answers_of_any_kind_lead_to_a_second_effect_or_to_a_wrong_report(  # noqa: C901 - one long claim
    scripts: list[list[tuple[int | None, bool, float | None, str | None]]],
    lag: float,
    faulty_reads: set[int],
    action: Action,
    escalate_after: float | None,
) -> None:
    async def story() -> None:
        cloud = FakeCloud(CVMS, lag=lag)
        cloud.was_down = action is Action.START
        reads = 0
        asked: dict[str, Action] = {}
        cloud.on_stop = lambda ref: asked.update({ref.name: Action(cloud.requests[-1][1])})

        def stop(ref: Any, attempt: int) -> Reply[StatusRead] | None:  # noqa: ANN401 - a CVM
            script = scripts[int(ref.name[4:])]
            if attempt > len(script):
                return None
            status, acted, retry_after, code = script[attempt - 1]
            if acted and status not in NO_EFFECT:
                cloud.take_effect(ref, asked[ref.name])
            return Reply(http_status=status, retry_after=retry_after, error_code=code, problem="as told")

        def batch(uuids: Any) -> Reply[Any] | None:  # noqa: ANN401 - the same
            nonlocal reads
            del uuids
            reads += 1
            return Reply(http_status=502, problem="bad gateway") if reads in faulty_reads else None

        cloud.stop_script, cloud.batch = stop, batch
        fleet = Fleet(cloud, action=action, timeout=120, settle=SettleSettings(cloud_down=60, whole_run=5000))
        if action is Action.SHUTDOWN:
            fleet.steps = [replace(fleet.steps[0], escalate_after=escalate_after)]
        result = await fleet.go()
        for job in fleet.jobs:
            effects = cloud.did[job.ref.name]
            assert len(effects) == len(set(effects))
            assert len(effects) <= 1 or job.escalated_at is not None
            if job.outcome is Outcome.SETTLED:
                assert effects
            if effects and not result.ending.resumable:
                assert job.outcome is not Outcome.NOT_SENT
        if not result.ending.resumable:
            assert all(job.outcome is not None for job in fleet.jobs)
        others = {"action.intent", "action.escalated"}
        answered = [r for r in fleet.trail.records if r["event"].startswith("action.") and r["event"] not in others]
        doubled = [r for r in answered if r.get("observed")]
        assert len(answered) - len(doubled) == len(fleet.trail.of("action.intent"))

    anyio.run(story, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})


@pytest.mark.anyio
async def test_an_interruption_goes_before_an_early_end() -> None:
    cloud = FakeCloud(30, seconds=20)
    cloud.stop_script = lambda ref, _attempt: Reply(http_status=403) if ref.name == "web-15" else None
    fleet = Fleet(cloud, rate=10, burst=1, max_failures="0")

    async def interrupt() -> None:
        await anyio.sleep(5)
        fleet.run.interrupt(Ending.SIGINT)

    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)
        result = await fleet.go()
    assert result.exit_code is Exit.SIGINT
    assert fleet.trail.records[-1]["event"] == "run.interrupted"
