"""`orchestrator keep`: what it takes and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.handlers.keep import keep_cvms
from orchestrator.errors import UsageError

KEEP: dict[str, Any] = {"until": "3d", "reason": "demo", "owner": "ann", "clear": False, "listed": False}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 - a function
    monkeypatch.chdir(tmp_path)

    def keep(*cvms: str, **options: Any) -> Any:  # noqa: ANN401 - a document
        keep_cvms(cvms, config=None, assignments=("audit.state_dir=state",), as_json=True, **{**KEEP, **options})
        return json.loads(capsys.readouterr().out)

    return keep


def test_an_exemption_is_listed_with_its_owner_and_ended(call: Any) -> None:  # noqa: ANN401 - as the fixture
    (kept,) = call("web-1")
    assert call(until=None, listed=True) == [kept]
    assert {**kept, "until": None} == {
        "cvm": "web-1",
        "until": None,
        "owner": "ann",
        "reason": "demo",
        "source": "orchestrator keep",
        "expired": False,
    }
    assert call("web-1", "db-1", until=None, clear=True) == {"ended": ["web-1"]}
    assert call(until=None, listed=True) == []


@pytest.mark.parametrize(
    ("cvms", "options", "message"),
    [
        (["web-1"], {"until": None}, "an exemption needs an end"),
        (["web-1"], {"until": "2020-01-01"}, "is in the past"),
        (["web-1"], {"reason": None}, "an exemption needs a reason"),
        (["web-1"], {"reason": " "}, "an exemption needs a reason"),
        (["web-1", ""], {}, "the name of a CVM is empty"),
        ([], {}, "give one of"),
        ([], {"until": None}, "give one of"),
        (["web-1"], {"clear": True}, "give one of"),
        (["web-1"], {"until": None, "listed": True}, "give one of"),
    ],
)
def test_bad_input_is_refused(call: Any, cvms: list[str], options: dict[str, Any], message: str) -> None:  # noqa: ANN401 - the same
    with pytest.raises(UsageError, match=message):
        call(*cvms, **options)
