"""`python -m bench`: measure the given cases, or all cases."""

import argparse
import signal
import sys
import time
from collections.abc import Callable

from bench import machine, result, table
from bench.cases.adaptive import measure_adaptive
from bench.cases.fleet import measure_fleet
from bench.cases.inventory import measure_inventory
from bench.cases.limited import measure_batch, measure_single
from bench.cases.options import BenchOptions
from bench.cases.page import measure_page
from bench.cases.rehearsal import measure_rehearsal
from bench.cases.startup import measure_startup
from bench.cases.store import measure_store
from bench.cases.unlimited import measure_unlimited
from bench.cases.virtual import measure_virtual
from bench.process import UnavailableError
from bench.work_folder import make_work_folder

CASES: dict[str, Callable[[BenchOptions], result.CaseResult]] = {
    "startup": measure_startup,
    "inventory": measure_inventory,
    "single": measure_single,
    "batch": measure_batch,
    "auto": measure_adaptive,
    "unlimited": measure_unlimited,
    "fleet": measure_fleet,
    "store": measure_store,
    "virtual": measure_virtual,
    "rehearsal": measure_rehearsal,
    "page": measure_page,
}

_BUSY = 0.1
"""Share of all cores above which other processes are reported."""


def main() -> None:
    """Measure, print and keep the results; a quick measurement is not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)}; default: all")
    parser.add_argument("--runs", type=int, default=3, help="number of measurements (3)")
    parser.add_argument("--quick", action="store_true", help="small fleets, one run, no result kept")
    asked = parser.parse_args()
    unknown = set(asked.cases) - set(CASES)
    if unknown or asked.runs < 1:
        parser.error(
            f"no case {', '.join(sorted(unknown))}; known: {', '.join(CASES)}" if unknown else "--runs is 1 or more"
        )
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # so that what was started is ended
    runs = 1 if asked.quick else asked.runs
    measured: list[result.CaseResult] = []
    with make_work_folder() as work_folder:
        for name in asked.cases or CASES:
            facts, began = machine.read_facts(work_folder.path), time.monotonic()
            try:
                found = CASES[name](BenchOptions(runs, asked.quick, work_folder))
            except UnavailableError as error:
                print(f"[{name}] not available: {error}", file=sys.stderr, flush=True)
                continue
            print(f"[{name}] took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            measured.append(found)
            if (facts["busy_share_before"] or 0) > _BUSY:
                found.add_note(f"others used {facts['busy_share_before']:.0%} of the machine just before")
            if asked.quick:
                found.add_note("quick: the targets are meant for the whole case, on several runs")
            if not asked.quick:
                result.write_document(found.to_document(facts, runs))
    if measured:
        print(table.figures_table(measured), table.targets_table(measured), sep="\n\n")
        for each in measured:
            for note in each.notes:
                print(f"{each.name}: {note}")


if __name__ == "__main__":
    main()
