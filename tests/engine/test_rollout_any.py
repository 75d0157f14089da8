"""Whatever the API answers: no wave overtakes, no second effect, and nobody goes after a canary that went wrong."""

from dataclasses import replace
from typing import Any

import anyio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from orchestrator.engine.context import SettleSettings
from orchestrator.outcome import ENDS_THE_RUN, Ending
from orchestrator.playbook.value_types import Dispatch, OnFailure
from orchestrator.reply import Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, work_of
from tests.engine.test_any_answers import NO_EFFECT, answers

CVMS = 5


@given(
    scripts=st.lists(st.lists(answers, max_size=2), min_size=CVMS, max_size=CVMS),
    waves=st.lists(st.integers(1, 3), min_size=CVMS, max_size=CVMS).map(sorted),
    seconds=st.lists(st.sampled_from([1.0, 5.0, 500.0]), min_size=CVMS, max_size=CVMS),
    comes_back=st.sets(st.integers(0, CVMS - 1), max_size=1),
    dispatch=st.sampled_from(["single", "batch"]),
    on_failure=st.sampled_from(["continue", "stop"]),
)
def test_waves_hold_whatever_the_api_answers(  # noqa: PLR0917 - all of them given by name
    scripts: list[list[tuple[int | None, bool, float | None, str | None]]],
    waves: list[int],
    seconds: list[float],
    comes_back: set[int],
    dispatch: Dispatch,
    on_failure: OnFailure,
) -> None:
    async def story() -> None:
        cloud = FakeCloud(CVMS)
        cloud.seconds = lambda ref: seconds[int(ref.name[4:])]

        def stop(ref: Any, attempt: int) -> Reply[StatusRead] | None:  # noqa: ANN401 - a CVM
            script = scripts[int(ref.name[4:])]
            if attempt > len(script):
                return None
            status, acted, retry_after, code = script[attempt - 1]
            if acted and status not in NO_EFFECT:
                cloud.take_effect(ref)
            return Reply(http_status=status, retry_after=retry_after, error_code=code, problem="as told")

        def status(ref: Any, since: float | None) -> StatusRead | None:  # noqa: ANN401 - the same
            back = int(ref.name[4:]) in comes_back and since is not None and since > 8
            return StatusRead("running") if back else None

        cloud.stop_script, cloud.status_script = stop, status
        jobs = [work_of(ref, wave=wave) for ref, wave in zip(cloud.refs, waves, strict=True)]
        fleet = Fleet(
            cloud,
            jobs=jobs,
            timeout=120,
            dispatch=dispatch,
            settle=SettleSettings(cloud_down=60, whole_run=5000),
        )
        fleet.steps = [replace(fleet.steps[0], on_failure=on_failure)]
        result = await fleet.go()
        _hold_to_the_promises(fleet, result.ending)
        # Somebody who starts a CVM while the outcome of its stop is unknown has it stopped again.
        assert all(len(cloud.effects[ref.name]) <= 1 for ref in cloud.refs if int(ref.name[4:]) not in comes_back)

    anyio.run(story, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})


def _hold_to_the_promises(fleet: Fleet, ending: Ending) -> None:
    step = fleet.steps[0]
    wave_of = {job.ref.name: job.wave for job in fleet.jobs}
    canary = min(wave_of.values())
    ended: dict[str, str] = {}
    for record in fleet.trail.records:
        name = record.get("cvm", {}).get("name", "")
        if record["event"] in {"target.settled", "target.failed"}:
            ended[name] = record["outcome"]
        elif record["event"] == "action.intent":
            ahead = [other for other, wave in wave_of.items() if wave < wave_of[name]]
            assert all(other in ended for other in ahead)
            wrong = [other for other in ahead if ended[other] in ENDS_THE_RUN]
            assert not [other for other in wrong if wave_of[other] == canary]
            assert not wrong or step.on_failure == "continue"
    if ending in {Ending.CANARY_FAILED, Ending.STEP_FAILED}:
        assert any(job.outcome in ENDS_THE_RUN for job in fleet.jobs)
        assert any(job.outcome == "not_sent" for job in fleet.jobs)
    elif ending is Ending.COMPLETED:
        assert all(job.outcome is not None and job.outcome != "not_sent" for job in fleet.jobs)
