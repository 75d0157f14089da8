"""The verdict on a log and its seals, in words and as a JSON document."""

from collections.abc import Iterator
from pathlib import Path

from orchestrator.audit.approval_verify import RecordedApprovals
from orchestrator.audit.seal_verify import SealCheck
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.text import plural, safe_text

_SHORT = 16


def verdict_document(reading: Reading, check: SealCheck, path: Path, code: int, *, asked: bool) -> dict[str, object]:
    """Build the document of `audit verify --json`.

    Args:
        reading: the result of the chain check.
        check: the result of the seal check.
        path: the path of the log.
        code: the exit code.
        asked: whether a public key was given to check the seals.
    """
    return {
        "exit_code": code,
        "verdict": reading.verdict.value,
        "audit_log": str(path),
        "run_id": reading.chain.run_id or None,
        "records": reading.records,
        "digest": reading.chain.prev if reading.records else None,
        "line": reading.line,
        "reason": reading.reason,
        "seals": check.found,
        "seal": _seal_document(reading, check) if asked else None,
    }


def _seal_document(reading: Reading, check: SealCheck) -> dict[str, object]:
    fault = None if reading.verdict is Verdict.ALTERED else check.find_fault(reading)
    good = check.good
    return {
        "ok": fault is None and reading.verdict is not Verdict.ALTERED,
        "reason": fault,
        "line": check.line,
        "key_id": good.key_id if good else None,
        "sealed_at": good.sealed_at if good else None,
        "by": good.by if good else None,
        "covers": good.covers.document() if good else None,
        "file": str(check.file) if check.file else None,
        "records_since": check.since if good else None,
    }


def verdict_lines(reading: Reading, check: SealCheck, path: Path, *, asked: bool) -> Iterator[str]:
    """Yield the lines of `audit verify`: first the verdict on the log, then the lines about its seals.

    Args:
        reading: the result of the chain check.
        check: the result of the seal check.
        path: the path of the log.
        asked: whether a public key was given to check the seals.
    """
    yield _describe_chain(reading, safe_text(path, 4096))
    if reading.verdict is Verdict.ALTERED:
        return
    if reading.records and reading.chain.run_id != path.stem:
        yield f"  the log belongs to run {safe_text(reading.chain.run_id, 64)}"
    if asked:
        yield from _describe_seals(reading, check)
    elif check.found:
        yield f"  {plural(check.found, 'seal')}, not checked: give --public-key"


def _describe_chain(reading: Reading, path: str) -> str:
    records = f"{reading.records} records"
    if reading.verdict is Verdict.WHOLE:
        return f"{path}: whole and finished, {records}, digest {reading.chain.prev}"
    if reading.verdict is Verdict.ALTERED:
        return f"{path}: ALTERED at line {reading.line}: {reading.reason}"
    if reading.verdict is Verdict.TORN:
        return f"{path}: whole so far ({records}), torn at line {reading.line}: {reading.reason}"
    return f"{path}: whole so far ({records}), but the run has not finished"


def _describe_seals(reading: Reading, check: SealCheck) -> Iterator[str]:
    fault, good = check.find_fault(reading), check.good
    if fault is not None:
        word = "NOT SEALED" if check.broken is None else "SEAL BROKEN"
        where = "" if check.line is None else f" at line {check.line}"
        yield f"  {word}{where}: {safe_text(fault, 500)}"
    if good is not None:
        by = f"at {safe_text(good.sealed_at, 40)} by {safe_text(good.by, 100)}, key {good.key_id[:_SHORT]}…"
        since = f"; {plural(check.since, 'record')} since, not covered by the seal" if check.since else ""
        found = f", in {safe_text(check.file.name)}" if check.file else ""
        yield f"  sealed up to line {good.covers.lines} {by}{found}{since}"


def approval_document(approvals: RecordedApprovals) -> dict[str, object]:
    """Build the field `approval` of `audit verify --json --approval-keys`."""
    return {
        "ok": approvals.fault is None,
        "reason": approvals.fault,
        "exempt": approvals.is_exempt,
        "approvers": list(approvals.approvers),
        "starter": approvals.starter,
        "signed_answers": approvals.signed_answers,
    }


def approval_line(approvals: RecordedApprovals) -> str:
    """Describe the signatures of a log in a line."""
    if approvals.fault is not None:
        return f"NOT APPROVED: {safe_text(approvals.fault, 500)}"
    if approvals.is_exempt:
        return "exempt from approvals"
    by = safe_text(", ".join(approvals.approvers), 500)
    start = "" if approvals.starter is None else f", start signed by {safe_text(approvals.starter, 64)}"
    answers = f", {plural(approvals.signed_answers, 'signed answer')}" if approvals.signed_answers else ""
    return f"approved by {by}{start}{answers}"
