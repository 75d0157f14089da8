"""Rehearse a playbook with many seeds, on all cores, and compare the results."""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.rehearsal.rehearse import Rehearsal, rehearse
from orchestrator.rehearsal.result import build_result, rank_result

_KEYS = ("seed", "exit_code", "ending", "ended_by", "counts", "seconds")


def rehearse_seed(rehearsal: Rehearsal, seed: int) -> dict[str, Any]:
    """Rehearse with one seed; return the document of the result. Errors as in `rehearse`."""
    with TemporaryDirectory(prefix="orchestrator-rehearsal-") as folder:
        return build_result(rehearsal, rehearse(rehearsal, seed, Path(folder)))


def rehearse_seeds(rehearsal: Rehearsal, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rehearse with many seeds, a seed at a time on every core; yield short results in the order of the seeds.

    Raises:
        NoMatchError: when the selectors match no CVM.
        UsageError: when the playbook or the settings are invalid.
    """
    workers = min(os.cpu_count() or 1, len(seeds))
    # A forked process has the fleet in its memory already; macOS has no safe fork.
    method = "fork" if sys.platform == "linux" else "spawn"
    with ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context(method), initializer=_set_order, initargs=(rehearsal,)
    ) as pool:
        yield from pool.map(_rehearse_shared, seeds)


_order: list[Rehearsal] = []
"""The order of a process for seeds."""


def _set_order(rehearsal: Rehearsal) -> None:
    _order[:] = [rehearsal]


def _rehearse_shared(seed: int) -> dict[str, Any]:
    found = rehearse_seed(_order[0], seed)
    return {key: found[key] for key in _KEYS}


def compare_seeds(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Build the document of `rehearse --seeds N --json`: every seed, and the worst, the median and the best."""
    ordered = sorted(found, key=_rank)
    return {
        "rehearsal": True,
        "seeds": list(found),
        "worst": ordered[-1],
        "median": ordered[(len(ordered) - 1) // 2],
        "best": ordered[0],
    }


def _rank(result: dict[str, Any]) -> tuple[int, int, float]:
    return rank_result(result["counts"], result["exit_code"], result["seconds"])
