"""What a plan warns of: a code for programs, a sentence for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class WarningCode(StrEnum):
    """What a warning of a plan is about."""

    SELECTOR_UNMATCHED = "selector_unmatched"
    """A value of a select or an `exclude` fits no CVM."""
    PROTECT_UNMATCHED = "protect_unmatched"
    """A value of a `protect` guard fits no CVM."""
    STEP_EMPTY = "step_empty"
    """A step has no target."""
    NO_GUARDS = "no_guards"
    """A step selects every CVM, and the plan has no guard."""
    FACT_UNKNOWN = "fact_unknown"
    """Selected CVMs are left alone since a fact of them is not known."""
    GPU_RENTAL = "gpu_rental"
    """Targets are managed by a GPU rental, whose CVMs usually refuse a stop."""
    GPU_MINIMUM = "gpu_minimum"
    """Targets have GPUs, for which a new 24-hour minimum is charged."""
    LEFT_TO_EARLIER = "left_to_earlier"
    """A step also selects CVMs that belong to a step before it."""
    NEVER_REACHED = "never_reached"
    """A step takes up failures of a step after which the run ends."""
    DEADLINE = "deadline"
    """The deadline can't be met."""
    LIST_SHIFTING = "list_shifting"
    """The list of CVMs kept changing while it was read."""
    QUESTIONS_TOO_LONG = "questions_too_long"
    """The questions may wait for longer than a run may take."""
    DRIFTED = "drifted"
    """CVMs have changed since the plan file was made, or since the run to undo ended."""
    NOT_IN_PLAN_FILE = "not_in_plan_file"
    """The playbook selects CVMs that the plan file does not have as targets."""
    PLAN_FILE_AGE = "plan_file_age"
    """The plan file is old, or was made in the future."""
    PLAN_FILE_VERSION = "plan_file_version"
    """Another version made the plan file."""
    LATE_STOPS = "late_stops"
    """CVMs went down only after the run to undo had given up on them, and are started too."""
    SETTINGS_FROZEN = "settings_frozen"
    """Settings of the file or the environment have no effect: the plan file or the run has decided."""
    OTHER_KEY = "other_key"
    """Another API key is used, and the API does not tell whether both belong to one workspace."""


@dataclass(frozen=True, slots=True)
class PlanWarning:
    """One warning.

    Attributes:
        code: what it is about.
        message: a sentence.
    """

    code: WarningCode
    message: str

    def document(self) -> dict[str, str]:
        """As records and documents have it."""
        return {"code": self.code.value, "message": self.message}


def warning_document(entry: object) -> dict[str, object]:
    """A warning of a log as documents have it; version 0.1 wrote sentences without codes."""
    if isinstance(entry, Mapping):
        return {"code": entry.get("code"), "message": entry.get("message")}
    return {"code": None, "message": entry}
