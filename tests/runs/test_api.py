"""The Python API: plan, run, resume and read runs from another program."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from orchestrator import RunObserver, StopRequest, load_settings, plan, read_log, resume, run
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.errors import (
    GuardError,
    MissingVariableError,
    NoMatchError,
    NotConfirmedError,
    SettingsError,
    UsageError,
)
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.schema import Playbook
from orchestrator.runs.api import Options
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.logs import RUN_ID, log

pytestmark = pytest.mark.anyio

NAMES = ["web-1", "web-2", "db-1"]
PLAYBOOK = """\
name: stop-some
vars: {name: {required: true}}
guards: {max_targets: 2}
steps: [{action: stop, select: {name: "${name}"}}]
"""
SETTINGS = "[settle]\npoll_min = 0.05\npoll_max = 0.1\nrecheck_after = 0.1\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def cloud() -> Iterator[BackgroundSimulator]:
    world = {"fleet": {"names": NAMES, "cvms": 3, "stopped_share": 0}, "timing": {"stop_seconds": [0.05, 0.1]}}
    with BackgroundSimulator(parse_settings(world)) as simulator:
        yield simulator


@pytest.fixture
def options(tmp_path: Path, cloud: BackgroundSimulator) -> Options:
    for cvm in cloud.world.cvms:
        cloud.world.set_status(cvm, "running", cloud.now())
    config = tmp_path / "settings.toml"
    config.write_text(SETTINGS)
    settings = load_settings(config)
    return {"settings": settings, "base_url": cloud.url, "api_key": cloud.api_key, "state_dir": tmp_path / "state"}


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    file = tmp_path / "stop-some.yaml"
    file.write_text(PLAYBOOK)
    return file


async def agree(plan: Plan) -> bool:
    return bool(plan.targets)


async def disagree(plan: Plan) -> bool:
    return not plan.targets


async def test_a_plan_is_a_value_and_leaves_no_log(options: Options, playbook: Path) -> None:
    made = await plan(playbook, {"name": "web-*"}, **options)
    assert sorted(target.cvm.ref.name for target in made.targets) == ["web-1", "web-2"]
    assert all(check.ok for check in made.guards)
    assert not (options["state_dir"] / "runs").exists()


async def test_a_run_returns_its_summary_and_prints_nothing(
    options: Options, playbook: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    events: list[str] = []

    class Recorder(RunObserver):
        def on_record(self, record: Record, state: RunState) -> None:
            assert state.last_ts == record["ts"]
            events.append(record["event"])

    summary = await run(playbook, {"name": "web-*"}, expect=2, observer=Recorder(), **options)
    assert (summary.playbook, summary.exit_code, summary.ending) == ("stop-some", Exit.OK, Ending.COMPLETED)
    assert summary.counts == {Outcome.SETTLED: 2}
    assert sorted(target.cvm.name for target in summary.targets) == ["web-1", "web-2"]
    assert all(target.seconds and target.request_id for target in summary.targets)
    assert (events[0], events[-1]) == ("run.started", "run.finished")
    assert read_log(summary.run_id, **options) == read_log(summary.log, **options) == summary
    assert await resume(summary.run_id, **options) == summary
    assert capfd.readouterr() == ("", "")


async def test_a_named_workspace_is_chosen_by_the_settings_or_the_playbook_and_found_by_resume(
    options: Options, playbook: Path, cloud: BackgroundSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROD_KEY", cloud.api_key)
    monkeypatch.delenv("PHALA_CLOUD_API_KEY", raising=False)
    file = playbook.with_name("named.toml")
    file.write_text(f'{SETTINGS}[workspaces.prod]\napi_key_env = "PROD_KEY"\nbase_url = "{cloud.url}"\n')
    where: Options = {"settings": load_settings(file), "state_dir": options["state_dir"]}
    chosen: Options = {**where, "settings": load_settings(file).for_workspace("prod")}
    both: Options = {**chosen, "api_key": "phak_x"}
    assert (await plan(playbook, {"name": "web-*"}, **chosen)).workspace_name == "prod"
    with pytest.raises(SettingsError, match="api_key and the workspace 'prod'"):
        await plan(playbook, {"name": "web-*"}, **both)
    playbook.write_text(f"{PLAYBOOK}workspaces: prod\n")  # noqa: ASYNC240 - a small file
    summary = await run(playbook, {"name": "web-*"}, expect=2, **where)
    assert summary.exit_code == Exit.OK
    first = Path(summary.log).read_text().splitlines()[0]  # noqa: ASYNC240 - a small file
    assert json.loads(first)["workspace_name"] == "prod"
    assert await resume(summary.run_id, **where) == summary


async def test_a_run_without_a_confirmation_sends_nothing(options: Options, playbook: Path) -> None:
    with pytest.raises(NotConfirmedError, match="no confirmation"):
        await run(playbook, {"name": "web-*"}, **options)
    with pytest.raises(NotConfirmedError, match="expect=1, but the plan has 2 targets"):
        await run(playbook, {"name": "web-*"}, expect=1, confirm=agree, **options)
    with pytest.raises(NotConfirmedError, match="not confirmed"):
        await run(playbook, {"name": "web-*"}, expect=2, confirm=disagree, **options)
    assert list((options["state_dir"] / "runs").iterdir()) == []


async def test_a_run_without_targets_or_against_a_guard_is_an_exception(options: Options, playbook: Path) -> None:
    with pytest.raises(GuardError, match="max_targets"):
        await run(playbook, {"name": "*-*"}, expect=3, **options)
    with pytest.raises(NoMatchError):
        await run(playbook, {"name": "no-such"}, expect=0, **options)
    with pytest.raises(MissingVariableError):
        await plan(playbook, **options)


async def test_a_playbook_may_be_a_value(options: Options) -> None:
    steps = [{"action": "stop", "select": {"name": "db-1"}}]
    playbook = Playbook.model_validate({"name": "stop-db", "steps": steps})
    summary = await run(playbook, confirm=agree, **options)
    assert (summary.playbook, summary.counts) == ("stop-db", {Outcome.SETTLED: 1})
    started = json.loads(summary.log.read_text().splitlines()[0])
    assert started["playbook"]["path"] == "stop-db"
    with pytest.raises(UsageError, match="takes no variables"):
        await plan(playbook, {"name": "x"}, **options)


async def test_a_stopped_run_is_resumable(options: Options, tmp_path: Path) -> None:
    stop = StopRequest()

    class Stopper(RunObserver):
        def on_record(self, record: Record, state: RunState) -> None:
            del state
            if record["event"] == "action.accepted":
                stop.request_end(Ending.SIGTERM)

    file = tmp_path / "slow.yaml"
    limits = "limits: {requests_per_second: 1, burst: 1}"
    file.write_text(f"name: slow\n{limits}\nsteps: [{{action: stop, select: {{all: true}}}}]\n")
    first = await run(file, expect=3, observer=Stopper(), stop=stop, **options)
    assert (first.exit_code, first.ending) == (Exit.SIGTERM, Ending.SIGTERM)
    assert first.counts == {Outcome.SETTLED: 1, Outcome.NOT_SENT: 2}
    unfinished = read_log(first.run_id, **options)
    assert (unfinished.exit_code, unfinished.ending, unfinished.counts) == (None, None, first.counts)
    last = await resume(first.run_id, **options)
    assert (last.run_id, last.exit_code, last.counts) == (first.run_id, Exit.OK, {Outcome.SETTLED: 3})


async def test_a_doubtful_resume_needs_a_confirmation(options: Options, tmp_path: Path) -> None:
    stop = StopRequest()
    stop.request_end(Ending.SIGINT)
    first = await run(*stop_web(tmp_path), confirm=agree, stop=stop, **options)
    assert first.counts == {Outcome.NOT_SENT: 2}
    config = tmp_path / "cautious.toml"
    config.write_text(f"{SETTINGS}[audit]\nresume_without_asking = 0.001\n")
    cautious: Options = {**options, "settings": load_settings(config)}
    with pytest.raises(NotConfirmedError, match="the resume was not confirmed"):
        await resume(first.run_id, **cautious)

    async def confirm(plan: object) -> bool:
        del plan
        return True

    assert (await resume(first.run_id, confirm=confirm, **cautious)).counts == {Outcome.SETTLED: 2}


def stop_web(folder: Path) -> tuple[Path]:
    file = folder / "web.yaml"
    file.write_text('name: web\nsteps: [{action: stop, select: {name: "web-*"}}]\n')
    return (file,)


def test_an_old_log_without_the_ending_can_be_read(options: Options, tmp_path: Path) -> None:
    old = tmp_path / f"{RUN_ID}.jsonl"
    old.write_bytes(log())
    summary = read_log(old, **options)
    assert (summary.exit_code, summary.ending) == (6, None)


async def test_an_altered_log_and_an_unknown_run_are_exceptions(options: Options, tmp_path: Path) -> None:
    summary = await run(*stop_web(tmp_path), expect=2, **options)
    altered = tmp_path / "altered.jsonl"
    altered.write_text(summary.log.read_text().replace("web-1", "web-9"))
    with pytest.raises(SettingsError, match="altered"):
        read_log(altered, **options)
    with pytest.raises(UsageError, match="there is no run"):
        read_log("20261123T080000Z-4f2a", **options)
    with pytest.raises(SettingsError, match="altered"):
        await resume(altered, **options)


async def test_an_invalid_address_is_an_error_without_the_key(options: Options, playbook: Path) -> None:
    bare: Options = {**options, "base_url": "http://cloud.example/api/v1"}
    with pytest.raises(SettingsError, match=r"base_url") as error:
        await plan(playbook, {"name": "x"}, **bare)
    assert options["api_key"] not in repr(error.value)


def test_every_name_of_the_package_is_there_and_is_imported_at_its_first_use() -> None:
    script = """if True:
        import sys, orchestrator
        assert not {"pydantic", "anyio", "orchestrator.runs"} & set(sys.modules)
        assert all(getattr(orchestrator, name) for name in orchestrator.__all__)
    """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    with pytest.raises(AttributeError, match="has no attribute 'no_such'"):
        orchestrator.no_such  # noqa: B018 - the look-up is the test
