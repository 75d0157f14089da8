"""A step that takes up what an earlier one left: it chooses its CVMs when its turn comes."""

from collections.abc import Iterable

from orchestrator.engine.job import Work
from orchestrator.engine.run_control import Course
from orchestrator.playbook.order import rank
from orchestrator.playbook.resolved_steps import Follows, PlannedStep
from orchestrator.playbook.waves import wave_numbers


async def take_up(course: Course, step: PlannedStep, follows: Follows) -> None:
    """Choose the CVMs of a step by what is true of them now, and put that on record.

    Raises:
        AuditError: when the trail can't be written.
    """
    await course.sweep(course.of_step(follows.step))
    if course.ending is not None:
        return
    sources = left_by(follows, course.works)
    works = _arranged(step, [source.followed_by(step) for source in sources])
    course.line.ledger.taken_up(step, sources, works)
    course.passed.add(step.name)
    await course.line.ledger.flush()
    await course.look_again(works)


def left_by(follows: Follows, works: Iterable[Work]) -> list[Work]:
    """The targets of an earlier step that are to be taken up, as far as no other step has done so."""
    return [work for work in works if not work.taken_up and follows.takes_up(work.step, work.outcome, work.ref.key)]


def _arranged(step: PlannedStep, works: list[Work]) -> list[Work]:
    """The targets of a step that chose them just now, in its order and with their waves."""
    by = step.order_by
    if by is not None:
        works.sort(key=lambda work: rank(by, work.ref, work.note.rates.compute))
    for work, wave in zip(works, wave_numbers(step.waves or (), len(works)), strict=True):
        work.wave = wave
    return works
