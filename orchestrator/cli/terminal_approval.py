"""Ask the questions of a run at its own terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

from rich.console import Console
from rich.text import Text

from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.cli.consoles import on
from orchestrator.cli.terminal_input import TerminalInput
from orchestrator.engine.protocols import Answer, Approver
from orchestrator.moment import utc_now
from orchestrator.report.layout import print_lines, prose_lines
from orchestrator.report.run.question import print_question
from orchestrator.runs.actor import actor
from orchestrator.runs.approval import APPROVE, REFUSE, LeftAnswers, left_answers
from orchestrator.safe_text import safe_text

_LISTEN_EVERY = 0.1


class AtTerminal:
    """An approver that asks at the run's own terminal, and takes an answer from elsewhere as well."""

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
            left: what is left elsewhere.
            state: what the run's log says, kept up to date by it.
            keys: what is typed.
            console: where to ask.
            aside: has the live view make way for as long as its block lasts.
            by: who sits there, user@host.
            wall: the time of day.
        """
        self._left, self._state, self._keys = left, state, keys
        self._console, self._aside, self._by, self._wall = console, aside, by, wall

    async def answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        """Ask, and wait for an answer; None when by the time of day it is too late."""
        del step, question  # the log's own record has them
        with self._aside():
            self._ask()
            answered = False
            try:
                answer = await self._left.wait(self.find_answer, expires_at, _LISTEN_EVERY)
                answered = True
            finally:
                if not answered:
                    self._say("")  # ends the line on which the question stands
            if answer is None:
                self._say("\nNobody answered in time.")
            elif answer.via == APPROVE:
                said = "approved" if answer.approved else "refused"
                self._say(f"\n{said} by {safe_text(answer.by, 100)}, by `orchestrator approve`")
            return answer

    def find_answer(self) -> Answer | None:
        """An answer that was left elsewhere, or typed, by now."""
        found = self._left.find_answer()
        if found is not None:
            return found
        was_gone = self._keys.gone
        typed = self._keys.line()
        if typed is not None:
            word = typed.casefold()
            if word in {APPROVE, REFUSE}:
                return Answer(word == APPROVE, self._by, "terminal")
            self._prompt()
        elif self._keys.gone and not was_gone:
            self._say(f"\nNo more is heard from this terminal; {self._elsewhere} still answers.")
        return None

    def _ask(self) -> None:
        with self._console.capture() as question:
            self._say("")
            asked = self._state.question
            if asked is not None:
                print_question(self._console, self._state, asked, self._wall())
            self._say(f"\nType {APPROVE} to go on, or {REFUSE} to end the run here. From elsewhere:\n{self._elsewhere}")
            self._prompt()
        # Right before the question is shown, in one piece: text typed until then is no answer, text typed after it is.
        self._keys.forget()
        self._console.file.write(question.get())
        self._console.file.flush()

    @property
    def _elsewhere(self) -> str:
        return f"orchestrator approve {self._state.run_id}"

    def _prompt(self) -> None:
        self._console.print(Text(f"{APPROVE} or {REFUSE}: ", "bold"), end="")

    def _say(self, text: str) -> None:
        print_lines(self._console, prose_lines(self._console, text))


def approver_of(
    log: AuditLog, state: RunState, aside: Callable[[], AbstractContextManager[None]], keys: TerminalInput | None
) -> Approver:
    """Where the questions of a run are answered.

    Args:
        log: its open audit log.
        state: what it says, kept up to date by it.
        aside: has the live view make way for as long as its block lasts.
        keys: the terminal to ask at; None for none.
    """
    left = left_answers(log, state)
    return left if keys is None else AtTerminal(left, state, keys, console=on(keys.screen), aside=aside, by=actor())
