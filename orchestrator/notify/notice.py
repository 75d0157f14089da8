"""One thing to tell of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.audit.replay import RunState
from orchestrator.notify import words
from orchestrator.playbook.value_types import NoticeKind


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell.

    Attributes:
        id: the run and the number of the record that it is about: the same however often it is sent.
        event: the event of that record.
        kinds: what it is told for; one that is asked for is enough.
        headline: one line.
        lines: more lines, if there is more to say.
        commands: what to type next, if there is anything.
        facts: the same for programs, as JSON values.
    """

    id: str
    event: str
    kinds: frozenset[NoticeKind]
    headline: str
    lines: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def notice_about(
    record: Mapping[str, Any],
    state: RunState,
    kinds: set[NoticeKind],
    headline: str,
    lines: tuple[str, ...],
    *,
    facts: Mapping[str, object],
    commands: tuple[str, ...] = (),
) -> Notice:
    """A notice about a record.

    Args:
        record: the record, of which its number, event and moment count.
        state: what the log says.
        kinds: what it is told for.
        headline: goes on from the playbook's name, before which it says so where a run is simulated.
        lines: what else there is to say.
        facts: the same for programs, beside what all notices have.
        commands: what to type next.
    """
    playbook = state.started["playbook"]["name"]
    simulated = "[simulated] " if state.simulated else ""
    return Notice(
        id=f"{state.run_id}-{record['seq']}",
        event=record["event"],
        kinds=frozenset(kinds),
        headline=f"{simulated}{words.one_line(playbook, 100)}{headline}",
        lines=(*lines, f"run {state.run_id}"),
        commands=commands,
        facts={
            "event": record["event"],
            "ts": record["ts"],
            "run_id": state.run_id,
            "playbook": playbook,
            "actor": state.started["actor"],
            "cloud_url": state.started["cloud_url"],
            "simulated": state.simulated,
            "targets": state.cvms,
            "commands": list(commands),
            **facts,
        },
    )
