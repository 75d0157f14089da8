"""`run --submit`, `watch`, `cancel` and `workers`, on a real server without a worker."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.handlers.cancel import cancel_run
from orchestrator.cli.handlers.submit import submit_playbook
from orchestrator.cli.handlers.watch import watch_run
from orchestrator.cli.handlers.workers import list_workers
from orchestrator.errors import AlteredError, SettingsError, StoreDownError, UsageError
from orchestrator.postgres.submissions import RunRow, WorkerRow, explain_wait, find_run
from orchestrator.runs.prepare import NO_OVERRIDES
from tests.logs import lines as log_lines
from tests.postgres.cluster import PASSWORD, Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import Holder, require

PLAYBOOK = "name: demo\nsteps:\n  - {name: stop, action: stop, select: {name: ['web-*']}}\n"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    Path("demo.yaml").write_text(PLAYBOOK)
    Path("config.toml").write_text('[workspaces.prod]\napi_key_env = "KEY_OF_PROD"\n')


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(cluster: Cluster, database: str, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a handler as a user of the database; returns exit code, stdout and stderr."""

    def call_handler(handler: Callable[..., int], *args: Any, user: str = "oli_operator", **options: Any) -> Any:  # noqa: ANN401 - as the handler
        setting = (f"store.url={cluster.url(database, user)}",)
        code = handler(*args, None, setting, *options.pop("more", ()), **options)
        return code, *capsys.readouterr()

    return call_handler


def submit(call: Call, *, as_json: bool = True, workspaces: tuple[str, ...] = ("prod",), **options: object) -> str:
    """Submit the playbook; return the id of the run."""
    given = {"skip": (), "only": (), "exclude": (), "ignore_running": False, "overrides": NO_OVERRIDES, **options}
    code, out, _ = call(submit_playbook, "demo.yaml", (), more=(2,), workspaces=workspaces, as_json=as_json, **given)
    assert code == 0
    document = json.loads(out)
    assert document["state"] == "planning"
    return str(document["run_id"])


def test_a_submitted_run_is_in_the_store_with_its_order_and_its_job(call: Call, connect: Connect) -> None:
    run_id = submit(call, only=("name=web-1",))
    found = (
        connect("vic_viewer")
        .execute(
            "SELECT workspace, playbook, state, adopt, format, spec->'expect', spec->'playbook'->>'source',"
            " db_user::text"
            " FROM orchestrator.runs WHERE run_id = %s",
            [run_id],
        )
        .fetchall()
    )
    assert found == [("prod", "demo", "planning", True, 1, 2, PLAYBOOK, "oli_operator")]
    jobs = connect("postgres").execute("SELECT queue_name, args FROM orchestrator.procrastinate_jobs").fetchall()
    assert jobs == [("ws.prod", {"run_id": run_id})]


def test_a_submission_says_why_its_run_waits(call: Call) -> None:
    code, out, err = call(
        submit_playbook, "demo.yaml", (), more=(None,), workspaces=("p*",), as_json=False, skip=(), only=(), exclude=(),
        ignore_running=False, overrides=NO_OVERRIDES,
    )  # fmt: skip
    assert (code, out[:10], err) == (
        0,
        "submitted ",
        "the run waits: no worker is running: start `orchestrator worker`\n",
    )


@pytest.mark.parametrize(
    ("workspaces", "message"),
    [
        ((), "--submit needs a workspace"),
        (("dev",), "dev"),
    ],
)
def test_a_submission_needs_one_known_workspace(call: Call, workspaces: tuple[str, ...], message: str) -> None:
    with Path("config.toml").open("a") as file:
        file.write('[workspaces.staging]\napi_key_env = "KEY_OF_STAGING"\n')
    with pytest.raises(UsageError, match=message):
        submit(call, workspaces=workspaces)


def test_an_order_for_several_workspaces_is_a_fleet_run_with_a_run_for_each(call: Call, connect: Connect) -> None:
    with Path("config.toml").open("a") as file:
        file.write('[workspaces.staging]\napi_key_env = "KEY_OF_STAGING"\n')
    Holder(connect("wes_worker")).call("set_budget", "default:ab12", 5.0, 5)  # of a person's own key
    given = {"skip": ("staging",), "only": (), "exclude": (), "ignore_running": False, "overrides": NO_OVERRIDES}
    code, out, _ = call(submit_playbook, "demo.yaml", (), more=(2,), workspaces=("*",), as_json=True, **given)
    document = json.loads(out)
    assert (code, document["state"]) == (0, "planning")
    rows = connect("oli_operator").execute(
        "SELECT run_id, workspace, fleet_id, spec ->> 'expect', spec ->> 'skip' FROM orchestrator.runs"
        " ORDER BY workspace"
    )
    fleet_id, runs = document["fleet_id"], [(each["run_id"], each["workspace"]) for each in document["workspaces"]]
    assert [name for _, name in runs] == ["prod", "staging"]
    members = [(run_id, name, fleet_id, "2", '["staging"]') for run_id, name in runs]
    assert rows.fetchall() == [*members, (fleet_id, None, None, "2", '["staging"]')]
    with pytest.raises(UsageError, match="--skip-unreachable names 'dev'"):
        call(submit_playbook, "demo.yaml", (), more=(2,), workspaces=("*",), as_json=True, **given | {"skip": ("dev",)})


def test_settings_of_the_run_are_the_workers_own() -> None:
    for assignment in ("cloud.base_url=https://elsewhere.example", "guards.max_targets=9", "cloud.profile=x"):
        with pytest.raises(UsageError, match="--submit excludes --set"):
            submit_playbook(
                "demo.yaml", (), None, (assignment,), None, workspaces=(), skip=(), only=(), exclude=(),
                ignore_running=False, overrides=NO_OVERRIDES, as_json=False,
            )  # fmt: skip


def test_a_cancelled_run_ends_before_its_plan_and_watch_exits_with_8(call: Call) -> None:
    run_id = submit(call)
    code, out, _ = call(cancel_run, run_id, at_once=False, as_json=True)
    assert (code, json.loads(out)["state"], json.loads(out)["exit_code"]) == (0, "void", 8)
    code, out, err = call(watch_run, run_id[:-2], as_json=False, user="vic_viewer")
    assert (code, out) == (8, "")
    assert "before the first request" in err
    code, out, _ = call(watch_run, run_id, as_json=True)
    assert (code, json.loads(out)["state"]) == (8, "void")
    code, out, _ = call(cancel_run, run_id, at_once=False, as_json=False)
    assert out == f"{run_id} has ended already (exit 8); nothing was changed\n"


def test_a_held_run_is_ended_by_its_holder(call: Call, connect: Connect) -> None:
    run_id = submit(call)
    require(Holder(connect("wes_worker")).take(run_id))
    code, out, _ = call(cancel_run, run_id, at_once=True, as_json=False)
    assert (code, out) == (0, f"{run_id}: w1 ends the run; follow with: orchestrator watch {run_id}\n")


def test_watch_prints_the_log_and_exits_as_the_run(
    call: Call, connect: Connect, cluster: Cluster, database: str
) -> None:
    run_id = submit(call)
    lines = log_lines()
    worker = connect("wes_worker")
    fence = require(Holder(worker).take(run_id))
    records = [json.loads(line) for line in lines]
    worker.execute(
        "SELECT * FROM orchestrator.append_records('60 s', %s::text[], %s::bigint[], %s::uuid[], '{0}', %s::text[],"
        " %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bytea[])",
        [
            *([part] for part in fence), ["0" * 64], [len(lines)], [records[-1]["hash"]], [run_id] * len(lines),
            [each["seq"] for each in records], [each["event"] for each in records], lines,
        ],
    )  # fmt: skip
    Holder(worker).let_go(fence, "finished", 6)
    code, out, err = call(watch_run, run_id, as_json=False)
    assert (code, "run.finished" in err) == (6, True)
    assert run_id in out
    code, out, _ = call(watch_run, run_id, as_json=True)
    assert (code, json.loads(out)["exit_code"]) == (6, 6)
    cluster.execute(
        "SET session_replication_role = replica; UPDATE orchestrator.records SET line = line || ' ' WHERE seq = 2",
        database,
    )
    with pytest.raises(AlteredError, match="altered at line 2"):
        call(watch_run, run_id, as_json=True)


def test_a_run_that_only_a_person_can_continue_is_not_watched_for_ever(call: Call, connect: Connect) -> None:
    run_id = submit(call)
    worker = Holder(connect("wes_worker"))
    worker.let_go(require(worker.take(run_id)), "left")
    code, _, err = call(watch_run, run_id, as_json=False)
    assert (code, "no worker continues the run" in err, f"orchestrator cancel {run_id}" in err) == (8, True, True)
    other = submit(call)
    fence = require(worker.take(other))
    worker.append(fence, 1)
    worker.let_go(fence, "left")
    _, out, _ = call(cancel_run, other, at_once=False, as_json=False)
    assert f"orchestrator abandon {other}" in out


def test_workers_and_waiting_runs_are_listed(call: Call, connect: Connect) -> None:
    assert call(list_workers, as_json=False)[1] == "no worker has been seen; start one with: orchestrator worker\n"
    run_id = submit(call)
    worker = Holder(connect("wes_worker"))
    worker.call("record_worker", "w1", "1.0", 1, ["dev"])
    _, out, _ = call(list_workers, as_json=False)
    first, second = out.splitlines()
    assert first.startswith("w1: 0 runs, seen ")
    assert first.endswith("version 1.0, workspaces: dev")
    assert second == f"waiting: {run_id} (prod): no running worker has a key for workspace 'prod'"
    require(worker.take(run_id))
    document = json.loads(call(list_workers, as_json=True)[1])
    assert document["waiting"] == []
    assert [(each["name"], each["alive"], each["runs"]) for each in document["workers"]] == [("w1", True, [run_id])]


def test_a_role_without_rights_and_an_unknown_run_get_the_remedy(call: Call) -> None:
    with pytest.raises(UsageError, match="there is no run '2025'"):
        call(watch_run, "2025", as_json=False)
    with pytest.raises(SettingsError, match="permission denied") as caught:
        call(watch_run, "2025", as_json=False, user="wes_worker")
    assert "orchestrator_viewer" in (caught.value.hint or "")
    run_id = submit(call)
    with pytest.raises(SettingsError, match="permission denied"):
        call(cancel_run, run_id, at_once=False, as_json=False, user="vic_viewer")


def test_a_whole_id_wins_over_longer_ids_and_an_ambiguous_beginning_lists_them(connect: Connect) -> None:
    worker = Holder(connect("wes_worker"))
    for run_id in ("20261126T080000Z-4f2a", "20261126T080000Z-4f2ab", "20261126T080000Z-4f2ac"):
        worker.submit(run_id)
    viewer = connect("vic_viewer")
    assert find_run(viewer, "20261126T080000Z-4f2a").run_id == "20261126T080000Z-4f2a"
    assert find_run(viewer, "20261126T080000Z-4f2ab").run_id == "20261126T080000Z-4f2ab"
    assert find_run(viewer, "last").run_id == "20261126T080000Z-4f2ac"
    with pytest.raises(UsageError, match="several run ids begin with '2026'") as caught:
        find_run(viewer, "2026")
    assert "20261126T080000Z-4f2ac" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="there is no run ''"):
        find_run(viewer, "")


def test_watch_of_an_unreachable_database_is_5_at_once() -> None:
    with pytest.raises(StoreDownError):
        watch_run("last", None, ("store.url=postgresql://ann@127.0.0.1:9/x",), as_json=False)


FREE = RunRow(
    "r1", "prod", "demo", "planning", None, is_held=False, adopt=True, epoch=0, seq=0, format=2, stop_wanted=None,
    stop_by=None, exit_code=None, reason=None, submitted_by="ann@host", db_user="ann",
    submitted_at=datetime(2026, 11, 26, tzinfo=UTC), finished_at=None,
)  # fmt: skip
WORKER = WorkerRow("w1", "1.0", 2, ("prod",), "wes", 1.0)


@pytest.mark.parametrize(
    ("run", "workers", "reason"),
    [
        (FREE, [], "no worker is running: start `orchestrator worker`"),
        (FREE, [replace(WORKER, seen_s=60)], "no worker is running: start `orchestrator worker`"),
        (FREE, [replace(WORKER, workspaces=("dev",))], "no running worker has a key for workspace 'prod'"),
        (FREE, [replace(WORKER, format=1)], "the run needs a newer worker: format 2"),
        (FREE, [replace(WORKER, format=1), WORKER], None),
        (replace(FREE, is_held=True), [], None),
        (replace(FREE, adopt=False, epoch=1), [], None),
        (replace(FREE, state="left"), [], None),
    ],
)
def test_a_waiting_run_has_a_reason_unless_a_worker_will_take_it(
    run: RunRow, workers: list[WorkerRow], reason: str | None
) -> None:
    assert explain_wait(run, workers) == reason
