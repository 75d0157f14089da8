"""Where a run's questions are answered: at its own terminal, and from anywhere by `orchestrator approve`.

Whatever comes first counts. `--yes` is for the plan; it never answers a question.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

import anyio
import structlog
from rich.console import Console
from rich.text import Text

from orchestrator.audit.approvals import Answers
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.cli.consoles import on
from orchestrator.cli.terminal_input import Keys
from orchestrator.engine.protocols import Answer, Approver
from orchestrator.moment import timestamp, utc_now
from orchestrator.report.layout import print_lines, prose_lines
from orchestrator.report.run.question import print_question
from orchestrator.runs.actor import actor
from orchestrator.safe_text import shown

APPROVE, REFUSE = "approve", "refuse"
"""What is typed: whole words, so that neither Enter nor a slip of one key is an answer."""

_LOOK_EVERY = 0.5
_GRACE = 5.0
"""Seconds by which the last look may be late on a busy machine; later than that, this machine slept."""
_LISTEN_EVERY = 0.1


def approver_of(
    log: AuditLog,
    state: RunState,
    aside: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    keys: Keys | None = None,
) -> Approver:
    """Where the questions of a run are answered.

    Args:
        log: its open audit log; once an answer is on record there, nothing is left of it elsewhere.
        state: what it says, kept up to date by it.
        aside: has the live view make way for as long as its block lasts.
        keys: the terminal to ask at; None for none.
    """
    answers = Answers(log.path)
    log.observers.append(answers.heard)
    left = LeftAnswers(answers, state)
    if keys is None:
        return left
    return AtTerminal(left, state, keys, console=on(keys.screen), aside=aside, by=actor())


class LeftAnswers:
    """An approver without a terminal: it waits for what `orchestrator approve` leaves."""

    def __init__(self, answers: Answers, state: RunState, wall: Callable[[], datetime] = utc_now) -> None:
        """Set up.

        Args:
            answers: where they are left.
            state: what the run's log says, kept up to date by it.
            wall: the time of day.
        """
        self._answers, self._state, self._wall = answers, state, wall

    async def answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        """Wait for one; None when by the time of day it is too late."""
        structlog.get_logger().warning(
            "waiting_for_approval",
            run_id=self._state.run_id,
            step=step,
            question=question,
            expires_at=timestamp(expires_at),
            answer_with=f"orchestrator approve {self._state.run_id}",
        )
        return await self.wait(self.find_answer, expires_at, _LOOK_EVERY)

    async def wait(self, find: Callable[[], Answer | None], expires_at: datetime, every: float) -> Answer | None:
        """Look for an answer again and again, the last time when the question expires.

        Args:
            find: gives the answer that is there.
            expires_at: when the question expires.
            every: seconds from one look to the next.

        Returns:
            The answer; None where there is none, or where this machine slept through the end.
        """
        while (left := (expires_at - self._wall()).total_seconds()) > -_GRACE:
            found = find()
            if found is not None or left <= 0:
                return found
            await anyio.sleep(min(every, left))
        return None

    def find_answer(self) -> Answer | None:
        """An answer to the open question that was left by now."""
        asked = self._state.question
        left = None if asked is None else self._answers.to(asked["seq"], asked["hash"])
        return None if left is None else Answer(left.approved, left.by, "approve", left.comment)


class AtTerminal:
    """An approver that asks at the run's own terminal, and takes an answer from elsewhere as well."""

    def __init__(
        self,
        left: LeftAnswers,
        state: RunState,
        keys: Keys,
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
                self._say(f"\n{said} by {shown(answer.by, 100)}, by `orchestrator approve`")
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
