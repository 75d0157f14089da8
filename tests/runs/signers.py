"""The keys of three people, and settings with their approvals."""

import base64
import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.audit.signed_approval import Role, sign
from orchestrator.playbook.frozen_plan import FrozenPlan
from orchestrator.playbook.load import load_source
from orchestrator.playbook.source import parse_source
from orchestrator.runs.approvals_file import append_line
from orchestrator.runs.plan_file import build_plan_file, format_plan_file, read_plan, request_plan
from orchestrator.runs.prepare import prepare_plan
from orchestrator.runs.session import Session
from orchestrator.runs.signed_start import SignedStart, signed_plan
from orchestrator.runs.start import RunRequest
from orchestrator.settings.model import ApprovalKey, ApprovalSection

NAMES = ("ann", "ben", "cem")
KEYS = {name: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()) for name in NAMES}
SECTION = ApprovalSection(
    keys=tuple(
        ApprovalKey(name=name, public_key=base64.b64encode(key.public_key().public_bytes_raw()).decode())
        for name, key in KEYS.items()
    ),
    exempt=("nightly",),
)
TEXT = 'name: {name}\nsteps: [{{action: stop, select: {{all: "true"}}}}]\n'


async def write_plan(session: Session, folder: Path, name: str = "all-down") -> Path:
    """Plan all CVMs down, and write the plan to a file."""
    loaded = load_source(parse_source(TEXT.format(name=name).encode(), folder / f"{name}.yaml"), {})
    found = await prepare_plan(session, loaded)
    document = build_plan_file(
        found.plan,
        loaded,
        found.guards,
        workspace_size=found.workspace_size,
        made_at=session.clock.wall(),
        actor="ann@host",
        version="1",
        cloud_url=session.endpoint.base_url,
        workspace=found.workspace.record_fields(),
    )
    file = folder / "stop.plan"
    file.write_bytes(format_plan_file(document))
    return file


def freeze(file: Path) -> FrozenPlan:
    """Read a plan file."""
    return read_plan(file.read_bytes(), file)


def approve(file: Path, name: str, at: datetime, span: timedelta = timedelta(hours=8)) -> Path:
    """Approve a plan file as a person."""
    plan = signed_plan(freeze(file))
    return append_line(file, sign(KEYS[name], name, plan, Role.APPROVE, at=at, expires_at=at + span))


def request_by(file: Path, session: Session, starter: str | None) -> RunRequest:
    """Request a run of a plan file, signed by its starter."""
    key = None if starter is None else KEYS[starter]
    return replace(request_plan(freeze(file), file, session.settings, ()), signed=SignedStart(file, key))
