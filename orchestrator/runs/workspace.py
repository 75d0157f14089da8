"""The workspace of a run: its id if the API provides the id, else a fingerprint of the key."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from orchestrator.cvm import Cvm
from orchestrator.engine.rate.gate import Priority
from orchestrator.errors import UsageError
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.runs.session import Session

_DOMAIN = b"orchestrator-key-v1\n"
_DIGITS = 16


def fingerprint_key(api_key: str) -> str:
    """Shorten a key to hex digits, different for different keys, without a way back to the key."""
    return hashlib.sha256(_DOMAIN + api_key.encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True, slots=True)
class WorkspaceIdentity:
    """The workspace of a run.

    Attributes:
        id: the workspace's id; None if the API does not provide the id.
        key: the fingerprint of the key; None in records of earlier versions.
    """

    id: str | None
    key: str | None

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> Self:
        """Read the workspace from `run.started` or a plan file; earlier versions wrote nothing."""
        return cls(fields.get("workspace"), fields.get("key_fingerprint"))

    def record_fields(self) -> dict[str, object]:
        """Write the fields of `run.started` and of a plan file."""
        return {"workspace": self.id, "key_fingerprint": self.key}

    def compare_with(self, earlier: "WorkspaceIdentity", what: str) -> PlanWarning | None:
        """Compare with an earlier record.

        Args:
            earlier: the record.
            what: the source of the record, such as `the run`.

        Returns:
            A warning if only the keys can be compared and the keys differ; else None.

        Raises:
            UsageError: when this is another workspace.
        """
        if self.id is not None and earlier.id is not None:
            if self.id == earlier.id:
                return None
            raise UsageError(
                f"{what} belongs to workspace {earlier.id}, the API key to workspace {self.id}",
                hint=f"use a key of workspace {earlier.id} (PHALA_CLOUD_API_KEY)",
            )
        if None in {self.key, earlier.key} or self.key == earlier.key:
            return None
        return PlanWarning(
            WarningCode.OTHER_KEY,
            f"{what} used another API key (fingerprint {earlier.key}, now {self.key}), and the API does not tell "
            f"whether both keys belong to the same workspace",
        )


async def read_workspace(session: Session, cvms: Iterable[Cvm] = ()) -> WorkspaceIdentity:
    """Find the workspace of the session's key: by the list of CVMs, else by a single request."""
    key = fingerprint_key(session.endpoint.api_key)
    found = {cvm.workspace for cvm in cvms}
    if len(found) == 1 and None not in found:
        return WorkspaceIdentity(found.pop(), key)
    async with session.gate.turn(Priority.READ):
        reply = await session.identify()
    return WorkspaceIdentity(reply.value, key)
