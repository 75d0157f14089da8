"""The case of starting: the wait of a person, or a shell loop, before the first effect."""

import os
import socket
import subprocess
import threading
import time
from contextlib import suppress
from statistics import median

from bench.cases.options import BenchOptions
from bench.process import COMMAND, PYTHON, UnavailableError, run_process
from bench.result import CaseResult, Target
from bench.work_folder import WorkFolder

PYTHON_ALONE = "python -c pass"
HELP, VALIDATE, PLAN = "orchestrator --help", "orchestrator validate", "orchestrator plan, until its first request"
_WARM_UPS = 2
_AT_ONCE = 10
_PATIENCE_SECONDS = 20.0


def measure_startup(options: BenchOptions) -> CaseResult:
    """Start each command many times, in turn, so that other load affects all commands alike."""
    result = CaseResult("startup", "From starting the command to its first effect")
    result.targets = [
        Target("seconds", HELP, "seconds", 0.15),
        Target("seconds", VALIDATE, "seconds", 0.30),
        Target("seconds", PLAN, "seconds", 0.40),
    ]
    playbook = options.work_folder.write_playbook({"requests_per_second": 50})
    env = options.work_folder.make_environment("http://127.0.0.1:9", "phak_bench") | {"ORCHESTRATOR_STATE_DIR": "state"}
    commands = {
        PYTHON_ALONE: [PYTHON, "-c", "pass"],
        HELP: [COMMAND, "--help"],
        VALIDATE: [COMMAND, "validate", playbook],
    }
    for number in range(options.runs * options.choose_size(_AT_ONCE, 3) + _WARM_UPS):
        if number % _AT_ONCE == 0:
            options.print_progress(result.name, min(number // _AT_ONCE, options.runs - 1), "every command")
        taken = {PLAN: _until_first_request(options.work_folder, playbook)}
        for label, arguments in commands.items():
            ended = run_process(
                arguments, folder=options.work_folder.path, env=env, role=None, seconds=60
            ).require_exit(0)
            taken[label] = (ended.seconds, ended.cpu_seconds)
        if number >= _WARM_UPS:
            for label in (PYTHON_ALONE, HELP, VALIDATE, PLAN):
                seconds, cpu_seconds = taken[label]
                result.row(label).add_values(seconds=seconds, cpu_seconds=cpu_seconds)
    alone = median(result.row(PYTHON_ALONE).figures["seconds"])
    for label in (HELP, VALIDATE, PLAN):
        row = result.row(label)
        row.add_values(times_python_alone=median(row.figures["seconds"]) / alone)
    result.add_note("the targets are meant for a machine on which `python -c pass` takes 0.02 s")
    return result


def _until_first_request(work_folder: WorkFolder, playbook: str) -> tuple[float, float]:
    """Measure seconds and CPU seconds from the start of `plan` to the first bytes of its first request.

    Raises:
        UnavailableError: when none came.
    """
    arrived: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_PATIENCE_SECONDS)

        def stamp() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(_PATIENCE_SECONDS)
                    if connection.recv(1):
                        arrived.append(time.perf_counter())

        thread = threading.Thread(target=stamp, daemon=True)
        thread.start()
        env = work_folder.make_environment(f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1", "phak_bench")
        began = time.perf_counter()
        child = subprocess.Popen(
            [COMMAND, "plan", playbook],
            cwd=work_folder.path,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        thread.join(_PATIENCE_SECONDS + 1)
        child.kill()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if not arrived:
        raise UnavailableError("`plan` sent no request")
    return arrived[0] - began, usage.ru_utime + usage.ru_stime
