"""A plan as a file, to be reviewed by a person before the run: its text, its digest, and the parser.

Every CVM takes a line. The digest is SHA-256 over the canonical JSON of all other fields, as in the audit log. The file
has to be byte for byte the output of this module, so that an edited or truncated file is detected. This protects from
slips, not from a person able to compute a new digest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.audit.record import Record, clean_value, encode_canonical
from orchestrator.billing.rates import format_amount
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.errors import PlanFileError, UsageError
from orchestrator.playbook.frozen_plan import MARK, FrozenPlan, FrozenTarget
from orchestrator.playbook.load import IN_MEMORY, LoadedPlaybook, load_source
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.source import parse_source
from orchestrator.runs.documents import plan_document
from orchestrator.runs.frozen import Frozen, apply_settings
from orchestrator.runs.records import limits_from, planned_fields, started_fields, steps_from
from orchestrator.runs.session import WorkspaceIdentity
from orchestrator.runs.start import RunRequest
from orchestrator.settings.load import Settings
from orchestrator.state_files import PLAN_FORMAT
from orchestrator.times import parse_timestamp, timestamp

VERSION = 1

_AGAIN = "make a new plan: `orchestrator plan PLAYBOOK --out FILE`"
_DIGEST = "digest"


def build_plan_file(
    plan: Plan,
    loaded: LoadedPlaybook,
    guards: Guards,
    *,
    workspace_size: int,
    made_at: datetime,
    actor: str,
    version: str,
    cloud_url: str,
    workspace: Mapping[str, object],
    restores: Mapping[str, object] | None = None,
    wakes: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Build the document of a plan file, with its digest.

    Args:
        plan: the plan.
        loaded: the playbook.
        guards: the guards of the plan's check.
        workspace_size: the number of CVMs in the inventory; 0 when only some apps were read.
        made_at: the time of day.
        actor: the author, user@host.
        version: the version of this orchestrator.
        cloud_url: the address of the inventory's cloud.
        workspace: the fields to identify the workspace.
        restores: `run_id` of the run to undo, and `cvms_up`, the denominator of `max_percent`; None for another plan.
        wakes: `playbook` and `runs` of a wake, and `cvms_up` as in `restores`; None for another plan.
    """
    started = started_fields(loaded, actor=actor, version=version, cloud_url=cloud_url, limits=plan.limits)
    planned, shown = planned_fields(plan, workspace_size), plan_document(plan)
    document = {
        "format": PLAN_FORMAT,
        "v": VERSION,
        "made_at": timestamp(made_at),
        "actor": actor,
        "version": version,
        "cloud_url": cloud_url,
        **workspace,
        **({} if plan.workspace_name is None else {"workspace_name": plan.workspace_name}),
        "playbook": {**_as_mapping(started["playbook"]), "description": loaded.playbook.description},
        **({} if restores is None else {"restores": restores}),
        **({} if wakes is None else {"wakes": wakes}),
        "vars": started["vars"],
        **({} if plan.narrowed is None else {"narrowed": plan.narrowed}),
        "limits": started["limits"],
        "guards": {
            "max_targets": guards.max_targets,
            "max_percent": None if guards.max_percent is None else format_amount(guards.max_percent),
            "protect": {key: getattr(guards.protect, key) for key in ("name", "app_id", "teepod")},
            "keep_running": [{"per": rule.per, "min": str(rule.min)} for rule in guards.keep_running or ()] or None,
        },
        "guard_checks": shown["guards"],
        "estimate": shown["estimate"],
        "deadline": shown["deadline"],
        "billing": shown["billing"],
        "warnings": shown["warnings"],
        "workspace_size": workspace_size,
        "steps": planned["steps"],
        "targets": [
            {**fields, "in_progress": target.cvm.in_progress, "instance_type": target.cvm.instance_type}
            for fields, target in zip(_as_list(planned["targets"]), plan.targets, strict=True)
        ],
        "skipped": planned["skipped"],
        "playbook_text": loaded.data.decode("utf-8").split("\n"),
    }
    document = _as_mapping(clean_value(document))
    return {**document, _DIGEST: compute_digest(document)}


def compute_digest(document: dict[str, Any]) -> str:
    """Compute the digest of a plan file's document, without an existing digest field."""
    rest = {key: value for key, value in document.items() if key != _DIGEST}
    return hashlib.sha256(encode_canonical(rest)).hexdigest()


def format_plan_file(document: dict[str, Any]) -> bytes:
    """Format the file: a line for every field, and for every entry of a list. All text is ASCII.

    Invisible and misleading characters are written as escapes.
    """
    fields = []
    for key, value in document.items():
        text = json.dumps(value, allow_nan=False)
        if isinstance(value, list) and value:
            items = ",\n    ".join(json.dumps(item, allow_nan=False) for item in value)
            text = f"[\n    {items}\n  ]"
        fields.append(f"  {json.dumps(key)}: {text}")
    return ("{\n" + ",\n".join(fields) + "\n}\n").encode("ascii")


def read_plan(data: bytes, file: Path) -> FrozenPlan:
    """Read the plan from a file.

    Raises:
        PlanFileError: when the file is not, byte for byte, the output of `plan --out`.
    """
    document = _parse_document(data, file)
    try:
        saved = _Saved.model_validate(document)
        text = "\n".join(saved.playbook_text).encode()
        path = saved.playbook.path
        loaded = load_source(parse_source(text, Path(path or IN_MEMORY)), saved.vars)
        lock = saved.freeze_plan(loaded if path is not None else replace(loaded, in_memory=True), document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PlanFileError(f"invalid plan file: {place}: {first['msg']}", file=file, hint=_AGAIN) from error
    except (UsageError, ValueError, KeyError) as error:
        raise PlanFileError(f"invalid plan file: {error}", file=file, hint=_AGAIN) from error
    if lock.loaded.sha256 != saved.playbook.sha256:
        raise PlanFileError("the digest of the playbook in the plan file is wrong", file=file, hint=_AGAIN)
    return lock


def request_plan(
    frozen: FrozenPlan, file: Path, settings: Settings, assignments: Iterable[str], *, ignore_running: bool = False
) -> RunRequest:
    """Make the request for a run of a plan file.

    Args:
        frozen: the plan.
        file: the plan file.
        settings: the current settings. A stricter value than in the plan applies.
        assignments: the settings given on the command line, as `section.field=value`.
        ignore_running: whether to act on CVMs claimed by another run.

    Raises:
        UsageError: when a value of the command line would have no effect.
    """
    limits = {"max_targets": frozen.guards.max_targets, "max_percent": frozen.guards.max_percent}
    guards = {name: Decimal(limit) for name, limit in limits.items() if limit is not None}
    notify_on = frozen.loaded.playbook.notify.on
    recorded = Frozen("the plan file", frozen.limits, frozen.steps, guards, notify_on, file=file)
    applied = apply_settings(recorded, settings, assignments)
    frozen = replace(frozen, limits=applied.limits, steps=applied.steps)
    undone: dict[str, object] = {} if frozen.restores is None else {"restores": frozen.restores}
    if frozen.wakes is not None:
        undone["wakes"] = dict(frozen.wakes)
    origin = {"path": str(file), "digest": frozen.digest, "made_at": timestamp(frozen.made_at), "actor": frozen.actor}
    return RunRequest(
        frozen.loaded,
        frozen.limits,
        frozen,
        origin_fields={"plan_file": origin, **undone},
        ignore_running=ignore_running,
        workspace=WorkspaceIdentity(frozen.workspace, frozen.key_fingerprint),
        warnings=applied.warnings,
        narrowing=frozen.narrowing,
    )


def require_cloud(frozen: FrozenPlan, base_url: str, file: Path) -> None:
    """Refuse a plan of another cloud.

    Raises:
        PlanFileError: when this is another cloud.
    """
    if base_url != frozen.cloud_url:
        raise PlanFileError(
            f"the plan is for {frozen.cloud_url}, the settings are for {base_url}",
            file=file,
            hint="use the cloud.base_url (PHALA_CLOUD_API_PREFIX) of the plan",
        )


def _parse_document(data: bytes, file: Path) -> dict[str, Any]:
    if not data.startswith(MARK):
        raise PlanFileError(
            "this is not a plan file", file=file, hint="`orchestrator plan PLAYBOOK --out FILE` makes a plan file"
        )
    try:
        document = json.loads(data)
        if document["v"] != VERSION:
            reason = f"the plan file has format {document['v']!r}, this version reads {VERSION}"
            raise PlanFileError(reason, file=file, hint="use the version of the author, or make a new plan")
        whole = format_plan_file(document) == data and compute_digest(document) == document[_DIGEST]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole, document = False, {}
    if not whole:
        message = "the plan file was edited or cut off after `plan --out`"
        raise PlanFileError(message, file=file, hint=_AGAIN)
    return dict(document)


def _as_mapping(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)  # noqa: S101 - for the type checker
    return value


def _as_list(value: object) -> list[dict[str, Any]]:
    assert isinstance(value, list)  # noqa: S101 - for the type checker
    return value


class _Part(BaseModel):
    """The fields of a part of the file needed by a run."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class _Playbook(_Part):
    path: str | None
    sha256: str


class _Step(_Part):
    name: str
    action: str
    settle_timeout_s: Annotated[float, Field(gt=0)] | None = None


class _Ref(_Part):
    id: str | None
    vm_uuid: str | None
    name: str
    app_id: str | None
    teepod_id: int | None
    teepod: str | None


class _Target(_Part):
    step: str
    action: str
    cvm: _Ref
    status: str
    in_progress: bool
    instance_type: str | None

    def freeze_target(self) -> FrozenTarget:
        ref = CvmRef.of(self.cvm.model_dump())
        cvm = Cvm(ref=ref, status=self.status, in_progress=self.in_progress, instance_type=self.instance_type)
        return FrozenTarget(self.step, self.action, cvm)


class _Limits(_Part):
    requests_per_second: Annotated[float, Field(gt=0)] | Literal["auto"]
    burst: Annotated[int, Field(ge=1)]
    max_in_flight: Annotated[int, Field(ge=1)]
    per_teepod: Annotated[int, Field(ge=1)]
    max_failures: str | None


class _Restores(_Part):
    run_id: str
    cvms_up: int


class _Wakes(_Part):
    playbook: str
    runs: list[str]
    cvms_up: int


class _Saved(_Part):
    made_at: str
    actor: str
    version: str
    cloud_url: str
    workspace: str | None = None
    key_fingerprint: str | None = None
    workspace_name: str | None = None
    playbook: _Playbook
    vars: dict[str, str]
    limits: _Limits
    guards: dict[str, Any]
    steps: Annotated[list[_Step], Field(min_length=1)]
    targets: list[_Target]
    playbook_text: list[str]
    narrowed: dict[str, Any] | None = None
    restores: _Restores | None = None
    wakes: _Wakes | None = None

    def freeze_plan(self, loaded: LoadedPlaybook, document: Record) -> FrozenPlan:
        return FrozenPlan(
            loaded=loaded,
            guards=Guards.model_validate({key: value for key, value in self.guards.items() if value is not None}),
            limits=limits_from(document["limits"]),
            steps=steps_from(document["steps"]),
            targets=tuple(target.freeze_target() for target in self.targets),
            made_at=parse_timestamp(self.made_at),
            actor=self.actor,
            version=self.version,
            cloud_url=self.cloud_url,
            workspace=self.workspace,
            key_fingerprint=self.key_fingerprint,
            workspace_name=self.workspace_name,
            digest=document[_DIGEST],
            narrowing=Narrowing.from_record(self.narrowed),
            restores=None if self.restores is None else self.restores.run_id,
            wakes=None if self.wakes is None else {"playbook": self.wakes.playbook, "runs": self.wakes.runs},
            up_then=next((each.cvms_up for each in (self.restores, self.wakes) if each is not None), None),
        )
