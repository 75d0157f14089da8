"""Evaluate one calendar in a process: the file on stdin, `DaysOff` or an error as JSON on stdout.

Usage: python -m orchestrator.playbook.ics_process ZONE CPU_SECONDS
"""

import json
import resource
import signal
import sys
from contextlib import suppress
from types import FrameType
from zoneinfo import ZoneInfo

from orchestrator.playbook.ics import CalendarError, TooMuchWorkError, find_days_off

_MEMORY = 2_000_000_000
_SECONDS_TO_SAY_SO = 2


def _limit_resources(cpu_seconds: int) -> None:
    """Raise `TooMuchWorkError` after this much processor time; the system kills the process a little later."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooMuchWorkError

    signal.signal(signal.SIGXCPU, stop)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + _SECONDS_TO_SAY_SO))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def main(zone: str, cpu_seconds: str) -> None:
    """Read a calendar, compute its days, and print the document."""
    _limit_resources(int(cpu_seconds))
    try:
        document = find_days_off(sys.stdin.buffer.read(), ZoneInfo(zone)).document()
    except CalendarError as error:
        document = {"error": str(error)}
    except TooMuchWorkError:
        document = {"error": f"it takes more than {cpu_seconds} seconds to read"}
    except MemoryError:
        document = {"error": "it takes too much memory"}
    json.dump(document, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
