"""`orchestrator approve PLAN_FILE`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import click
from rich.text import Text

from orchestrator.audit.signed_approval import (
    CLOCKS_DIFFER,
    ApprovalTerms,
    Decision,
    Role,
    SignedApproval,
    decide_approvals,
    sign,
)
from orchestrator.audit.signed_question import AskedQuestion, QuestionAnswer, SignedQuestion
from orchestrator.cli.confirmation import require_answer
from orchestrator.cli.handlers.approve import Signer, open_signer, question_console
from orchestrator.cli.plan_file import read_plan_file
from orchestrator.errors import ApprovalError, NotAskedError, UsageError
from orchestrator.playbook.frozen_plan import FrozenPlan
from orchestrator.playbook.resolved_steps import Question
from orchestrator.report.layout import fact_lines, print_lines
from orchestrator.runs.approval import APPROVE, REFUSE
from orchestrator.runs.approvals_file import append_line, approvals_file, read_approvals
from orchestrator.runs.plan_file import read_plan
from orchestrator.runs.signed_answer import require_other_person
from orchestrator.runs.signed_start import signed_plan
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import join_names, plural, safe_text
from orchestrator.times import format_clock, format_duration, parse_duration, parse_timestamp, utc_now

_USUAL = timedelta(hours=24)
_NOTHING: Mapping[str, str] = MappingProxyType({})


def approve_plan(
    plan_file: Path,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    key: Path | None,
    valid_for: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Sign a plan file as an approver."""
    signer = _open_plan_signer(plan_file, load_settings(config, assignments), key)
    name, terms = signer.name, signer.terms
    span = _choose_span(valid_for, terms.valid_for)
    frozen = read_plan(read_plan_file(plan_file), plan_file)
    earlier = read_approvals(plan_file).approvals
    now = utc_now()
    if frozen.made_at > now + CLOCKS_DIFFER:
        raise ApprovalError("the plan is from the future by this machine's clock", file=plan_file, hint="set the clock")
    if not as_json or not yes:
        _print_plan(frozen, plan_file, yes=yes)
    if not yes:
        question = f"\nType {APPROVE} to sign as {safe_text(name, 64)}, for {format_duration(span.total_seconds())}: "
        require_answer(question, APPROVE, hint="add --yes after the review")
        now = utc_now()
    plan = signed_plan(frozen)
    approval = sign(signer.key, name, plan, Role.APPROVE, at=now, expires_at=now + span)
    append_line(plan_file, approval)
    decision = decide_approvals([*earlier, approval], plan, terms, None, now)
    if as_json:
        document = _build_document(plan_file, frozen, approval, decision, terms.at_least)
        click.echo(json.dumps(document, indent=2))
    else:
        _print_approval(plan_file, approval, decision, terms)


def _open_plan_signer(plan_file: Path, settings: Settings, key: Path | None) -> Signer:
    """Read the key of an approver.

    Raises:
        UsageError: without a key, or without keys in the settings.
        ApprovalError: when the settings do not have this key.
    """
    if not settings.approval.keys:
        hint = f"carry the plan out with `orchestrator run --plan {plan_file}`, or add the key of every approver"
        raise UsageError("this is a plan file, but the settings have no approval.keys", file=plan_file, hint=hint)
    if key is None:
        raise UsageError("the approval of a plan needs a signature", file=plan_file, hint="add --key KEY")
    return open_signer(key, settings)


def _print_approval(plan_file: Path, approval: SignedApproval, decision: Decision, terms: ApprovalTerms) -> None:
    """Print the new approval, and the next step."""
    name, until = safe_text(approval.key_name, 64), format_clock(parse_timestamp(approval.expires_at))
    click.echo(f"Approved by {name} until {until}, in {safe_text(approvals_file(plan_file), 4096)}.")
    if decision.needed:
        click.echo(f"{plural(decision.needed, 'more approval')} needed.")
    else:
        path = safe_text(plan_file, 4096)
        click.echo(f"To start: orchestrator run --plan {path}{' --key KEY' if terms.not_the_starter else ''}")


def answer_in_file(
    plan_file: Path,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    key: Path | None,
    step: str,
    refuse: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Sign an answer to a question, beside the plan file of its run."""
    if key is None:
        raise UsageError("an answer beside a plan file needs a signature", hint="add --key KEY")
    signer = open_signer(key, load_settings(config, assignments))
    frozen = read_plan(read_plan_file(plan_file), plan_file)
    asked = _find_asked(read_approvals(plan_file).questions, step, frozen, plan_file)
    if not refuse:
        require_other_person(asked.starter, signer.key, signer.terms)
    texts = {each.name: each.question for each in frozen.steps if isinstance(each, Question)}
    if step not in texts:
        raise NotAskedError(f"the plan has no question in step {safe_text(step, 60)!r}", file=plan_file)
    if not as_json or not yes:
        more = {"question": texts[step], "run": asked.run_id}
        _print_plan(frozen, plan_file, more, yes=yes)
    word = REFUSE if refuse else APPROVE
    if not yes:
        meaning = "end the run" if refuse else "continue the run"
        require_answer(f"\nType {word} to {meaning}, as {safe_text(signer.name, 64)}: ", word, hint="add --yes")
    subject = SignedQuestion(frozen.cloud_url, asked.workspace, frozen.digest, asked.run_id, asked.question, step)
    now, until = utc_now(), parse_timestamp(asked.expires_at)
    role = Role.REFUSE if refuse else Role.APPROVE
    signature = sign(signer.key, signer.name, subject, role, at=now, expires_at=until)
    file = append_line(plan_file, QuestionAnswer(asked.question, not refuse, signature))
    if as_json:
        document = {"exit_code": 0, "run_id": asked.run_id, "step": step, "answer": word, "key_name": signer.name}
        click.echo(json.dumps({**document, "approvals_file": str(file)}, indent=2))
        return
    done = "Refused" if refuse else "Approved"
    click.echo(f"{done} by {safe_text(signer.name, 64)}, in {safe_text(file, 4096)}; the run reads this file.")


def _find_asked(questions: Sequence[AskedQuestion], step: str, frozen: FrozenPlan, plan_file: Path) -> AskedQuestion:
    """Return the last question of a step in the file of approvals.

    Raises:
        NotAskedError: when the run has not asked, the question has expired, or is of another workspace.
    """
    asked = next((each for each in reversed(questions) if each.step == step), None)
    file = approvals_file(plan_file)
    if asked is None:
        hint = "the run writes its question there; send the file back and forth, or share its folder"
        raise NotAskedError(f"no question of step {safe_text(step, 60)!r} is in this file", file=file, hint=hint)
    if frozen.workspace is not None and asked.workspace != frozen.workspace:
        message = f"the question is of workspace {safe_text(asked.workspace, 64)}, the plan of {frozen.workspace}"
        raise NotAskedError(message, file=file)
    until = parse_timestamp(asked.expires_at)
    if utc_now() >= until:
        raise NotAskedError(f"the question expired at {format_clock(until)}", file=file)
    return asked


def _choose_span(given: str | None, most: timedelta) -> timedelta:
    """Return the validity of the approval.

    Raises:
        UsageError: when the duration is invalid, or longer than the settings allow.
    """
    if given is None:
        return min(_USUAL, most)
    try:
        span = timedelta(seconds=parse_duration(given))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--valid-for: {error}", hint="write a duration, such as 8h") from error
    if span > most:
        ceiling = format_duration(most.total_seconds())
        raise UsageError(f"--valid-for is longer than approval.valid_for ({ceiling})", hint=f"give {ceiling} or less")
    if not span:
        raise UsageError("--valid-for must be above 0", hint="write a duration, such as 8h")
    return span


def _print_plan(frozen: FrozenPlan, plan_file: Path, more: Mapping[str, str] = _NOTHING, *, yes: bool) -> None:
    """Print the facts of a plan file for the approver."""
    console = question_console(yes=yes)
    counts = Counter((target.action, target.step) for target in frozen.targets)
    listed = ", ".join(f"{number} to {action} ({step})" for (action, step), number in counts.items())
    facts = {
        "plan": f"{plan_file}, digest {frozen.digest}",
        "made": f"{format_clock(frozen.made_at)} by {frozen.actor}",
        "playbook": frozen.loaded.playbook.name,
        "cloud": frozen.cloud_url,
        "workspace": frozen.workspace or "not known",
        "targets": listed or "none",
        "CVMs": join_names(target.cvm.ref.name for target in frozen.targets),
        **more,
    }
    pairs = [(label, Text(safe_text(text, 4096))) for label, text in facts.items() if text]
    print_lines(console, fact_lines(console, pairs))


def _build_document(
    plan_file: Path, frozen: FrozenPlan, approval: SignedApproval, decision: Decision, at_least: int
) -> dict[str, object]:
    """Build the document of `approve PLAN_FILE --json`."""
    return {
        "exit_code": 0,
        "plan_file": {"path": str(plan_file), "digest": frozen.digest},
        "approvals_file": str(approvals_file(plan_file)),
        **{name: text for name, text in approval.document().items() if name != "signature"},
        "approvals": len(decision.counted),
        "at_least": at_least,
    }
