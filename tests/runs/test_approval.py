"""Who answers a run's question: a person at its terminal, or one who leaves an answer; on virtual time."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.console import Console

from orchestrator.audit.approvals import ApprovalAnswer, FileApprovalStore
from orchestrator.audit.replay import RunState
from orchestrator.cli.terminal_approval import AtTerminal
from orchestrator.engine.protocols import Answer
from orchestrator.errors import NotAskedError
from orchestrator.runs.answer import find_question
from orchestrator.runs.approval import LeftAnswers
from orchestrator.runs.session import RunObserver
from orchestrator.times import parse_timestamp
from tests.logs import RUN_ID
from tests.report.runs import EVIL, run

pytestmark = pytest.mark.anyio

EPOCH = datetime(2026, 11, 23, 8, tzinfo=UTC)
ASKED = {"step": "look", "question": f"Go on? {EVIL}", "expires_at": "2026-11-23T08:05:00.000000Z"}
EXPIRES_AT = parse_timestamp(ASKED["expires_at"])


def wall() -> datetime:
    return EPOCH + timedelta(seconds=anyio.current_time())


@dataclass
class TypedKeys:
    """What is typed, each at its second; `gone` once None is."""

    typed: dict[float, str | None]
    gone: bool = False
    forgotten: int = 0

    def drop_typed(self) -> None:
        self.forgotten += 1

    def read_typed(self) -> str | None:
        due = [at for at in self.typed if at <= anyio.current_time()]
        if not due or self.gone:
            return None
        line = self.typed.pop(min(due))
        self.gone = line is None
        return line


@dataclass
class Site:
    """A run that asks, the folder in which answers are left, and what the terminal shows."""

    folder: Path
    state: RunState = field(default_factory=lambda: run(("approval.requested", ASKED)))
    shown: StringIO = field(default_factory=StringIO)
    aside: int = 0

    @property
    def answers(self) -> FileApprovalStore:
        log = self.folder / "runs" / f"{RUN_ID}.jsonl"
        log.parent.mkdir(exist_ok=True)
        log.touch()
        return FileApprovalStore(log)

    @property
    def yes(self) -> ApprovalAnswer:
        asked = self.state.question
        assert asked is not None
        return ApprovalAnswer(asked.seq, asked.hash, "look", approved=True, by="ann@desk", at="", comment="ok")

    def left(self) -> LeftAnswers:
        return LeftAnswers(self.answers, self.state, RunObserver(), wall)

    @contextmanager
    def make_way(self) -> Iterator[None]:
        self.aside += 1
        try:
            yield
        finally:
            self.aside -= 1

    def terminal(self, keys: TypedKeys) -> AtTerminal:
        console = Console(file=self.shown, width=60, markup=False, highlight=False, emoji=False)
        terminal: Any = keys
        return AtTerminal(
            self.left(), self.state, terminal, console=console, aside=self.make_way, by="me@here", wall=wall
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def asked(approver: LeftAnswers | AtTerminal) -> Answer | None:
    return await approver.wait_for_answer("look", ASKED["question"], EXPIRES_AT)


@pytest.mark.parametrize(("typed", "approved"), [("approve", True), ("REFUSE", False)])
async def test_the_whole_word_is_an_answer(site: Site, typed: str, approved: bool) -> None:
    keys = TypedKeys({10: typed})
    assert await asked(site.terminal(keys)) == Answer(approved, "me@here", "terminal")
    assert anyio.current_time() == pytest.approx(10, abs=0.2)
    assert keys.forgotten == 1, "what was typed before the question is none"


async def test_nothing_else_that_is_typed_is_an_answer_neither_yes_nor_enter(site: Site) -> None:
    slips = ["", "y", "yes", "approve!", "app", "no", "approve refuse", EVIL]
    keys = TypedKeys({float(n): slip for n, slip in enumerate(slips, start=1)})
    assert await asked(site.terminal(keys)) is None
    assert keys.typed == {}
    assert anyio.current_time() == pytest.approx(300, abs=1)
    assert site.shown.getvalue().count("approve or refuse: ") == len(slips) + 1
    assert "No answer before the deadline" in site.shown.getvalue()


async def test_the_question_says_what_follows_until_when_and_how_to_answer_elsewhere(site: Site) -> None:
    await asked(site.terminal(TypedKeys({1: "approve"})))
    text = site.shown.getvalue()
    assert "08:05:00 UTC, 5m from now" in text
    assert f"orchestrator approve {RUN_ID}" in text
    assert "Go on? [red]x[/]" in text
    assert all(char == "\n" or char.isprintable() for char in text)
    assert max(map(len, text.splitlines())) <= 60


async def test_an_answer_from_elsewhere_ends_the_question_at_the_terminal(site: Site) -> None:
    async with anyio.create_task_group() as group:

        async def elsewhere() -> None:
            await anyio.sleep(30)
            assert site.aside == 1, "the live view has made way"
            assert site.answers.submit_answer(site.yes)

        group.start_soon(elsewhere)
        answer = await asked(site.terminal(TypedKeys({})))
    assert answer == Answer(approved=True, by="ann@desk", via="approve", comment="ok")
    assert anyio.current_time() == pytest.approx(30, abs=1)
    assert "Approved by ann@desk" in site.shown.getvalue()
    assert site.aside == 0


async def test_a_terminal_that_is_closed_leaves_the_answer_to_others(site: Site) -> None:
    async with anyio.create_task_group() as group:

        async def elsewhere() -> None:
            await anyio.sleep(200)
            assert site.answers.submit_answer(replace(site.yes, approved=False))

        group.start_soon(elsewhere)
        answer = await asked(site.terminal(TypedKeys({5: None})))
    assert answer is not None
    assert not answer.approved
    assert "This terminal is closed" in site.shown.getvalue()


async def test_an_interruption_gives_the_terminal_back_with_its_line_ended(site: Site) -> None:
    with anyio.move_on_after(10):
        await asked(site.terminal(TypedKeys({})))
    assert site.aside == 0
    assert site.shown.getvalue().endswith(": \n")


async def test_without_a_terminal_an_answer_is_taken_up_within_a_second(site: Site) -> None:
    async with anyio.create_task_group() as group:

        async def elsewhere() -> None:
            await anyio.sleep(30)
            assert site.answers.submit_answer(site.yes)

        group.start_soon(elsewhere)
        answer = await asked(site.left())
    assert answer == Answer(approved=True, by="ann@desk", via="approve", comment="ok")
    assert anyio.current_time() < 31


@pytest.mark.parametrize("approver", [Site.left, lambda site: site.terminal(TypedKeys({}))], ids=["left", "terminal"])
async def test_an_answer_to_an_earlier_question_answers_nothing(
    site: Site, approver: Callable[[Site], LeftAnswers | AtTerminal]
) -> None:
    assert site.answers.submit_answer(site.yes)
    again = run(("approval.requested", ASKED), ("run.resumed", {"open": 1}), ("approval.requested", ASKED))
    site.state = again
    assert await asked(approver(site)) is None
    assert anyio.current_time() == pytest.approx(300, abs=1)


async def test_an_answer_that_is_found_after_its_time_is_none(site: Site) -> None:
    """As on a machine that slept: the engine's clock stood still, the time of day did not."""
    assert site.answers.submit_answer(site.yes)
    late = LeftAnswers(site.answers, site.state, RunObserver(), lambda: EXPIRES_AT + timedelta(seconds=10))
    assert await asked(late) is None


@pytest.mark.parametrize("approver", [Site.left, lambda site: site.terminal(TypedKeys({}))], ids=["left", "terminal"])
@pytest.mark.parametrize("before", [0.6, 0.45, 0.05, 0.001])
async def test_an_answer_of_the_last_half_second_counts(
    site: Site, before: float, approver: Callable[[Site], LeftAnswers | AtTerminal]
) -> None:
    async with anyio.create_task_group() as group:

        async def elsewhere() -> None:
            await anyio.sleep(300 - before)
            assert site.answers.submit_answer(site.yes)

        group.start_soon(elsewhere)
        answer = await asked(approver(site))
    assert answer is not None
    assert answer.by == "ann@desk"


def standing(*events: tuple[str, dict[str, Any]]) -> RunState:
    return run(*events)


ANSWERED = ("approval.answered", {"step": "look", "answer": "refused", "by": "bob@desk", "via": "terminal"})
FINISHED = ("run.finished", {"exit_code": 8})
OPEN = ("approval.requested", ASKED)


@pytest.mark.parametrize(
    ("events", "held", "minutes", "step", "says"),
    [
        ([OPEN, ANSWERED, FINISHED], False, 1, None, "the run is finished.*refused by bob@desk"),
        ([OPEN], False, 1, None, "no process executes the run.*orchestrator resume"),
        ([], True, 1, None, "has no open question"),
        ([OPEN, ANSWERED], True, 1, None, "has no open question.*refused by bob@desk"),
        ([OPEN, ("run.resumed", {})], True, 1, None, "has no open question"),
        ([OPEN], True, 1, "other", "open question is in step 'look', not in 'other'"),
        ([OPEN], True, 5, None, "expired at 08:05:00 UTC"),
    ],
    ids=["finished", "dead", "no question", "answered", "resumed", "other step", "expired"],
)
def test_where_nothing_can_be_answered_it_says_why_and_what_to_do(
    events: list[tuple[str, dict[str, Any]]],
    held: bool,
    minutes: int,
    step: str | None,
    says: str,
) -> None:
    with pytest.raises(NotAskedError) as refused:
        find_question(standing(*events), held=held, now=EPOCH + timedelta(minutes=minutes), step=step)
    assert re.search(says, f"{refused.value} {refused.value.hint}")


def test_after_the_loss_of_a_worker_nobody_is_asked_to_resume_a_run_that_another_worker_continues() -> None:
    with pytest.raises(NotAskedError) as refused:
        find_question(standing(OPEN), held=False, now=EPOCH, is_continued=True)
    assert refused.value.hint == "another worker continues the run and asks again soon; answer then"


def test_a_question_that_was_asked_anew_while_its_answer_was_confirmed_is_another_one() -> None:
    first, second = standing(OPEN), standing(OPEN, ("run.resumed", {}), OPEN)
    with pytest.raises(NotAskedError, match="has a different question"):
        find_question(second, held=True, now=EPOCH, asked=first.question)
    assert find_question(second, held=True, now=EPOCH, step="look", asked=second.question) == second.question
