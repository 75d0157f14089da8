"""Contract of the journals of the service: every decision is durable before the service acts.

A subclass in a test module provides the fixture `open_journal`: opens the same journal as a new process does, after the
end of the process before.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from orchestrator.runs.firing import FiringClaim
from orchestrator.service.protocols import Journal
from tests.service.host import MONDAY

OpenJournal = Callable[[], Awaitable[Journal]]
ABOUT = {"playbook": "a", "file": "/x/a.yaml", "timezone": "UTC", "when": "1", "left_out": "2"}


def claim_of(hours: int) -> FiringClaim:
    """The claim of the firing at an hour after Monday, 0:00."""
    planned = MONDAY + timedelta(hours=hours)
    return FiringClaim("a", planned, planned, f"20270301T{hours:02}0000Z-0001")


async def end_firing(journal: Journal, claim: FiringClaim) -> None:
    fields = claim.record_fields() | {"result": "ran", "exit_code": 0, "reason": None}
    await journal.write("firing.ended", **fields)


class JournalContract:
    """Tests of every journal."""

    async def test_a_new_journal_has_no_state(self, open_journal: OpenJournal) -> None:
        journal = await open_journal()
        assert (journal.state.playbooks, journal.state.claims, journal.failure) == ({}, {}, None)

    async def test_written_events_are_known_to_the_next_process(self, open_journal: OpenJournal) -> None:
        journal = await open_journal()
        await journal.write("schedule.enabled", **ABOUT)
        for hour in (1, 2):
            await journal.write_claim(claim_of(hour), None)
        await end_firing(journal, claim_of(1))
        again = await open_journal()
        assert list(again.state.claims.values()) == [claim_of(2)]
        assert again.state.playbooks == journal.state.playbooks
        assert again.state.playbooks["a"].last_success is not None

    async def test_a_long_journal_is_the_same_to_the_next_process(
        self,
        open_journal: OpenJournal,
        few_lines: None,  # noqa: ARG002 - a snapshot every 10 lines
    ) -> None:
        journal = await open_journal()
        await journal.write("schedule.enabled", **ABOUT)
        for hour in range(1, 20):
            await journal.write_claim(claim_of(hour), None)
            await end_firing(journal, claim_of(hour))
        again = await open_journal()
        assert again.state.playbooks == journal.state.playbooks
        assert again.state.claims == {}

    async def test_the_journal_of_a_process_that_has_ended_takes_no_line(self, open_journal: OpenJournal) -> None:
        first = await open_journal()
        await first.write("schedule.enabled", **ABOUT)
        second = await open_journal()
        with pytest.raises(OSError):  # noqa: PT011 - the reason differs
            await first.write_claim(claim_of(1), None)
        assert (first.failure is None, first.state.claims) == (False, {})
        await second.write_claim(claim_of(1), None)
        assert list((await open_journal()).state.claims) == list(second.state.claims)
