"""The case of starting: how long a person, or a shell loop, waits before anything happens."""

import os
import socket
import subprocess
import threading
import time
from contextlib import suppress
from statistics import median

from bench.cases.effort import Effort
from bench.desk import Desk
from bench.process import COMMAND, PYTHON, UnavailableError, run
from bench.result import CaseResult, Target

PYTHON_ALONE = "python -c pass"
HELP, VALIDATE, PLAN = "orchestrator --help", "orchestrator validate", "orchestrator plan, until its first request"
_WARM_UPS = 2
_AT_ONCE = 10
_PATIENCE_SECONDS = 20.0


def startup(effort: Effort) -> CaseResult:
    """Each started many times, in turn, so that whatever else the machine does falls on all of them."""
    result = CaseResult("startup", "From starting the command to its first effect")
    result.targets = [
        Target("seconds", HELP, "seconds", 0.15),
        Target("seconds", VALIDATE, "seconds", 0.30),
        Target("seconds", PLAN, "seconds", 0.40),
    ]
    playbook = effort.desk.playbook({"requests_per_second": 50})
    env = effort.desk.environment("http://127.0.0.1:9", "phak_bench") | {"ORCHESTRATOR_STATE_DIR": "state"}
    commands = {
        PYTHON_ALONE: [PYTHON, "-c", "pass"],
        HELP: [COMMAND, "--help"],
        VALIDATE: [COMMAND, "validate", playbook],
    }
    for number in range(effort.runs * effort.of(_AT_ONCE, 3) + _WARM_UPS):
        if number % _AT_ONCE == 0:
            effort.say(result.name, min(number // _AT_ONCE, effort.runs - 1), "every command")
        taken = {PLAN: _until_first_request(effort.desk, playbook)}
        for label, arguments in commands.items():
            ended = run(arguments, folder=effort.desk.folder, env=env, role=None, seconds=60).expect(0)
            taken[label] = (ended.seconds, ended.cpu_seconds)
        if number >= _WARM_UPS:
            for label in (PYTHON_ALONE, HELP, VALIDATE, PLAN):
                seconds, cpu_seconds = taken[label]
                result.row(label).add(seconds=seconds, cpu_seconds=cpu_seconds)
    alone = median(result.row(PYTHON_ALONE).figures["seconds"])
    for label in (HELP, VALIDATE, PLAN):
        row = result.row(label)
        row.add(times_python_alone=median(row.figures["seconds"]) / alone)
    result.note("the targets are meant for a machine on which `python -c pass` takes 0.02 s")
    return result


def _until_first_request(desk: Desk, playbook: str) -> tuple[float, float]:
    """Seconds, and CPU seconds, from starting `plan` until the first bytes of its first request arrive.

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
        env = desk.environment(f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1", "phak_bench")
        began = time.perf_counter()
        child = subprocess.Popen(
            [COMMAND, "plan", playbook],
            cwd=desk.folder,
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
