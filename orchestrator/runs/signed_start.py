"""Approved starts: the keys of the settings, the approvals beside a plan file, and the check at the start of a run.

Where the settings have `approval.keys`, a run needs a plan file that enough people have signed. The check comes before
the confirmation, and again right before the log, together with the use of the plan: an approval counts for one run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orchestrator.audit.keys import key_id, read_public_key
from orchestrator.audit.signed_approval import (
    CLOCKS_DIFFER,
    ApprovalTerms,
    Decision,
    Role,
    SignedPlan,
    decide_approvals,
    sign,
)
from orchestrator.errors import ApprovalError, SettingsError
from orchestrator.playbook.frozen_plan import FrozenPlan
from orchestrator.runs.approvals_file import approvals_file, read_approvals
from orchestrator.runs.stores import plan_use_store, read_clock
from orchestrator.settings.load import Settings
from orchestrator.settings.model import read_key_bytes
from orchestrator.text import plural, safe_text

if TYPE_CHECKING:
    from orchestrator.audit.replay import RunState
    from orchestrator.runs.session import Session
    from orchestrator.runs.start import RunRequest

_MOST_REASONS = 10
_MAKE = "orchestrator plan PLAYBOOK --out FILE"


@dataclass(frozen=True, slots=True)
class SignedStart:
    """The start of a run by a plan file with approvals.

    Attributes:
        file: the plan file.
        key: the private key of the starter; None without a key.
    """

    file: Path
    key: Ed25519PrivateKey | None = field(default=None, repr=False)


def needs_approval(settings: Settings, request: "RunRequest") -> bool:
    """Check whether a run needs an approved plan: with keys in the settings, unless the playbook is exempt."""
    return bool(settings.approval.keys) and not is_exempt(settings, request)


def is_exempt(settings: Settings, request: "RunRequest") -> bool:
    """Check for a playbook in `approval.exempt`, or its wake; an ad-hoc order or an undo is never exempt."""
    if request.wake is not None:
        return request.wake.loaded.playbook.name in settings.approval.exempt
    is_playbook = not request.loaded.in_memory and "restores" not in request.origin_fields
    return is_playbook and request.loaded.playbook.name in settings.approval.exempt


def load_terms(settings: Settings) -> ApprovalTerms:
    """Read the keys and the terms of the settings.

    Raises:
        UsageError: when the file of a key is unusable.
        SettingsError: when two names have the same key.
    """
    keys: dict[str, Ed25519PublicKey] = {}
    holders: dict[str, str] = {}
    section = settings.approval
    for each in section.keys:
        if each.public_key_file is not None:
            key = read_public_key(each.public_key_file)
        else:
            key = Ed25519PublicKey.from_public_bytes(read_key_bytes(each.public_key or ""))
        holder = holders.setdefault(key_id(key), each.name)
        if holder != each.name:
            message = f"approval.keys: {holder!r} and {each.name!r} have the same key"
            raise SettingsError(message, file=settings.origin.file, hint="one person is one key")
        keys[each.name] = key
    return ApprovalTerms(keys, section.at_least, section.not_the_starter, timedelta(seconds=section.valid_for))


def signed_plan(frozen: FrozenPlan) -> SignedPlan:
    """Return the part of a plan file under a signature."""
    return SignedPlan(frozen.digest, frozen.cloud_url, frozen.workspace)


def check_start(session: "Session", request: "RunRequest") -> Decision | None:
    """Check the approvals of a request; None for a run without need of an approval.

    Raises:
        ApprovalError: when an approval or a signature is missing, wrong, expired or by an unknown key.
        PlanFileError: when the file of approvals is damaged.
        SettingsError: when the keys of the settings are unusable.
    """
    settings, signed = session.settings, request.signed
    if session.endpoint.simulated or not needs_approval(settings, request):
        return None
    frozen = request.constraint
    if signed is None or not isinstance(frozen, FrozenPlan):
        raise ApprovalError("the run needs an approved plan (approval.keys)", hint=_explain_way(request))
    terms, now = load_terms(settings), _read_clock(session)
    if frozen.made_at > now + CLOCKS_DIFFER:
        hint = "check the clocks: with a clock set back, expired approvals would count again"
        raise ApprovalError("the plan is from the future by this machine's clock", file=signed.file, hint=hint)
    starter = _find_starter(signed, terms)
    decision = decide_approvals(read_approvals(signed.file).approvals, signed_plan(frozen), terms, starter, now)
    _refuse_unapproved(decision, signed.file, terms)
    return decision


def _read_clock(session: "Session") -> datetime:
    """Return the time of day: the database's with a team store, whatever the clock of this machine says."""
    return session.clock.wall() if session.settings.store.url is None else read_clock(session.settings)


def require_recorded(session: "Session", state: "RunState") -> None:
    """Refuse to resume a run without an approval at its start; recorded approvals count after their expiry too.

    Raises:
        ApprovalError: when the log has no approval, and the playbook is not exempt.
    """
    name = (state.started.wakes or {}).get("playbook") or state.started.playbook.get("name")
    is_exempt_now = name in session.settings.approval.exempt
    if state.started.approval is None and not is_exempt_now:
        hint = f"orchestrator abandon {safe_text(state.run_id)} --reason TEXT; then make a plan, and have it approved"
        raise ApprovalError("the run began without an approval, and the settings have approval.keys now", hint=hint)


def _explain_way(request: "RunRequest") -> str:
    if "restores" in request.origin_fields:
        make = f"orchestrator plan --restore {request.origin_fields['restores']} --out FILE"
    elif request.wake is not None:
        make = f"orchestrator plan --wake {request.wake.loaded.playbook.name} --out FILE"
    else:
        make = "the same command with --out FILE" if request.loaded.in_memory else _MAKE
    return f"{make}; another person: orchestrator approve FILE --key KEY; then: orchestrator run --plan FILE --key KEY"


def _find_starter(signed: SignedStart, terms: ApprovalTerms) -> str | None:
    """Return the name of the starter's key; None if no key is needed."""
    if signed.key is None:
        if terms.not_the_starter:
            message = "the starter of an approved plan has to sign too (approval.not_the_starter)"
            raise ApprovalError(message, file=signed.file, hint="add --key KEY")
        return None
    return require_known_key(signed.key, terms)


def require_known_key(key: Ed25519PrivateKey, terms: ApprovalTerms) -> str:
    """Return the name of a key in the settings.

    Raises:
        ApprovalError: when the settings have no such key.
    """
    name = terms.find_name(key.public_key())
    if name is None:
        known = ", ".join(safe_text(each, 64) for each in terms.keys)
        raise ApprovalError("approval.keys of the settings have no key of --key", hint=f"known keys: {known}")
    return name


def _refuse_unapproved(decision: Decision, plan_file: Path, terms: ApprovalTerms) -> None:
    if decision.is_approved:
        return
    file = approvals_file(plan_file)
    if decision.wrong:
        message = "the signature of this approval is wrong, or is for another plan, cloud or workspace"
        raise ApprovalError(message, file=file, line=decision.wrong[0], hint="find the author of this line")
    reasons = "".join(f"; line {line}: {safe_text(reason, 200)}" for line, reason in decision.ignored[:_MOST_REASONS])
    if (unnamed := len(decision.ignored) - _MOST_REASONS) > 0:
        reasons += f"; and {plural(unnamed, 'more line')} without effect"
    message = f"the plan has {len(decision.counted)} of {plural(terms.at_least, 'approval')}{reasons}"
    raise ApprovalError(message, file=plan_file, hint=f"another person: orchestrator approve {plan_file} --key KEY")


def use_approval(session: "Session", request: "RunRequest", run_id: str) -> "RunRequest":
    """Check the approvals again, and use the plan for a run; return the request with the signatures for the log.

    Raises:
        ApprovalError: when the plan is not approved any more, or was used already.
        PlanFileError: when the file of approvals is damaged.
        SettingsError: when the use can't be recorded.
    """
    decision = check_start(session, request)
    if decision is None:
        if session.endpoint.simulated:
            return request
        return _add_fields(request, {"exempt": True})
    signed, frozen = request.signed, request.constraint
    assert signed is not None and isinstance(frozen, FrozenPlan)  # noqa: S101, PT018 - by `check_start`
    terms, now = load_terms(session.settings), _read_clock(session)
    use = plan_use_store(session.settings).use_plan(frozen.digest, run_id, now)
    if use is not None:
        message = f"the approved plan was used by run {safe_text(use.run_id, 64)} at {safe_text(use.at, 40)}"
        raise ApprovalError(message, file=signed.file, hint="an approval counts once: make a new plan")
    return _add_fields(request, _approval_fields(decision, signed, signed_plan(frozen), terms, now))


def _approval_fields(
    decision: Decision, signed: SignedStart, plan: SignedPlan, terms: ApprovalTerms, now: datetime
) -> dict[str, Any]:
    """Build the field `approval` of `run.started`."""
    fields: dict[str, Any] = {
        "at_least": terms.at_least,
        "not_the_starter": terms.not_the_starter,
        "approvals": [each.record_fields(terms.keys[each.key_name]) for each in decision.counted],
    }
    if signed.key is not None:
        name = require_known_key(signed.key, terms)
        start = sign(signed.key, name, plan, Role.START, at=now, expires_at=decision.expires_at)
        fields["starter"] = start.record_fields(signed.key.public_key())
    return fields


def _add_fields(request: "RunRequest", approval: Mapping[str, Any]) -> "RunRequest":
    return replace(request, origin_fields={**request.origin_fields, "approval": approval})
