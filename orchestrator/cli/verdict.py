"""Whether a plan may be carried out, and the yes of a person."""

import signal
import sys
from collections import Counter

import click

from orchestrator.errors import DriftedError, GuardError, NoMatchError, NotConfirmedError, OrchestratorError
from orchestrator.playbook.lock import drifted
from orchestrator.playbook.plan import Hold, Plan
from orchestrator.wording import counted


def verdict(plan: Plan, hold: Hold | None = None) -> OrchestratorError | None:
    """Why a plan can't be carried out; None when it can.

    Args:
        plan: the plan.
        hold: what it had to keep to.
    """
    left = drifted(plan)
    if hold is not None and left and not plan.targets:
        return DriftedError(
            f"nothing is left to do: {counted(len(left), 'target')} of {hold.source} drifted since",
            hint="make a plan anew; if all of them are no longer in the list, is it the key of that workspace?",
        )
    if not plan.matched:
        return NoMatchError(
            "the selectors matched no CVM at all",
            hint="; ".join(plan.warnings) or "`orchestrator plan PLAYBOOK --details` lists the inventory",
        )
    refused = [check for check in plan.guards if not check.ok]
    if refused:
        reasons = "; ".join(f"{check.name}: {check.message}" for check in refused)
        return GuardError(f"refused by a guard: {reasons}", hint="narrow the select, or raise the guard on purpose")
    return None


def confirm(plan: Plan, *, yes: bool, expect: int | None) -> None:
    """Get a yes: by `--yes`, by `--expect` with the right number, or by a person who types that number.

    Raises:
        NotConfirmedError: when there is none.
    """
    count = len(plan.targets)
    if expect is not None and expect != count:
        raise NotConfirmedError(
            f"--expect {expect}, but the plan has {count} targets",
            hint="the fleet changed, or the playbook selects something else than you think; see `orchestrator plan`",
        )
    if yes or expect is not None:
        return
    ask(question(plan), str(count))


def question(plan: Plan) -> str:
    """What a person is asked, whose answer is the number of targets."""
    verbs = Counter(target.action.verb for target in plan.targets)
    what = next(iter(verbs), "stop")
    if len(verbs) > 1:
        what = f"act on, {', '.join(f'{number} to {verb}' for verb, number in verbs.items())}"
    return f"Type the number of CVMs to {what} ({len(plan.targets)}) to go on: "


def ask(question: str, answer: str, hint: str = "add --yes, or --expect N") -> None:
    """Ask a person on the terminal, and take nothing but this answer for a yes.

    Args:
        question: what is asked.
        answer: what has to be typed.
        hint: what to do where there is no terminal.

    Raises:
        NotConfirmedError: when there is no terminal, or something else was typed.
    """
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NotConfirmedError("nobody confirmed: this is not a terminal", hint=hint)
    # Under asyncio a first Ctrl-C only marks the task; here it has to end the question.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        click.echo(question, nl=False, err=True)
        typed = sys.stdin.readline().strip()
    finally:
        signal.signal(signal.SIGINT, handler)
    if typed != answer:
        raise NotConfirmedError(f"not confirmed: {typed!r} is not {answer}", hint="nothing was sent")
