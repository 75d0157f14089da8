"""The case of a large fleet on virtual time: what the program itself costs a CVM, and whether that stays so."""

import json

from bench.cases.effort import Effort
from bench.desk import ROOT
from bench.process import PYTHON, UnavailableError, run
from bench.result import CaseResult, Target

_VARIANTS = {
    "engine": "engine and audit log, a cloud that does nothing",
    "whole": "with client, plan, and the simulated cloud in the same process",
}


def virtual(effort: Effort) -> CaseResult:
    """Ten times the CVMs should take ten times as long, and not much memory."""
    few, many = effort.of(10_000, 1000), effort.of(100_000, 10_000)
    result = CaseResult("virtual", f"{many:,} CVMs on virtual time, 200 requests/s, audit log synced")
    for variant, words in _VARIANTS.items():
        label = f"{many:,} CVMs, {variant}"
        result.targets += [
            Target(f"CPU beside ten times that of {few:,} ({variant})", label, "times_linear", 1.2),
            Target(f"MiB of memory at the peak ({variant})", label, "peak_rss_mib", 600),
            Target(f"seconds of real time ({variant})", label, "real_seconds", 180),
        ]
        result.note(f"{variant}: {words}")
    for number in range(effort.runs):
        for variant in _VARIANTS:
            cpu = {}
            try:
                for cvms in (few, many):
                    row = result.row(f"{cvms:,} CVMs, {variant}")
                    effort.say(result.name, number, row.label)
                    told = _measure(effort, variant, cvms)
                    row.add(**told)
                    cpu[cvms] = told["cpu_seconds"]
                result.row(f"{many:,} CVMs, {variant}").add(times_linear=cpu[many] / cpu[few] / (many / few))
            except UnavailableError as error:
                result.note(f"{variant}: {error}")
    return result


def _measure(effort: Effort, variant: str, cvms: int) -> dict[str, float]:
    env = {"PYTHONPATH": str(ROOT)}
    arguments = [PYTHON, "-m", "bench.fleet", variant, str(cvms), str(effort.desk.folder)]
    try:
        told = json.loads(run(arguments, folder=effort.desk.folder, env=env, seconds=900).expect(0).out)
    finally:
        for log in effort.desk.folder.glob("*.jsonl"):
            log.unlink()
    if told["settled"] != cvms or told["exit_code"] != 0:
        raise UnavailableError(f"{told['settled']} of {cvms} CVMs settled, exit {told['exit_code']}")
    names = ("real_seconds", "cpu_seconds", "peak_rss_mib", "rss_before_mib", "virtual_seconds", "log_mib")
    return {name: told[name] for name in names} | {"cpu_ms_a_cvm": told["cpu_seconds"] * 1000 / cvms}
