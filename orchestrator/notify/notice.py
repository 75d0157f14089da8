"""A notice: one message about a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.audit.replay import RunState
from orchestrator.notify import words
from orchestrator.playbook.value_types import NoticeKind


@dataclass(frozen=True, slots=True)
class Notice:
    """A message about a run, with facts for programs.

    Attributes:
        id: the run id and the number of the record; the same for every attempt.
        event: the event of the record.
        kinds: the notice is sent if one of its kinds is selected.
        headline: the first line.
        lines: further lines.
        commands: commands for the next step of an operator.
        facts: the content for programs, as JSON values.
    """

    id: str
    event: str
    kinds: frozenset[NoticeKind]
    headline: str
    lines: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The headline, the lines and the commands, joined."""
        return "\n".join([self.headline, *self.lines, *self.commands])


def make_notice(
    record: Mapping[str, Any],
    state: RunState,
    kinds: set[NoticeKind],
    headline: str,
    lines: tuple[str, ...],
    *,
    facts: Mapping[str, object],
    commands: tuple[str, ...] = (),
) -> Notice:
    """Make a notice about a record.

    Args:
        record: the record; its number, event and time are used.
        state: the state of the run by the log.
        kinds: the kinds of the notice.
        headline: the text after the playbook's name.
        lines: further lines.
        facts: facts for programs, beside the facts of every notice.
        commands: commands for the next step of an operator.
    """
    playbook = state.started.playbook["name"]
    simulated = "[simulated] " if state.is_simulated else ""
    name = state.started.workspace_name
    in_workspace = "" if name is None else f" in {words.one_line(name, 64)}"
    return Notice(
        id=f"{state.run_id}-{record['seq']}",
        event=record["event"],
        kinds=frozenset(kinds),
        headline=f"{simulated}{words.one_line(playbook, 100)}{in_workspace}{headline}",
        lines=(*lines, f"run {state.run_id}"),
        commands=commands,
        facts={
            "event": record["event"],
            "ts": record["ts"],
            "run_id": state.run_id,
            "playbook": playbook,
            "actor": state.started.actor,
            "cloud_url": state.started.cloud_url,
            **({} if state.started.workspace_name is None else {"workspace_name": state.started.workspace_name}),
            "simulated": state.is_simulated,
            "targets": state.cvm_count,
            "commands": list(commands),
            **facts,
        },
    )
