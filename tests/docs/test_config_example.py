"""config.example.toml and the settings agree."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from orchestrator.settings.load import Settings, load_settings
from tests.docs.pages import ROOT

EXAMPLE = ROOT / "config.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
_COMMENTED = re.compile(r"^# (\w+ = |\[)", re.MULTILINE)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORCHESTRATOR_STATE_DIR", "PHALA_CLOUD_API_KEY", "PHALA_CLOUD_API_PREFIX"):
        monkeypatch.delenv(name, raising=False)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every setting's dotted name."""
    for name, field in model.model_fields.items():
        inner, below = field.annotation, f"{prefix}{name}."
        if get_origin(inner) is dict:
            inner, below = get_args(inner)[1], f"{below}NAME."
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, below)
        else:
            yield f"{prefix}{name}"


def keys_of(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key's dotted name in a TOML document."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_as_it_stands_it_says_the_defaults() -> None:
    """Loading the example gives the very settings that hold without any file."""
    assert load_settings(EXAMPLE).model_dump() == Settings().model_dump()


def test_every_setting_stands_in_it_once() -> None:
    """With the comments taken from its settings, the example names every setting, and nothing else."""
    assert sorted(keys_of(tomllib.loads(_COMMENTED.sub(r"\1", TEXT)))) == sorted(keys(Settings))


def test_what_is_commented_out_can_be_used(tmp_path: Path) -> None:
    """The examples in comments are values that the settings take."""
    file = tmp_path / "config.toml"
    # Of the two ways to name the key of a workspace, only one may be used.
    text = re.sub(r"^# api_key_env = .*", "", TEXT, flags=re.MULTILINE)
    file.write_text(_COMMENTED.sub(r"\1", text), encoding="utf-8")
    assert load_settings(file).guards.max_targets is not None


def test_every_setting_says_why_in_one_line() -> None:
    """Just one line of comment stands above each setting, and it is a sentence."""
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(# )?\w+ = ", line):
            assert re.fullmatch(r"# .*\.", lines[number - 1]), line
            assert not lines[number - 2].startswith("# ") or re.match(r"# (\w+ = |\[)", lines[number - 2]), line
