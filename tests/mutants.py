"""Change the decisions of one module at a time, and run the module's own tests against each changed module.

Call: `python -m tests.mutants SECONDS [MODULE…]`, with modules as in `OWN_TESTS`; all of them by default.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

OWN_TESTS = {
    "engine/follow_up": ["engine/test_follow_up.py", "engine/test_follow_up_resumed.py"],
    "engine/job": ["engine/test_job.py"],
    "engine/questions": ["engine/test_questions.py"],
    "engine/rate/adaptive": ["engine/rate/test_adaptive.py"],
    "engine/rate/backoff": ["engine/rate/test_backoff.py"],
    "engine/rate/breaker": ["engine/rate/test_breaker.py"],
    "engine/rate/estimate": ["engine/rate/test_estimate.py"],
    "engine/rate/gate": ["engine/rate/test_gate.py"],
    "engine/rate/gcra": ["engine/rate/test_gcra.py"],
    "engine/read/inventory": ["engine/read/test_inventory.py"],
    "engine/read/retry": ["engine/read/test_retry.py"],
    "engine/read/status": ["engine/read/test_status.py"],
    "engine/read/usage": ["engine/read/test_usage.py"],
    "engine/run_control": ["engine/test_run_control.py", "engine/test_run_control_rules.py"],
    "engine/send/classify": ["engine/send/test_classify.py"],
    "engine/send/dispatcher": ["engine/send/test_dispatcher.py"],
    "engine/send/ledger": ["engine/send/test_ledger.py"],
    "engine/send/queue": ["engine/send/test_queue.py", "engine/send/test_queue_teepods.py"],
    "engine/watch/abandon": ["engine/watch/test_abandon.py"],
    "engine/watch/evaluate": ["engine/watch/test_evaluate.py", "engine/watch/test_evaluate_up.py"],
    "engine/watch/watcher": ["engine/watch/test_watcher.py"],
    "engine/wave": ["engine/test_wave.py"],
    "audit/approvals": ["audit/test_approvals.py"],
    "audit/claims": ["audit/test_claims.py"],
    "audit/fleet_log": ["audit/test_fleet_log.py"],
    "audit/fleet_verify": ["audit/test_fleet_verify.py"],
    "audit/grouped_writer": ["audit/test_grouped_writer.py"],
    "audit/keys": ["audit/test_keys.py"],
    "audit/log": ["audit/test_log.py", "audit/test_after_finish.py"],
    "audit/plan_uses": ["audit/test_plan_uses.py"],
    "audit/pruning": ["audit/test_pruning.py"],
    "audit/record": ["audit/test_record.py"],
    "audit/replay": ["audit/test_replay.py", "audit/test_after_finish.py"],
    "audit/seal_format": ["audit/test_seal_format.py"],
    "audit/seal_verify": ["audit/test_seal_verify.py"],
    "audit/signed_approval": ["audit/test_signed_approval.py"],
    "audit/store": ["audit/test_store.py"],
    "audit/target": ["audit/test_target.py", "audit/test_replay.py"],
    "audit/verify": ["audit/test_verify.py"],
}
"""The tests of each module with decisions, under `tests/`; the modules are under `orchestrator/`."""

ROOT = Path(__file__).parents[1]
MUTMUT = str(Path(sys.executable).with_name("mutmut"))
COPIED = ["tests", "playbooks", "docs"]


def make_folder(module: str) -> Path:
    """Make a folder with links to the sources and with settings for this module alone."""
    folder = ROOT / "mutants" / module.replace("/", ".")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("orchestrator", *COPIED):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(ROOT / name)
    settings = {
        "source_paths": ["orchestrator"],
        "only_mutate": [f"orchestrator/{module}.py"],
        "also_copy": COPIED,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--timeout", "0"],  # mutmut has its own time-out
        "pytest_add_cli_args_test_selection": [f"tests/{test}" for test in OWN_TESTS[module]],
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]), encoding="utf-8")
    return folder


def run_mutmut(folder: Path, seconds: float, *names: str) -> bool:
    """Run the remaining mutants, or these alone, for at most so many seconds; return False if the tests can't run."""
    with (folder / "run.log").open("wb") as log:
        run = subprocess.Popen(
            [MUTMUT, "run", "--max-children", "2", *names],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            return run.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGTERM)
            run.wait()
            return True


def read_results(folder: Path) -> dict[str, str]:
    """Read the result of each mutant by its name."""
    results = subprocess.run([MUTMUT, "results", "--all", "true"], cwd=folder, capture_output=True, check=True)
    return dict(re.findall(r"^ +(\S+): (.+)$", results.stdout.decode(), re.MULTILINE))


def run_module(module: str, seconds: float) -> bool:
    """Run one module for at most so many seconds, and print its figures; return False if its tests can't run."""
    folder, begun = make_folder(module), time.monotonic()
    if not run_mutmut(folder, seconds):
        print(f"{module}: the tests fail without a change ({folder / 'run.log'})")  # noqa: T201 - the result
        return False
    # Other processes may take the processor's time: a mutant counts as endless after a second run.
    endless = [name for name, result in read_results(folder).items() if result == "timeout"]
    if endless:
        run_mutmut(folder, 60.0 * len(endless), *endless)
    found = read_results(folder)
    counts = ", ".join(f"{number} {result}" for result, number in Counter(found.values()).items())
    print(f"{module}: {len(found)} mutants in {time.monotonic() - begun:.0f} s: {counts}")  # noqa: T201 - the result
    for name, result in found.items():
        if result not in {"killed", "not checked"}:
            print(f"    {result}: {name}")  # noqa: T201 - the result
    sys.stdout.flush()
    return True


def main(seconds: str, *modules: str) -> int:
    """Run modules one after another."""
    unknown = set(modules) - OWN_TESTS.keys()
    if unknown:
        print(f"no such module: {', '.join(sorted(unknown))}; modules: {', '.join(OWN_TESTS)}")  # noqa: T201 - the fault
        return 2
    failed = [module for module in modules or OWN_TESTS if not run_module(module, float(seconds))]
    return 1 if failed else 0


if __name__ == "__main__":
    os.nice(15)
    sys.exit(main(*sys.argv[1:]))
