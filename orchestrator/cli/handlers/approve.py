"""`orchestrator approve`."""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
from rich.console import Console

from orchestrator.audit.approvals import ApprovalAnswer
from orchestrator.cli.confirmation import require_answer
from orchestrator.cli.consoles import console_on, stderr_console
from orchestrator.cli.named_runs import find_run_to_change
from orchestrator.cli.terminal_input import open_terminal
from orchestrator.errors import ApprovalError, UsageError
from orchestrator.report.run.text import print_question
from orchestrator.runs.answer import TAKEOVER_S, AskedRun, answer_word, leave_answer, needs_signature, read_question
from orchestrator.runs.approval import APPROVE, REFUSE
from orchestrator.runs.stores import find_actor, run_store
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import safe_text
from orchestrator.times import utc_now

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from orchestrator.audit.signed_approval import ApprovalTerms

_LONGEST_COMMENT = 1000


def answer_question(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    key: Path | None,
    refuse: bool,
    step: str | None,
    comment: str | None,
    workspaces: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Answer the open question of a run."""
    check_comment(comment)
    if workspaces:
        raise UsageError("--workspace needs a fleet run", hint="without --workspace, the question of this run is meant")
    settings = load_settings(config, assignments)
    asked = read_question(find_run_to_change(run_store(settings), run_id), step=step, now=utc_now())
    signer = None if key is None else open_signer(key, settings)
    if signer is None and not refuse and needs_signature(settings, asked.state):
        raise ApprovalError("a yes to this question needs a signature (approval.keys)", hint="add --key KEY")
    if signer is not None and not refuse:
        signer.require_other_person(asked)
    if not as_json or not yes:
        print_question(question_console(yes=yes), asked.state, asked.question, utc_now())
    if not yes:
        word = REFUSE if refuse else APPROVE
        meaning = "end the run" if refuse else "continue the run"
        require_answer(f"\nType {word} to {meaning}: ", word, hint="add --yes")
        asked = asked.read_again(utc_now())
    answer = asked.answer(approved=not refuse, by=find_actor(), comment=comment or None, now=utc_now())
    if signer is not None:
        answer = signer.sign(asked, answer)
    is_taken_up = anyio.run(partial(leave_answer, asked.run, answer, takeover=TAKEOVER_S))
    _print_answer(asked, answer, is_taken_up=is_taken_up, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Signer:
    """A person with a key of the settings.

    Attributes:
        key: the private key.
        name: the name of the key.
        terms: the terms of the settings.
    """

    key: "Ed25519PrivateKey"
    name: str
    terms: "ApprovalTerms"

    def require_other_person(self, asked: AskedRun) -> None:
        """Refuse a yes by the starter of a run.

        Raises:
            ApprovalError: for the key of the starter, if the settings need another person.
        """
        from orchestrator.runs.signed_answer import (  # noqa: PLC0415 - most answers are unsigned
            find_starter_key,
            require_other_person,
        )

        require_other_person(find_starter_key(asked.state), self.key, self.terms)

    def sign(self, asked: AskedRun, answer: ApprovalAnswer) -> ApprovalAnswer:
        """Sign an answer."""
        from orchestrator.runs.signed_answer import sign_answer  # noqa: PLC0415 - most answers are unsigned

        return sign_answer(answer, asked.state, asked.question, self.key, self.name)


def open_signer(key: Path, settings: Settings) -> Signer:
    """Read a private key, and find its name in the settings.

    Raises:
        UsageError: when the key is unusable, or the settings have no keys.
        ApprovalError: when the settings do not have this key.
    """
    from orchestrator.audit.keys import read_private_key  # noqa: PLC0415 - most answers are unsigned
    from orchestrator.cli.terminal_input import ask_passphrase  # noqa: PLC0415 - the same
    from orchestrator.runs.signed_start import load_terms, require_known_key  # noqa: PLC0415 - the same

    if not settings.approval.keys:
        raise UsageError("the settings have no approval.keys", hint="add the public key of every approver and starter")
    private = read_private_key(key, ask_passphrase)
    terms = load_terms(settings)
    return Signer(private, require_known_key(private, terms), terms)


def check_comment(comment: str | None) -> None:
    """Check the length of a comment.

    Raises:
        UsageError: when the comment is too long.
    """
    if comment is not None and len(comment) > _LONGEST_COMMENT:
        raise UsageError(f"--comment allows at most {_LONGEST_COMMENT} characters")


def question_console(*, yes: bool) -> Console:
    """Return the console for a question: the terminal with the person, or stderr."""
    keys = None if yes else open_terminal()
    return stderr_console() if keys is None else console_on(keys.screen)


def answer_document(asked: AskedRun, answer: ApprovalAnswer, *, is_taken_up: bool) -> dict[str, object]:
    """Build the document of `approve --json`."""
    return {
        "run_id": asked.state.run_id,
        "playbook": asked.state.started.playbook["name"],
        "step": asked.question.step,
        "question": asked.question.question,
        "expires_at": asked.question.expires_at,
        "answer": answer_word(answer.approved),
        "by": answer.by,
        "comment": answer.comment,
        "on_record": is_taken_up,
        **({} if answer.signature is None else {"key_name": answer.signature["key_name"]}),
    }


def _print_answer(asked: AskedRun, answer: ApprovalAnswer, *, is_taken_up: bool, as_json: bool) -> None:
    word = answer_word(answer.approved)
    if as_json:
        click.echo(json.dumps(answer_document(asked, answer, is_taken_up=is_taken_up), indent=2))
    elif is_taken_up:
        what = "the run continues" if answer.approved else "the run ends"
        click.echo(f"{word.capitalize()} by {safe_text(answer.by, 100)} and recorded: {what}.")
    else:
        waits = "The run has not read the answer yet" + (", or needs more signatures" if answer.signature else "")
        click.echo(
            f"{word.capitalize()} by {safe_text(answer.by, 100)}. {waits}; "
            f"check with `orchestrator show {safe_text(asked.state.run_id)}`."
        )
    sys.stdout.flush()
