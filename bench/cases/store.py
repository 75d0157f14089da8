"""The case of the team store: stops and durable intents over PostgreSQL beside files, and a takeover by a worker."""

import json
import time
from itertools import count

import anyio

from bench.cases.fleet import WIDE, Shape, add_times
from bench.cases.options import BenchOptions
from bench.machine import find_file_system
from bench.process import PYTHON, ServerProcess
from bench.result import CaseResult, Row, Target
from bench.team import Team, open_team
from bench.work_folder import ROOT, fetch_json
from orchestrator.audit.events import Event
from orchestrator.audit.log import AuditLog
from orchestrator.audit.store import FileRunStore, RunStore
from orchestrator.text import plural

FILES, POSTGRES = "files", "PostgreSQL"
TAKEOVER = "takeover from a killed worker"
_IN_FLIGHT = 50
_WIDE = {"requests_per_second": 100_000, "burst": 1000, "max_in_flight": _IN_FLIGHT, "per_teepod": 10_000}
_RATE = ("--set", "rate.requests_per_second=100000", "--set", "rate.burst=1000")
_LOTS = (1, 10, 50)
_MANY = 100
"""Logs of the measurement of many runs with one writer."""
_LEASE, _TIMEOUT = 15.0, 5.0
_LONGEST_S = 300
"""Seconds for a fleet run."""
_RUN_IDS = count(1)


def measure_store(options: BenchOptions) -> CaseResult:
    """Measure the team store on an own server, with fsync, beside files on the same disk."""
    result = CaseResult("store", "A team store on PostgreSQL beside files, everything durable")
    stops, intents = _label_stops(POSTGRES), options.choose_size(5000, 500)
    result.targets = [
        Target("stops/s beside files", stops, "share_of_files", 0.6, at_most=False),
        Target("seconds beyond the lease", TAKEOVER, "seconds_beyond_lease", 5),
    ]
    shape = Shape(options.choose_size(100, 20), options.choose_size(300, 50), 5)
    with open_team(options.work_folder) as team:
        for number in range(options.runs):
            options.print_progress(result.name, number, "stops")
            _measure_stops(options, result, team)
            for name, store in ((FILES, FileRunStore(options.work_folder.path / "intents")), (POSTGRES, team.store)):
                options.print_progress(result.name, number, f"durable intents, {name}")
                _measure_intents(result, name, store, intents)
            options.print_progress(result.name, number, TAKEOVER)
            _measure_takeover(options, result.row(TAKEOVER), team)
            for workers in (1, 2, 3):
                label = f"{shape.label}, {plural(workers, 'worker')}"
                options.print_progress(result.name, number, label)
                _measure_fleet(options, result.row(label), team, shape, workers)
        result.add_note(f"logs and database on {find_file_system(options.work_folder.path)}, {team.describe_server()}")
    result.add_note(f"stops: {_IN_FLIGHT} in flight, no rate limit; server and database share the other core")
    result.add_note(f"takeover: a lease of {_LEASE:g} s; from SIGKILL to `run.resumed` by another worker")
    return result


# Stops ---------------------------------------------------------------------------------------------------------------


def _label_stops(name: str) -> str:
    return f"stops over {name}"


def _measure_stops(options: BenchOptions, result: CaseResult, team: Team) -> None:
    """Carry out the same run over files and over the database."""
    stops, folder = options.choose_size(5000, 500), options.work_folder
    playbook = folder.write_playbook(_WIDE)
    with ServerProcess([PYTHON, "-m", "bench.server", str(stops)], folder=ROOT) as server:
        url = json.loads(server.first_line)["url"]
        for name, more in ((FILES, {}), (POSTGRES, team.environment())):
            fetch_json(url, "/__bench__/reset", method="POST")
            folder.clear_state()
            ended = folder.run_command(
                *("run", playbook, *_RATE, "--yes", "--json"), url=url, api_key="phak_bench", seconds=240, more_env=more
            ).require_exit(0)
            marks = fetch_json(url, "/__bench__/marks")
            seconds = marks["last_stop_answered_at_seconds"] - marks["first_stop_at_seconds"]
            result.row(_label_stops(name)).add_values(
                stops_per_second=stops / seconds, cpu_seconds=ended.cpu_seconds, peak_rss_mib=ended.peak_rss_mib
            )
    files, store = (result.row(_label_stops(name)) for name in (FILES, POSTGRES))
    share = store.figures["stops_per_second"][-1] / files.figures["stops_per_second"][-1]
    store.add_values(share_of_files=share)


# Durable intents -----------------------------------------------------------------------------------------------------


def _measure_intents(result: CaseResult, name: str, store: RunStore, intents: int) -> None:
    """Write intents in lots of one log, and single intents of many logs at the same time."""
    for lot in _LOTS:
        lots = max(1, min(intents // lot, intents // _LOTS[1]))
        seconds = anyio.run(_write_lots, store, 1, lots, lot)
        result.row(f"intents over {name}, lots of {lot}").add_values(intents_per_second=lots * lot / seconds)
    each = max(1, intents // _MANY // 2)
    seconds = anyio.run(_write_lots, store, _MANY, each, 1)
    result.row(f"intents over {name}, {_MANY} runs").add_values(intents_per_second=_MANY * each / seconds)


async def _write_lots(store: RunStore, logs: int, lots: int, lot: int) -> float:
    """Write lots of intents, each durable before the next lot of its log; return the seconds."""
    opened = [_create_log(store) for _ in range(logs)]
    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for log in opened:
            group.start_soon(_write_log, log, lots, lot)
    seconds = time.perf_counter() - began
    for log in opened:
        log.record(Event.RUN_FINISHED, exit_code=0)
        await log.flush()
        log.close()
    return seconds


def _create_log(store: RunStore) -> AuditLog:
    return store.create_log(
        f"20261126T080000Z-{next(_RUN_IDS):04x}", [(Event.RUN_STARTED, {"playbook": {"name": "b"}})]
    )


async def _write_log(log: AuditLog, lots: int, lot: int) -> None:
    cvm = {"id": "cvm_00000001", "vm_uuid": "00000000-0000-4000-8000-000000000001", "name": "web-1", "teepod_id": 1}
    for _ in range(lots):
        for _ in range(lot):
            log.record(Event.ACTION_INTENT, step="pull the power", action="stop", cvm=cvm, attempt=1)
        await log.flush()


# Takeover ------------------------------------------------------------------------------------------------------------


def _measure_takeover(options: BenchOptions, row: Row, team: Team) -> None:
    """Kill a worker within a run, and wait until another worker continues the run."""
    folder = options.work_folder
    playbook, config = folder.write_playbook({"requests_per_second": 10, "burst": 1}), folder.path / "team.toml"
    with ServerProcess([PYTHON, "-m", "bench.server", "500"], folder=ROOT) as server:
        url = json.loads(server.first_line)["url"]
        config.write_text(
            f'[cloud]\ntimeout = {_TIMEOUT}\nbase_url = "{url}"\n[store]\nlease = {_LEASE}\n'
            '[rate]\nrequests_per_second = 10\n[workspaces.bench]\napi_key_env = "BENCH_KEY"\n',
            encoding="utf-8",
        )
        env = folder.make_environment(url, "unused") | {"BENCH_KEY": "key-0"}
        try:
            first = team.start_worker(config, env)
            submit = ("run", playbook, "--config", str(config), "--workspace", "bench", "--submit", "--json")
            more = env | team.environment()
            ended = folder.run_command(*submit, url=url, api_key="unused", seconds=60, more_env=more).require_exit(0)
            run_id = json.loads(ended.out)["run_id"]
            is_recorded = "SELECT FROM orchestrator.records WHERE run_id = %s AND event = %s LIMIT 1"
            team.wait_for(is_recorded, [run_id, Event.ACTION_ACCEPTED.value], 60)
            team.start_worker(config, env)
            first.kill()
            killed_at = time.monotonic()
            team.wait_for(is_recorded, [run_id, Event.RUN_RESUMED.value], _LEASE + 60)
            seconds = time.monotonic() - killed_at
        finally:
            team.end_workers()
    row.add_values(takeover_seconds=seconds, seconds_beyond_lease=seconds - _LEASE)


# Fleet runs over workers ---------------------------------------------------------------------------------------------


def _measure_fleet(options: BenchOptions, row: Row, team: Team, shape: Shape, workers: int) -> None:
    """Submit an order for all workspaces to some workers, and wait for its end."""
    folder = options.work_folder
    playbook, config = folder.write_playbook(WIDE), folder.path / "team.toml"
    config.write_text(f"[worker]\nruns = {shape.workspaces + 1}\n{shape.settings()}", encoding="utf-8")
    with shape.serve() as server:
        url = json.loads(server.first_line)["url"]
        env = folder.make_environment(url, "unused") | shape.keys()
        try:
            for _ in range(workers):
                team.start_worker(config, env)
            more = env | team.environment()
            order = ("run", playbook, "--config", str(config), "--workspace", "ws-*", "--submit", "--json")
            ended = folder.run_command(*order, url=url, api_key="unused", seconds=60, more_env=more).require_exit(0)
            watch = ("watch", json.loads(ended.out)["fleet_id"], "--config", str(config), "--json")
            folder.run_command(*watch, url=url, api_key="unused", seconds=_LONGEST_S, more_env=more).require_exit(0)
        finally:
            cpu_seconds = team.end_workers()
        add_times(row, shape, fetch_json(url, "/__bench__/all"))
    row.add_values(cpu_seconds=cpu_seconds)
