"""The case of a large fleet on virtual time: CPU and memory per CVM, and their growth with the fleet."""

import json

from bench.cases.options import BenchOptions
from bench.process import PYTHON, UnavailableError, run_process
from bench.result import CaseResult, Target
from bench.work_folder import ROOT

_VARIANTS = {
    "engine": "engine and audit log, a cloud that does nothing",
    "whole": "with client, plan, and the simulated cloud in the same process",
}


def measure_virtual(options: BenchOptions) -> CaseResult:
    """Measure two fleets: ten times the CVMs should take ten times the time, and little memory."""
    few, many = options.choose_size(10_000, 1000), options.choose_size(100_000, 10_000)
    result = CaseResult("virtual", f"{many:,} CVMs on virtual time, 200 requests/s, audit log synced")
    for variant, words in _VARIANTS.items():
        label = f"{many:,} CVMs, {variant}"
        result.targets += [
            Target(f"CPU beside ten times that of {few:,} ({variant})", label, "times_linear", 1.2),
            Target(f"MiB of memory at the peak ({variant})", label, "peak_rss_mib", 600),
            Target(f"seconds of real time ({variant})", label, "real_seconds", 180),
        ]
        result.add_note(f"{variant}: {words}")
    for number in range(options.runs):
        for variant in _VARIANTS:
            cpu = {}
            try:
                for cvms in (few, many):
                    row = result.row(f"{cvms:,} CVMs, {variant}")
                    options.print_progress(result.name, number, row.label)
                    told = _measure(options, variant, cvms)
                    row.add_values(**told)
                    cpu[cvms] = told["cpu_seconds"]
                result.row(f"{many:,} CVMs, {variant}").add_values(times_linear=cpu[many] / cpu[few] / (many / few))
            except UnavailableError as error:
                result.add_note(f"{variant}: {error}")
    return result


def _measure(options: BenchOptions, variant: str, cvms: int) -> dict[str, float]:
    env = {"PYTHONPATH": str(ROOT)}
    arguments = [PYTHON, "-m", "bench.fleet", variant, str(cvms), str(options.work_folder.path)]
    try:
        told = json.loads(
            run_process(arguments, folder=options.work_folder.path, env=env, seconds=900).require_exit(0).out
        )
    finally:
        for log in options.work_folder.path.glob("*.jsonl"):
            log.unlink()
    if told["settled"] != cvms or told["exit_code"] != 0:
        raise UnavailableError(f"{told['settled']} of {cvms} CVMs settled, exit {told['exit_code']}")
    names = ("real_seconds", "cpu_seconds", "peak_rss_mib", "rss_before_mib", "virtual_seconds", "log_mib")
    return {name: told[name] for name in names} | {"cpu_ms_a_cvm": told["cpu_seconds"] * 1000 / cvms}
