"""The events of the log as types: each event has one, and a type decodes only the fields in use."""

import ast
import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.audit.events import (
    TYPES,
    ActionAccepted,
    ActionIntent,
    Event,
    RunPlanned,
    RunStarted,
    TargetSettled,
    UnknownEvent,
    read_event,
)
from tests.logs import STORY, about, lines, replay

SETTLED: dict[str, Any] = {"event": "target.settled", "ts": "t", **about(0, outcome="settled")}


def test_each_event_has_a_type() -> None:
    assert set(TYPES) == set(Event)


def test_an_event_gives_the_fields_of_its_record() -> None:
    event = read_event(SETTLED | {"seconds": 4.5})
    assert isinstance(event, TargetSettled)
    assert (event.name, event.ts, event.outcome, event.seconds) == ("target.settled", "t", "settled", 4.5)
    assert event.key == ("stop", "cvm_0")
    assert event.ref.name == "web-0"


def test_a_field_of_later_versions_is_none_in_an_old_record() -> None:
    assert TargetSettled(SETTLED).seconds is None
    assert ActionIntent({"event": "action.intent"}).batch is None
    assert (RunStarted({}).actor, RunPlanned({}).steps, list(RunPlanned({}).targets)) == (None, [], [])


def test_a_missing_field_of_every_version_is_an_error() -> None:
    with pytest.raises(KeyError, match="billing"):
        _ = ActionAccepted(SETTLED).billing


def test_an_event_cannot_be_changed() -> None:
    event = TargetSettled(SETTLED)
    for field in ("record", "outcome"):
        with pytest.raises((FrozenInstanceError, AttributeError)):
            setattr(event, field, {})


def test_an_event_of_a_later_version_keeps_its_record() -> None:
    record = {"event": "target.paused", "ts": "t", "why": "maintenance"}
    event = read_event(record)
    assert isinstance(event, UnknownEvent)
    assert (event.name, event.record) == ("target.paused", record)


def test_a_log_with_an_event_of_a_later_version_replays() -> None:
    state = replay([*map(json.loads, lines(STORY)), {"event": "target.paused", "ts": "t", **about(0)}])
    assert state.events["target.paused"] == 1


def test_code_names_events_by_the_enumeration_alone() -> None:
    package = Path(str(orchestrator.__file__)).parent
    named = [
        (str(path), node.value)
        for path in package.rglob("*.py")
        if path.name != "events.py" and "simulator" not in path.parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in set(Event)
    ]
    assert named == []
