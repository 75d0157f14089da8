"""The confirmation of a plan by a person, before the run."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from orchestrator.cli.terminal_input import open_terminal
from orchestrator.errors import (
    ClaimedError,
    DriftedError,
    GuardError,
    NoMatchError,
    NotConfirmedError,
    OrchestratorError,
)
from orchestrator.playbook.plan import Plan
from orchestrator.text import plural, safe_text

_WHY: dict[type[BaseException], str] = {
    NotConfirmedError: "not confirmed",
    GuardError: "refused by a guard",
    NoMatchError: "",  # the plan has no target, and the error says the rest
    DriftedError: "all targets have changed",
}
"""Short reasons for sending nothing; other errors use their message."""


@contextmanager
def last_line(*, as_json: bool, nothing: str = "Nothing") -> Iterator[None]:
    """Print a last line on stdout if the block fails, for readers of stdout alone.

    With a JSON document on stdout, the line goes to stderr, and only for a missing confirmation: other errors name
    their effect.

    Args:
        as_json: whether stdout is for a JSON document.
        nothing: the start of the line: `Nothing`, or `Nothing more` after earlier requests.
    """
    try:
        yield
    except (OrchestratorError, KeyboardInterrupt) as error:
        if not as_json:
            why = _find_reason(error)
            click.echo(f"\n{nothing} was sent{why and ': '}{why}.")
        elif isinstance(error, NotConfirmedError):
            click.echo(f"{nothing} was sent.", err=True)
        raise


def _find_reason(error: OrchestratorError | KeyboardInterrupt) -> str:
    """Return the reason for sending nothing. Stderr names the runs of a claim and their CVMs."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, ClaimedError) and error.run_ids:
        return "another run acts on these CVMs"
    return _WHY.get(type(error), safe_text(error.message, 400))


def confirm_plan(
    plan: Plan,
    *,
    yes: bool,
    expect: int | None,
    show: Callable[[TextIO], None] | None = None,
    lister: str = "orchestrator plan",
    about: str = "",
) -> None:
    """Get a confirmation: `--yes`, `--expect` with the right number, or the number typed by a person.

    A plan with nothing to do needs no confirmation.

    Args:
        plan: the plan.
        yes: whether `--yes` is given.
        expect: the number of `--expect`.
        show: shows the plan on a terminal, if the person has not seen the plan yet.
        lister: the command that lists the CVMs, for a hint.
        about: a sentence before the question.

    Raises:
        NotConfirmedError: when there is no confirmation.
    """
    count = len(plan.targets)
    if expect is not None and expect != count:
        raise NotConfirmedError(
            f"--expect {expect}, but the plan has {plural(count, 'target')}",
            hint=f"check the targets with `{lister}`",
        )
    if yes or expect is not None or has_nothing_to_do(plan):
        return
    require_answer(about + plan_question(plan), str(count), show=show)


def has_nothing_to_do(plan: Plan) -> bool:
    """Check for a plan without targets now or later: there is nothing to confirm."""
    return not plan.targets and not any(plan.may_follow.values())


def plan_question(plan: Plan) -> str:
    """Return the question to a person, with the number of targets as the answer."""
    verbs = Counter(target.action.verb for target in plan.targets)
    what = next(iter(verbs), plan.acting_steps[0].action.verb)
    if len(verbs) > 1:
        what = f"act on, {', '.join(f'{number} to {verb}' for verb, number in verbs.items())}"
    return f"Type the number of CVMs to {what} ({len(plan.targets)}) to continue: "


def ask_about_key(warning: str) -> None:
    """Ask for consent to a different key of an unknown workspace.

    Raises:
        NotConfirmedError: when no person consents.
    """
    require_answer(f"{warning}.\nType yes to continue: ", "yes", hint="add --yes if both keys belong to one workspace")


def require_answer(
    question: str,
    answer: str,
    hint: str = "add --yes, or --expect N",
    *,
    show: Callable[[TextIO], None] | None = None,
) -> None:
    """Ask a person on the terminal, and accept only a fixed answer as a yes.

    Args:
        question: the question.
        answer: the text to type.
        hint: the advice for a process without a terminal.
        show: shows the subject of the question on the terminal.

    Raises:
        NotConfirmedError: when there is no terminal, or another text was typed.
    """
    keys = open_terminal()
    if keys is None:
        raise NotConfirmedError("not confirmed: stdin is not a terminal", hint=hint)
    # Under asyncio a first Ctrl-C only marks the task; here Ctrl-C has to end the question.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if show is not None:
            show(keys.screen)
        typed = keys.ask_line(question)
    finally:
        signal.signal(signal.SIGINT, handler)
    if typed != answer:
        raise NotConfirmedError(
            f"not confirmed: you typed {typed!r}, but the answer is {answer}", hint="run the command again to confirm"
        )
