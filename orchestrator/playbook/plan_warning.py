"""Warnings of a plan: a code for programs, a sentence for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class WarningCode(StrEnum):
    """Codes of a plan's warnings."""

    SELECTOR_UNMATCHED = "selector_unmatched"
    """A value of a select or an `exclude` matches no CVM."""
    PROTECT_UNMATCHED = "protect_unmatched"
    """A value of a `protect` guard matches no CVM."""
    STEP_EMPTY = "step_empty"
    """A step has no target."""
    NO_GUARDS = "no_guards"
    """A step selects every CVM, and the plan has no guard."""
    FACT_UNKNOWN = "fact_unknown"
    """Selected CVMs are skipped because a fact is not known."""
    GPU_RENTAL = "gpu_rental"
    """Targets are managed by a GPU rental; such CVMs usually refuse a stop."""
    GPU_MINIMUM = "gpu_minimum"
    """Targets have GPUs: a start is charged a new 24-hour minimum."""
    LEFT_TO_EARLIER = "left_to_earlier"
    """A step also selects CVMs that belong to an earlier step."""
    NEVER_REACHED = "never_reached"
    """A step waits for failures of a step that ends the run on failure."""
    DEADLINE = "deadline"
    """The deadline can't be met."""
    LIST_SHIFTING = "list_shifting"
    """The list of CVMs kept changing during the read."""
    QUESTIONS_TOO_LONG = "questions_too_long"
    """The questions may wait longer than the longest allowed run."""
    DRIFTED = "drifted"
    """CVMs have changed since the plan file was made, or since the end of the run to undo."""
    NOT_IN_PLAN_FILE = "not_in_plan_file"
    """The playbook selects CVMs that are not targets of the plan file."""
    FREEZE_ALWAYS = "freeze_always"
    """The freezes leave no time for stops, shutdowns and restarts within a year."""
    KEEP_IGNORED = "keep_ignored"
    """Targets are exempted, and the exemptions are ignored on purpose."""
    KEEP_EXPIRED = "keep_expired"
    """The exemption of targets has expired."""
    NAMED_TWICE = "named_twice"
    """The command names a CVM more than once; the CVM counts once."""
    PLAN_FILE_AGE = "plan_file_age"
    """The plan file is old, or from the future."""
    PLAN_FILE_VERSION = "plan_file_version"
    """Another version made the plan file."""
    LATE_STOPS = "late_stops"
    """CVMs went down only after the run to undo had given up, and are started too."""
    NO_OPERATION_HISTORY = "no_operation_history"
    """The API has no operation history, so a wake goes by the statuses of the CVMs."""
    SETTINGS_FROZEN = "settings_frozen"
    """Settings of the file or the environment have no effect: the plan file or the run has fixed the values."""
    SETTINGS_IGNORED = "settings_ignored"
    """A settings file found in the current folder has settings that count only in a file named or of your own."""
    OTHER_KEY = "other_key"
    """The API key differs, and both keys may belong to different workspaces."""


@dataclass(frozen=True, slots=True)
class PlanWarning:
    """A warning of a plan.

    Attributes:
        code: the subject of the warning.
        message: a sentence.
    """

    code: WarningCode
    message: str

    def document(self) -> dict[str, str]:
        """Return the warning as records and documents contain it."""
        return {"code": self.code.value, "message": self.message}


def warning_document(entry: object) -> dict[str, object]:
    """Return a logged warning in the form of documents; version 0.1 logged sentences without codes."""
    if isinstance(entry, Mapping):
        return {"code": entry.get("code"), "message": entry.get("message")}
    return {"code": None, "message": entry}
