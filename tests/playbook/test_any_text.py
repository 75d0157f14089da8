"""Any content of a file is a playbook, or an error with a line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import PlaybookError, UsageError
from orchestrator.playbook.load import load_playbook
from tests.playbook.loading import SHIPPED, VALID

FRAGMENTS = [
    *(
        "name",
        "steps",
        "action",
        "stop",
        "select",
        "any",
        "exclude",
        "all",
        "true",
        "vars",
        "guards",
        "limits",
        "settle",
    ),
    *(
        ": ",
        "\n",
        "\n  ",
        "\n    - ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "'",
        '"',
        "|\n",
        ">\n",
        "&a ",
        "*a ",
        "<<: ",
        "? ",
    ),
    *("!!map ", "!x ", "${", "}", "${x}", "%", "0", "1e999", "10%", "\\ud800", "\\x00", "\t", "\r", "\x00", "\x85", "﻿"),
    *("---\n", "...\n", "# ", "😀", "\u2028", "%YAML 1.1\n", "~", "null", "1h30m"),
]
CUTS = st.tuples(st.integers(0, 400), st.integers(0, 40), st.lists(st.sampled_from(FRAGMENTS), max_size=4))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("playbooks") / "p.yaml"


def _loads_or_tells_where(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    for open_ones in (False, True):
        try:
            loaded = load_playbook(file, {"teepod": "a"} if b"teepod:" in data else {}, allow_undefined=open_ones)
        except PlaybookError as error:
            rows = data.count(b"\n") + data.count(b"\r") + data.decode("utf-8", "replace").count("\x85") + 2
            rows += data.count("\u2028".encode())
            assert all(each.line is not None and 1 <= each.line <= rows for each in (error, *error.more))  # noqa: PT017 - either way is right
        except UsageError as error:
            assert "teepod" in error.message  # noqa: PT017 - the mutation took the variable away
        else:
            assert loaded.playbook.steps


@given(data=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_are_a_playbook_or_an_error_with_a_line(file: Path, data: bytes) -> None:
    _loads_or_tells_where(file, data)


@given(parts=st.lists(st.sampled_from(FRAGMENTS), max_size=40))
def test_any_fragments_are_a_playbook_or_an_error_with_a_line(file: Path, parts: list[str]) -> None:
    _loads_or_tells_where(file, "".join(parts).encode("utf-8", "replace"))


@given(
    base=st.sampled_from([VALID, *(path.read_text() for path in SHIPPED)]), cuts=st.lists(CUTS, min_size=1, max_size=3)
)
def test_any_change_to_a_playbook_is_a_playbook_or_an_error_with_a_line(
    file: Path, base: str, cuts: list[tuple[int, int, list[str]]]
) -> None:
    text = base
    for start, length, new in cuts:
        text = text[:start] + "".join(new) + text[start + length :]
    _loads_or_tells_where(file, text.encode("utf-8", "replace"))


TREES = st.recursive(
    st.sampled_from(["a", "0", "true", "${x}", "", "10%", "stop", "1h"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "steps",
                    "action",
                    "select",
                    "any",
                    "exclude",
                    "all",
                    "app_id",
                    "vars",
                    "x",
                    "guards",
                    "cron",
                    "not_on",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)


@given(tree=TREES, key=st.sampled_from(["steps", "vars", "guards", "limits", "schedule", "description"]))
def test_any_tree_at_any_key_is_a_playbook_or_an_error_with_a_line(file: Path, tree: object, key: str) -> None:
    rows = {"name": "x", "vars": "{x: {required: true}}", "steps": "[{action: stop, select: {all: true}}]"}
    rows[key] = _flow(tree)
    _loads_or_tells_where(file, "".join(f"{name}: {value}\n" for name, value in rows.items()).encode())


def _flow(tree: object) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(_flow, tree)) + "]"
    return f'"{tree}"'
