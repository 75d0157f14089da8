"""Stop fleets of Phala Cloud confidential VMs by playbook, and prove afterwards what was done.

A *playbook* selects CVMs and actions, the *plan* lists the present targets, the *engine* carries the plan out, and the
*audit log* records every step in advance. Each of these words is a folder.

The names in `__all__` are the Python API, imported at first use: the command line does not need these names.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.runs.api import Options, RunSummary, TargetSummary, plan, read_log, resume, run
    from orchestrator.runs.session import RunObserver
    from orchestrator.runs.status import StopRequest
    from orchestrator.settings.load import load_settings

__all__ = [
    "Options",
    "RunObserver",
    "RunSummary",
    "StopRequest",
    "TargetSummary",
    "load_settings",
    "plan",
    "read_log",
    "resume",
    "run",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not an import statement: packages below runs/ import the version from here.
    return getattr(importlib.import_module("orchestrator.runs.api"), name)
