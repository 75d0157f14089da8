"""Check an earlier chosen CVM before a later action: one rule for plan files, undos and resumed runs. Pure."""

from collections.abc import Iterable

from orchestrator.cvm import Cvm, CvmRef, normal_uuid
from orchestrator.outcome import Reason, SkipReason

BINDING = frozenset({SkipReason.PROTECTED, SkipReason.KEPT})
"""Skip reasons of the present settings that also apply to earlier chosen CVMs."""


def recheck_cvm(then: Cvm, now: Cvm, reason: Reason | None, otherwise: str | None = None) -> Reason | None:
    """Return the reason to skip an earlier chosen CVM; None for an unchanged CVM.

    Args:
        then: the CVM when chosen.
        now: the CVM at present.
        reason: the skip reason of a new plan.
        otherwise: a change of the planned action; counts only for an unchanged CVM.
    """
    if reason is not None and reason.code is SkipReason.FACT_UNKNOWN:
        return reason
    changes = list(list_changes(then, now))
    if reason is not None and reason.code in BINDING:
        changes.append(f"now {reason.text}")
    elif not changes and otherwise is not None:
        changes.append(otherwise)
    elif not changes and reason is not None:
        changes.append(reason.text)
    return Reason(SkipReason.DRIFTED, ", ".join(changes)) if changes else None


def lacks_facts(then: CvmRef, now: CvmRef) -> bool:
    """Return True if the list of CVMs lacks a fact known when the CVM was chosen."""
    return bool(
        (then.name and not now.name) or (then.app_id and not now.app_id) or (then.teepod_key and not now.teepod_key)
    )


def list_changes(then: Cvm, now: Cvm) -> Iterable[str]:
    """Describe the changes of a CVM; empty for an unchanged CVM."""
    if then.ref.id and now.ref.id and then.ref.id != now.ref.id:
        yield f"its id was {then.ref.id}, is {now.ref.id}"
    if then.ref.vm_uuid and now.ref.vm_uuid and normal_uuid(then.ref.vm_uuid) != normal_uuid(now.ref.vm_uuid):
        yield f"its UUID was {then.ref.vm_uuid}, is {now.ref.vm_uuid}"
    facts = (
        ("name", then.ref.name, now.ref.name),
        ("app", then.ref.app_id, now.ref.app_id),
        ("teepod", _format_teepod(then), _format_teepod(now)),
        ("status", then.status, now.status),
        ("instance type", then.instance_type, now.instance_type),
    )
    for what, before, after in facts:
        if _escape_surrogates(before) != _escape_surrogates(after):
            yield f"{what} was {before}, is {after}"
    if now.in_progress and not then.in_progress:
        yield "an operation is in progress"
    elif then.in_progress and not now.in_progress:
        yield "the operation in progress has ended"


def _format_teepod(cvm: Cvm) -> str | None:
    ref = cvm.ref
    if ref.teepod_id is None:
        return ref.teepod
    return f"{ref.teepod} (#{ref.teepod_id})" if ref.teepod else f"#{ref.teepod_id}"


def _escape_surrogates(text: str | None) -> str | None:
    """Escape unpaired surrogates, as the text in a file is escaped."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")
