"""Approval questions of a run at its own terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

from rich.console import Console
from rich.text import Text

from orchestrator.audit.replay import RunState
from orchestrator.cli.consoles import console_on
from orchestrator.cli.terminal_input import TerminalInput
from orchestrator.engine.protocols import Answer, Approver
from orchestrator.report.layout import print_lines, prose_lines
from orchestrator.report.run.text import print_question
from orchestrator.runs.approval import APPROVE, REFUSE, LeftAnswers
from orchestrator.runs.stores import find_actor
from orchestrator.text import safe_text
from orchestrator.times import utc_now

_LISTEN_EVERY = 0.1
_TERMINAL = "terminal"


class AtTerminal:
    """An approver at the run's own terminal; answers from elsewhere count as well."""

    def __init__(
        self,
        left: LeftAnswers,
        state: RunState,
        keys: TerminalInput,
        *,
        console: Console,
        aside: Callable[[], AbstractContextManager[None]],
        by: str,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        """Set up.

        Args:
            left: the approver for answers from elsewhere.
            state: the replayed state of the run's log, kept up to date by the log.
            keys: the terminal input.
            console: the console for questions.
            aside: hides the live view for the length of its block.
            by: the person at the terminal, user@host.
            wall: returns the time of day.
        """
        self._left, self._state, self._keys = left, state, keys
        self._console, self._aside, self._by, self._wall = console, aside, by, wall

    async def wait_for_answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        """Ask, and wait for an answer; None once the question has expired by the time of day."""
        del step, question  # the log's own record contains both
        self._left.publish_question()
        with self._aside():
            self._print_question()
            answered = False
            try:
                answer = await self._left.wait(self.find_answer, expires_at, _LISTEN_EVERY)
                answered = True
            finally:
                if not answered:
                    self._print_text("")  # ends the line of the question
            if answer is None:
                self._print_text("\nNo answer before the deadline.")
            elif answer.via != _TERMINAL:
                said = "Approved" if answer.approved else "Refused"
                self._print_text(f"\n{said} by {safe_text(answer.by, 100)} with `orchestrator approve`.")
            return answer

    def find_answer(self) -> Answer | None:
        """Return an answer left elsewhere or typed by now, or None."""
        found = self._left.find_answer()
        if found is not None:
            return found
        was_gone = self._keys.gone
        typed = self._keys.read_typed()
        if typed is not None:
            word = typed.casefold()
            if word == APPROVE and self._left.needs_signature:
                self._print_text(f"A yes needs a signature. Elsewhere: {self._elsewhere}")
            elif word in {APPROVE, REFUSE}:
                return Answer(word == APPROVE, self._by, _TERMINAL)
            self._print_prompt()
        elif self._keys.gone and not was_gone:
            self._print_text(f"\nThis terminal is closed. Answer with: {self._elsewhere}")
        return None

    def _print_question(self) -> None:
        with self._console.capture() as question:
            self._print_text("")
            asked = self._state.question
            if asked is not None:
                print_question(self._console, self._state, asked, self._wall())
            self._print_text(
                f"\nType {REFUSE} to end the run. To continue, elsewhere:\n{self._elsewhere}"
                if self._left.needs_signature
                else f"\nType {APPROVE} to continue, or {REFUSE} to end the run. Or elsewhere:\n{self._elsewhere}"
            )
            self._print_prompt()
        # Called right before the question is shown: text typed earlier is no answer, text typed later is.
        self._keys.drop_typed()
        self._console.file.write(question.get())
        self._console.file.flush()

    @property
    def _elsewhere(self) -> str:
        return self._left.command

    def _print_prompt(self) -> None:
        self._console.print(Text(f"{APPROVE} or {REFUSE}: ", "bold"), end="")

    def _print_text(self, text: str) -> None:
        print_lines(self._console, prose_lines(self._console, text))


def approver_of(
    left: LeftAnswers, state: RunState, aside: Callable[[], AbstractContextManager[None]], keys: TerminalInput | None
) -> Approver:
    """Return the approver for the questions of a run.

    Args:
        left: the approver for answers from elsewhere.
        state: the replayed state of the log, kept up to date by the log.
        aside: hides the live view for the length of its block.
        keys: the terminal for questions; None without a terminal.
    """
    return (
        left
        if keys is None
        else AtTerminal(left, state, keys, console=console_on(keys.screen), aside=aside, by=find_actor())
    )
