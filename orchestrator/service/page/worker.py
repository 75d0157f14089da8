"""The entry of the page's own process: the service imports only this module, and the process imports the reader."""

import os
import signal
from contextlib import suppress
from functools import cache
from operator import attrgetter
from typing import Any

_NICENESS = 10


def call_reader(settings: bytes, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - of the method
    """Call a method of the reader of these settings.

    Args:
        settings: the pickled settings.
        method: the name of the method, such as `run_page` or `actions.do`.
        arguments: its arguments.
    """
    _set_up_process()
    from orchestrator.service.page.reader import open_reader  # noqa: PLC0415 - in the other process

    return attrgetter(method)(open_reader(settings))(*arguments)


@cache
def _set_up_process() -> None:
    """Let the runs of the service go first, and leave the signals of the terminal to the service; once a process.

    The page answers during the stop of the service. The process ends with the service, because its input ends.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(_NICENESS)
