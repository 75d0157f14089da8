"""The facts about the machine needed to read the figures."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = (
    "cvm-orchestrator",
    "anyio",
    "httpx",
    "httpcore",
    "h11",
    "aiohttp",
    "trio",
    "pydantic",
    "uvicorn",
    "uvloop",
)


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the facts about the machine that influence the figures.

    Args:
        folder: the folder of the audit logs.
    """
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu_model": _cpu_model(),
        "cpu_cores": os.cpu_count(),
        "memory_mib": _memory_mib(),
        "system": platform.system(),
        "python": platform.python_version(),
        "file_system": find_file_system(folder),
        "busy_share_before": measure_busy_share(),
        "versions": {name: found for name in _LIBRARIES if (found := _version(name))},
    }


def measure_busy_share(seconds: float = 1.0) -> float | None:
    """Measure the share of all cores used by other processes during `seconds`; None if unknown."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None or after[1] == before[1]:
        return None
    return round((after[0] - before[0]) / (after[1] - before[1]), 2)


def _ticks() -> tuple[int, int] | None:
    """Ticks of all cores since the start of the machine: busy ticks, and all ticks."""
    try:
        counts = [int(text) for text in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    _, _, _, idle, waiting, *_ = counts
    return sum(counts) - idle - waiting, sum(counts)


def find_file_system(folder: Path) -> str:
    """Find the kind of file system of a folder."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8")
    except OSError:
        return kind
    for line in mounts.splitlines():
        _, point, type_, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, type_
    return kind


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
