"""`python -m bench`: measures the cases that were asked for, or all of them."""

import argparse
import signal
import sys
import time
from collections.abc import Callable

from bench import machine, result, table
from bench.cases.adaptive import auto
from bench.cases.effort import Effort
from bench.cases.limited import batch, single
from bench.cases.startup import startup
from bench.cases.unlimited import unlimited
from bench.cases.virtual import virtual
from bench.desk import desk
from bench.process import UnavailableError

CASES: dict[str, Callable[[Effort], result.CaseResult]] = {
    "startup": startup,
    "single": single,
    "batch": batch,
    "auto": auto,
    "unlimited": unlimited,
    "virtual": virtual,
}

_BUSY = 0.1
"""The share of all cores beyond which somebody else is using the machine."""


def main() -> None:
    """Measure, print, and keep what was measured; a quick measurement is not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)}; all without one")
    parser.add_argument("--runs", type=int, default=3, help="how often everything is measured (3)")
    parser.add_argument("--quick", action="store_true", help="small fleets, one run, nothing kept")
    asked = parser.parse_args()
    unknown = set(asked.cases) - set(CASES)
    if unknown or asked.runs < 1:
        parser.error(
            f"no case {', '.join(sorted(unknown))}; known: {', '.join(CASES)}" if unknown else "--runs is 1 or more"
        )
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # so that what was started is ended
    runs = 1 if asked.quick else asked.runs
    measured: list[result.CaseResult] = []
    with desk() as place:
        for name in asked.cases or CASES:
            facts, began = machine.facts(place.folder), time.monotonic()
            try:
                found = CASES[name](Effort(runs, asked.quick, place))
            except UnavailableError as error:
                print(f"[{name}] not available: {error}", file=sys.stderr, flush=True)
                continue
            print(f"[{name}] took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            measured.append(found)
            if (facts["busy_share_before"] or 0) > _BUSY:
                found.note(f"others used {facts['busy_share_before']:.0%} of the machine just before")
            if asked.quick:
                found.note("quick: the targets are meant for the whole case, on several runs")
            if not asked.quick:
                result.write(found.document(facts, runs))
    if measured:
        print(table.figures_table(measured), table.targets_table(measured), sep="\n\n")
        for each in measured:
            for note in each.notes:
                print(f"{each.name}: {note}")


if __name__ == "__main__":
    main()
