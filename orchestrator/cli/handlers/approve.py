"""`orchestrator approve`."""

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click

from orchestrator.audit.approvals import ApprovalStore, Left
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, is_held
from orchestrator.cli.consoles import on, stderr
from orchestrator.cli.terminal_input import terminal
from orchestrator.cli.verdict import ask
from orchestrator.errors import NotAskedError, SettingsError, UsageError
from orchestrator.moment import parse_timestamp, timestamp, utc_now
from orchestrator.report.run.question import answer_lines, clock, print_question
from orchestrator.runs.actor import actor
from orchestrator.runs.approval import APPROVE, REFUSE
from orchestrator.runs.run_log import read_run_log
from orchestrator.safe_text import safe_text
from orchestrator.settings.load import load_settings

_WAIT = 10.0
"""Seconds to wait for the run to read the answer. A run checks for answers every half second."""
_LOOK_EVERY = 0.1
_LOOKS_A_SECOND = 10
_LONGEST_COMMENT = 1000


def approve(
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
    path = RunStore(settings.audit.state_dir).find(run_id)
    state = _read(path)
    question = open_question(state, held=is_held(path), step=step, now=utc_now())
    if not as_json or not yes:
        keys = None if yes else terminal()
        print_question(stderr() if keys is None else on(keys.screen), state, question, utc_now())
    if not yes:
        word = REFUSE if refuse else APPROVE
        meaning = "end the run" if refuse else "continue the run"
        ask(f"\nType {word} to {meaning}: ", word, hint="add --yes")
        question = open_question(_read(path), held=is_held(path), asked=question, now=utc_now())
    answer = Left(
        question["seq"],
        question["hash"],
        question["step"],
        approved=not refuse,
        by=actor(),
        at=timestamp(utc_now()),
        comment=comment or None,
    )
    is_taken_up = _leave(path, answer)
    _tell(state, question, answer, is_taken_up=is_taken_up, as_json=as_json)


def open_question(
    state: RunState, *, held: bool, now: datetime, step: str | None = None, asked: Record | None = None
) -> Record:
    """Return the question open for an answer.

    Args:
        state: the replayed state of the run's log.
        held: whether a process carries the run out.
        now: the time of day.
        step: the step of the question; None for any step.
        asked: the expected question; None for any question.

    Raises:
        NotAskedError: when there is no such question.
    """
    show = f"see `orchestrator show {state.run_id}`"
    if state.finished is not None:
        raise NotAskedError("the run is finished already", hint="; ".join([*answer_lines(state)[-1:], show]))
    if not held:
        again = f"`orchestrator resume {state.run_id}` asks again"
        hint = "its simulated cloud ended with the run" if state.cloud_ended else again
        raise NotAskedError("no process executes the run, so no process can read an answer", hint=hint)
    question = state.question
    if question is None:
        last = answer_lines(state)[-1:]
        raise NotAskedError("the run has no open question", hint="; ".join([*last, show]))
    if asked is not None and question["hash"] != asked["hash"]:
        raise NotAskedError("the run has a different question now", hint=f"{show}, and answer again")
    if step is not None and question["step"] != step:
        raise NotAskedError(f"the open question is in step {question['step']!r}, not in {step!r}", hint=show)
    expires_at = parse_timestamp(question["expires_at"])
    if now >= expires_at:
        raise NotAskedError(f"the question expired at {clock(expires_at, now)}", hint=show)
    return question


def _read(path: Path) -> RunState:
    state = RunState()
    read_run_log(path, state.apply)
    return state


def _leave(path: Path, answer: Left, wait: Callable[[float], None] = time.sleep) -> bool:
    """Leave an answer for the run; returns True once the run has recorded the answer.

    Raises:
        NotAskedError: when another person answered first, or no process can read the answer.
        SettingsError: when the answer can't be written.
    """
    answers = ApprovalStore(path)
    try:
        if not answers.leave(answer):
            other = answers.to(answer.seq, answer.hash)
            said = "" if other is None else f": {_word(other.approved)} by {other.by}"
            raise NotAskedError(f"another person answered first{said}", hint="the first answer counts")
        if not answers.can_be_read_by_the_run(answer):
            answers.withdraw(answer)
            hint = f"give the folder to the user of the run: chown -R --reference={path} {answers.folder}"
            raise SettingsError("the run can't read answers in this folder", file=answers.folder, hint=hint)
    except OSError as error:
        message = f"the answer can't be written: {error.strerror or error}"
        raise SettingsError(message, file=answers.folder) from error
    taken_up = _taken_up(path, answer, wait)
    if taken_up is None and not is_held(path):
        taken_up = _is_on_record(_read(path), answer)  # the run may have taken the answer and ended since then
        if taken_up is None:
            raise _ended_before(path, answers, answer)
    if taken_up is False:
        answers.withdraw(answer)
        hint = "; ".join([*answer_lines(_read(path))[-1:], f"see `orchestrator show {path.stem}`"])
        raise NotAskedError("the answer came too late", hint=hint)
    return taken_up is True


def _ended_before(path: Path, answers: ApprovalStore, answer: Left) -> NotAskedError:
    """Withdraw an answer after the end of the run's process, and return the error."""
    answers.withdraw(answer)
    hint = f"`orchestrator resume {path.stem}` asks again"
    return NotAskedError("the process of the run ended before it read the answer", hint=hint)


def _taken_up(path: Path, answer: Left, wait: Callable[[float], None]) -> bool | None:
    """Wait for the answer in the log: True if recorded, False after another answer, None without an answer so far."""
    size = -1
    for look in range(1, round(_WAIT / _LOOK_EVERY) + 1):
        if (now := path.stat().st_size) != size:
            size, state = now, _read(path)
            said = _is_on_record(state, answer)
            if said is not None:
                return said
        if look % _LOOKS_A_SECOND == 0 and not is_held(path):
            return None
        wait(_LOOK_EVERY)
    return None


def _is_on_record(state: RunState, answer: Left) -> bool | None:
    """Check the log for the answer: True if recorded, False after another answer, None for an open question."""
    for question, record in state.answers:
        if question["hash"] == answer.hash:
            return _is_it(record, answer)
    is_open = state.question is not None and state.question["hash"] == answer.hash
    return None if is_open else False


def _is_it(record: Record, answer: Left) -> bool:
    same = (record["answer"], record["by"], record["via"]) == (_word(answer.approved), answer.by, "approve")
    return same and record.get("comment") == answer.comment


def _word(approved: bool) -> str:  # noqa: FBT001 - the answer itself
    return "approved" if approved else "refused"


def _tell(state: RunState, question: Record, answer: Left, *, is_taken_up: bool, as_json: bool) -> None:
    word = _word(answer.approved)
    if as_json:
        document = {
            "run_id": state.run_id,
            "playbook": state.started["playbook"]["name"],
            "step": question["step"],
            "question": question["question"],
            "expires_at": question["expires_at"],
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
