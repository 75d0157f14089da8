"""`orchestrator approve`."""

import json
import sys
from pathlib import Path

import anyio
import click

from orchestrator.audit.approvals import ApprovalAnswer
from orchestrator.audit.events import ApprovalRequested
from orchestrator.audit.replay import RunState
from orchestrator.cli.confirmation import require_answer
from orchestrator.cli.consoles import console_on, stderr_console
from orchestrator.cli.named_runs import find_run_to_change
from orchestrator.cli.terminal_input import open_terminal
from orchestrator.errors import UsageError
from orchestrator.report.run.text import print_question
from orchestrator.runs.answer import answer_word, find_question, leave_answer, read_state
from orchestrator.runs.approval import APPROVE, REFUSE
from orchestrator.runs.start import find_actor
from orchestrator.runs.stores import run_store
from orchestrator.settings.load import load_settings
from orchestrator.text import safe_text
from orchestrator.times import timestamp, utc_now

_LONGEST_COMMENT = 1000


def answer_question(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    refuse: bool,
    step: str | None,
    comment: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Answer the open question of a run."""
    if comment is not None and len(comment) > _LONGEST_COMMENT:
        raise UsageError(f"--comment allows at most {_LONGEST_COMMENT} characters")
    settings = load_settings(config, assignments)
    run = find_run_to_change(run_store(settings), run_id)
    state = read_state(run)
    question = find_question(state, held=run.is_locked(), step=step, now=utc_now())
    if not as_json or not yes:
        keys = None if yes else open_terminal()
        print_question(stderr_console() if keys is None else console_on(keys.screen), state, question, utc_now())
    if not yes:
        word = REFUSE if refuse else APPROVE
        meaning = "end the run" if refuse else "continue the run"
        require_answer(f"\nType {word} to {meaning}: ", word, hint="add --yes")
        question = find_question(read_state(run), held=run.is_locked(), asked=question, now=utc_now())
    answer = ApprovalAnswer(
        question.seq,
        question.hash,
        question.step,
        approved=not refuse,
        by=find_actor(),
        at=timestamp(utc_now()),
        comment=comment or None,
    )
    is_taken_up = anyio.run(leave_answer, run, answer)
    _print_answer(state, question, answer, is_taken_up=is_taken_up, as_json=as_json)


def _print_answer(
    state: RunState, question: ApprovalRequested, answer: ApprovalAnswer, *, is_taken_up: bool, as_json: bool
) -> None:
    word = answer_word(answer.approved)
    if as_json:
        document = {
            "run_id": state.run_id,
            "playbook": state.started.playbook["name"],
            "step": question.step,
            "question": question.question,
            "expires_at": question.expires_at,
            "answer": word,
            "by": answer.by,
            "comment": answer.comment,
            "on_record": is_taken_up,
        }
        click.echo(json.dumps(document, indent=2))
    elif is_taken_up:
        what = "the run continues" if answer.approved else "the run ends"
        click.echo(f"{word.capitalize()} by {safe_text(answer.by, 100)} and recorded: {what}.")
    else:
        click.echo(
            f"{word.capitalize()} by {safe_text(answer.by, 100)}. The run has not read the answer yet; "
            f"check with `orchestrator show {safe_text(state.run_id)}`."
        )
    sys.stdout.flush()
