"""Answer the open question of a run from another process: `orchestrator approve`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.audit.approvals import ApprovalAnswer, ApprovalStore
from orchestrator.audit.events import ApprovalAnswered, ApprovalRequested
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, read_sound_run
from orchestrator.errors import NotAskedError
from orchestrator.text import safe_text
from orchestrator.times import format_clock, parse_timestamp, timestamp

if TYPE_CHECKING:
    from orchestrator.settings.load import Settings

_WAIT = 10.0
"""Seconds to wait for the run to read the answer. A run checks for answers every half second."""
TAKEOVER_S = 90.0
"""Seconds to wait for the next worker: longer than the default lease."""
_POLL_EVERY = 0.1
_POLLS_A_SECOND = 10
_WIDTH = 400
_CONTINUED = "another worker continues the run and asks again soon; answer then"
_ANSWERS = {"approved": "approved", "refused": "refused", "timed_out": "no answer in time"}


def find_question(
    state: RunState,
    *,
    held: bool,
    now: datetime,
    step: str | None = None,
    asked: ApprovalRequested | None = None,
    is_continued: bool = False,
) -> ApprovalRequested:
    """Return the question open for an answer.

    Args:
        state: the replayed state of the run's log.
        held: whether a process carries the run out.
        is_continued: whether another process continues a run without a process.
        now: the time of day.
        step: the step of the question; None for any step.
        asked: the expected question; None for any question.

    Raises:
        NotAskedError: when there is no such question.
    """
    show = f"see `orchestrator show {state.run_id}`"
    if state.finished is not None:
        raise NotAskedError("the run is finished", hint="; ".join([*_last_answer(state), show]))
    if not held:
        again = _CONTINUED if is_continued else f"`orchestrator resume {state.resume_id}` asks again"
        hint = "its simulated cloud ended with the run" if state.cloud_ended else again
        raise NotAskedError("no process executes the run, so no process can read an answer", hint=hint)
    question = state.question
    if question is None:
        last = _last_answer(state)
        raise NotAskedError("the run has no open question", hint="; ".join([*last, show]))
    if asked is not None and question.hash != asked.hash:
        raise NotAskedError("the run has a different question now", hint=f"{show}, and answer again")
    if step is not None and question.step != step:
        raise NotAskedError(f"the open question is in step {question.step!r}, not in {step!r}", hint=show)
    expires_at = parse_timestamp(question.expires_at)
    if now >= expires_at:
        raise NotAskedError(f"the question expired at {format_clock(expires_at, now)}", hint=show)
    return question


@dataclass(frozen=True, slots=True)
class AskedRun:
    """A run with a question open for an answer.

    Attributes:
        run: the run.
        state: the replayed state of its log.
        question: the open question.
    """

    run: StoredRun
    state: RunState
    question: ApprovalRequested

    def read_again(self, now: datetime) -> "AskedRun":
        """Read the log again after a wait for a person.

        Raises:
            NotAskedError: when the question is no longer open.
        """
        return read_question(self.run, now=now, asked=self.question)

    def answer(self, *, approved: bool, by: str, comment: str | None, now: datetime) -> ApprovalAnswer:
        """Build an answer."""
        question = self.question
        return ApprovalAnswer(
            question.seq, question.hash, question.step, approved=approved, by=by, at=timestamp(now), comment=comment
        )


def read_question(
    run: StoredRun, *, now: datetime, step: str | None = None, asked: ApprovalRequested | None = None
) -> AskedRun:
    """Read the log of a run with an open question; arguments and errors as in `find_question`."""
    state = read_state(run)
    held = run.is_locked()
    is_continued = not held and run.is_continued()
    question = find_question(state, held=held, now=now, step=step, asked=asked, is_continued=is_continued)
    return AskedRun(run, state, question)


def choose_by_step(found: Mapping[str, AskedRun], step: str | None) -> dict[str, AskedRun]:
    """Choose the runs of a fleet run waiting at the same step, by workspace.

    Args:
        found: all waiting runs, by workspace.
        step: the step of the question; None for the only step.

    Raises:
        NotAskedError: when no run waits at the step, or when the runs wait at several steps.
    """
    steps = dict.fromkeys(each.question.step for each in found.values())
    if step is None and len(steps) == 1:
        return dict(found)
    listed = ", ".join(repr(safe_text(each, 60)) for each in steps)
    if step is None:
        raise NotAskedError(f"the runs wait at several steps: {listed}", hint="choose one with --step NAME")
    chosen = {name: each for name, each in found.items() if each.question.step == step}
    if not chosen:
        raise NotAskedError(f"no run waits at step {step!r}", hint=f"open questions are in step {listed}")
    return chosen


async def leave_answers(answers: Mapping[str, tuple[AskedRun, ApprovalAnswer]]) -> dict[str, bool | NotAskedError]:
    """Leave the answers for several runs at once, by workspace; a late answer does not stop the others.

    Returns:
        the result of `leave_answer` for every run, or its error.
    """
    import anyio  # noqa: PLC0415 - as in `_wait_for_record`

    results: dict[str, bool | NotAskedError] = {}

    async def leave_one(name: str, run: StoredRun, answer: ApprovalAnswer) -> None:
        """Leave one answer; keep its error."""
        try:
            results[name] = await leave_answer(run, answer)
        except NotAskedError as error:
            results[name] = error

    async with anyio.create_task_group() as group:
        for name, (asked, answer) in answers.items():
            group.start_soon(leave_one, name, asked.run, answer)
    return {name: results[name] for name in answers}


def read_state(run: StoredRun) -> RunState:
    """Replay the log of a run."""
    state = RunState()
    read_sound_run(run, state.apply_record)
    return state


async def leave_answer(run: StoredRun, answer: ApprovalAnswer, *, takeover: float = 0.0) -> bool:
    """Leave an answer for the run, and wait a limited time for the record of the answer.

    Args:
        run: the run.
        answer: the answer.
        takeover: more seconds to wait for the next worker of a team store, after the death of the run's worker. The
            next worker asks the same question again, and gets the same answer.

    Returns:
        True if the run has recorded the answer; False if the run has not read the answer yet.

    Raises:
        NotAskedError: when another person answered first, or no process can read the answer.
        SettingsError: when the answer can't be written.
    """
    if answer.signature is not None:
        takeover = 0.0  # the signature names the question by its hash
    answers = run.open_approvals()
    _submit(answers, answer)
    taken_up = await _wait_for_record(run, answer, takeover)
    while isinstance(taken_up, ApprovalRequested):
        answers.withdraw_answer(answer)
        answer = replace(answer, seq=taken_up.seq, hash=taken_up.hash)
        _submit(answers, answer)
        taken_up = await _wait_for_record(run, answer, takeover)
    if taken_up is None and not run.is_locked():
        taken_up = _is_on_record(read_state(run), answer)  # the run may have taken the answer and ended since then
        if taken_up is None:
            raise _ended_before(run, answers, answer)
    if taken_up is False:
        answers.withdraw_answer(answer)
        hint = "; ".join([*_last_answer(read_state(run)), f"see `orchestrator show {run.run_id}`"])
        raise NotAskedError("the answer came too late", hint=hint)
    return taken_up is True


def _submit(answers: ApprovalStore, answer: ApprovalAnswer) -> None:
    if not answers.submit_answer(answer):
        if answer.signature is not None:
            message = f"the key {answer.signature['key_name']!r} has answered this question already"
            raise NotAskedError(message, hint="the first answer of a key counts")
        other = answers.find_answer(answer.seq, answer.hash)
        by_other = "" if other is None else f": {answer_word(other.approved)} by {other.by}"
        raise NotAskedError(f"another person answered first{by_other}", hint="the first answer counts")


def _ended_before(run: StoredRun, answers: ApprovalStore, answer: ApprovalAnswer) -> NotAskedError:
    """Withdraw an answer after the end of the run's process, and return the error."""
    answers.withdraw_answer(answer)
    hint = _CONTINUED if run.is_continued() else f"`orchestrator resume {run.run_id}` asks again"
    return NotAskedError("the process of the run ended before it read the answer", hint=hint)


async def _wait_for_record(run: StoredRun, answer: ApprovalAnswer, takeover: float) -> ApprovalRequested | bool | None:
    """Wait for the answer in the log.

    Returns:
        True if recorded, False after another answer, None without an answer so far; the question, asked again by the
        next worker.
    """
    import anyio  # noqa: PLC0415 - takes long to import; `show` needs `describe_answer` alone

    version, is_continued = None, takeover > 0 and run.is_continued()
    for poll in range(1, round((_WAIT + (takeover if is_continued else 0.0)) / _POLL_EVERY) + 1):
        if (now := run.read_version()) != version:
            version, state = now, read_state(run)
            found = _find_again(state, answer) if is_continued else None
            is_recorded = found or _is_on_record(state, answer, is_continued=is_continued)
            if is_recorded is not None:
                return is_recorded
        if poll % _POLLS_A_SECOND == 0 and not run.is_locked() and not (is_continued and run.is_continued()):
            return None
        await anyio.sleep(_POLL_EVERY)
    return None


def _find_again(state: RunState, answer: ApprovalAnswer) -> ApprovalRequested | None:
    """Find the same question, asked again."""
    question = state.question
    if question is None or question.hash == answer.hash or question.step != answer.step:
        return None
    return question


def _is_on_record(state: RunState, answer: ApprovalAnswer, *, is_continued: bool = False) -> bool | None:
    """Check the log for the answer: True if recorded, False after another answer, None for an open question.

    Args:
        state: the replayed state of the log.
        answer: the answer.
        is_continued: whether a worker continues the run: a resumed run will ask again.
    """
    for question, record in state.answers:
        if question.hash == answer.hash:
            return _is_it(record, answer)
    is_open = state.question is not None and state.question.hash == answer.hash
    will_ask = is_continued and state.question is None and state.finished is None
    return None if is_open or will_ask else False


def _is_it(record: ApprovalAnswered, answer: ApprovalAnswer) -> bool:
    if answer.signature is not None:
        signature = answer.signature["signature"]
        return any(each.get("signature") == signature for each in record.signatures or ())
    same = (record.answer, record.by, record.via) == (answer_word(answer.approved), answer.by, "approve")
    return same and record.comment == answer.comment


def needs_signature(settings: "Settings", state: RunState) -> bool:
    """Check whether only a signed answer lets a run continue: with approvals on record, and keys in the settings."""
    return bool(settings.approval.keys) and state.started.is_signed


def answer_word(approved: bool) -> str:  # noqa: FBT001 - the answer itself
    """Name an answer, as in the log."""
    return "approved" if approved else "refused"


def _last_answer(state: RunState) -> list[str]:
    return [describe_answer(*answer) for answer in state.answers[-1:]]


def describe_answer(question: ApprovalRequested, record: ApprovalAnswered) -> str:
    """Describe a recorded answer in a line, for people."""
    answer = _ANSWERS.get(record.answer, safe_text(record.answer, 20))
    user = f", database user {safe_text(record.db_user, 64)}" if record.db_user else ""
    names = ", ".join(safe_text(each.get("key_name"), 64) for each in record.signatures or ())
    user += f", signed by {names}" if names else ""
    by = f" by {safe_text(record.by, 100)} ({safe_text(record.via, 20)}{user})" if record.by else ""
    comment = f": {safe_text(record.comment, _WIDTH)}" if record.comment else ""
    return f"{safe_text(question.step, 60)}: {answer}{by}{comment}"
