"""The YAML of a playbook, and the location of refused YAML."""

import os
from pathlib import Path

import pytest

from orchestrator.errors import PlaybookError
from orchestrator.playbook.load import load_playbook
from orchestrator.playbook.source import MAX_BYTES, read_source
from tests.playbook.loading import VALID, load, refusal

ONE = "name: x\nsteps:\n  - action: stop\n    select: {%s}\n"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("123456", "123456"),
        ("0x12ab", "0x12ab"),
        ("12e4", "12e4"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("~abc", None),
        ("no", "no"),
        ("on", "on"),
        ("null", "null"),
        ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"),
        ("!!str 012", "012"),
    ],
)
def test_a_scalar_keeps_its_spelling(tmp_path: Path, written: str, text: str | None) -> None:
    for key in ("name", "teepod"):
        loaded = load(tmp_path, ONE % f"{key}: [{written}]")
        assert getattr(loaded.playbook.acting_steps[0].select, key) == [text or written]


def test_an_app_id_of_digits_keeps_its_leading_zeros(tmp_path: Path) -> None:
    for written in ("0012345678901234567890123456789012345678", "0x12", "12e4"):
        assert load(tmp_path, ONE % f"app_id: {written}").playbook.acting_steps[0].select.app_id == [written]


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        ("", 1, "empty", "schema"),
        ("# nothing\n\n", 1, "empty", "schema"),
        ("- a\n- b\n", 1, "mapping", "name:"),
        ("just text", 1, "mapping", "name:"),
        ("name: x\n\tsteps: []\n", 2, "YAML", "tabs"),
        ("name: x\nsteps: [\n", 3, "YAML", None),
        ("name: a: b\n", 1, "YAML", "quotes"),
        ("name: x\ndescription: @home\n", 2, "YAML", "quotes"),
        ("name: x\nname: y\n", 2, "'name' stands twice, first in line 1", "keep one"),
        (ONE % "name: a" + "    select: {name: b}\n", 5, "'select' stands twice, first in line 4", "keep one"),
        ("name: x\n---\nname: y\n", 2, "document", "one playbook"),
        ("a: &x [1]\nb:\n  - *x\n", 3, "aliases", "write the value out"),
        ("name: x\nsteps:\n  - select: {name: *-gpu}\n", 3, "aliases", "quotes"),
        ("a: &x [*x]\n", 1, "aliases", "write the value out"),
        ("b: &x {a: 1}\nc:\n  <<: *x\n", 3, "aliases", "write the value out"),
        ("name: x\n? [a, b]\n: c\n", 2, "a key must be plain text", None),
        ("name: x\n? {a: b}\n: c\n", 2, "a key must be plain text", None),
        ("name: x\ndescription: !!int 5\n", 2, "tag", "quotes"),
        ("name: x\nsteps: !!python/object:os.system []\n", 2, "tag", None),
        ('name: x\ndescription: "\\ud800"\n', 2, "surrogate", None),
        ('name: x\n"\\udfff": y\n', 2, "surrogate", None),
        ('name: x\ndescription: "\\UFFFFFFFF"\n', 2, "YAML", None),
        ("%YAML " + "9" * 5000 + ".1\n---\nname: x\n", 1, "YAML", None),
        ("name: x\nsteps: " + "[" * 60 + "]" * 60 + "\n", 2, "nested too deeply", None),
        ("name: x\nsteps: " + "[" * 5000 + "\n", 2, "nested too deeply", None),
        ("name: x\ndescription: a\x00b\n", 2, "character", None),
        ("name: x\r\ndescription: a\x07b\r\n", 2, "character", None),
        ("name: x\ndescription: \x1b[31m\n", 2, "character", None),
    ],
)
def test_yaml_beyond_plain_values_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, says: str, hint: str | None
) -> None:
    error = refusal(tmp_path, text)
    assert (error.line, says in error.message) == (line, True), error
    assert hint is None or hint in (error.hint or "")


def test_nested_aliases_are_refused_at_once(tmp_path: Path) -> None:
    rows = ["l0: &l0 [x, x]"] + [f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 60)]
    assert refusal(tmp_path, "\n".join(rows)).line == 2


@pytest.mark.parametrize("encode", [lambda t: "﻿" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "...\n"])
def test_byte_order_marks_carriage_returns_and_document_ends_change_nothing(tmp_path: Path, encode: object) -> None:
    assert callable(encode)
    plain, other = load(tmp_path, VALID, teepod="a"), load(tmp_path, encode(VALID), teepod="a")
    assert plain.playbook == other.playbook
    assert plain.sha256 != other.sha256


def test_an_error_after_carriage_returns_has_the_right_line(tmp_path: Path) -> None:
    assert refusal(tmp_path, VALID.replace("max_targets", "max_target").replace("\n", "\r\n"), teepod="a").line == 5


@pytest.mark.parametrize("data", ["name: é".encode("latin-1"), "name: x\n".encode("utf-16"), b"name: \xff"])
def test_bytes_that_are_not_utf_8_are_refused(tmp_path: Path, data: bytes) -> None:
    assert "UTF-8" in refusal(tmp_path, data).message


def test_the_line_of_bytes_that_are_not_utf_8_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"name: x\n# \xe9t\xe9\n").line == 2


def test_a_file_beyond_the_limit_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    assert f"{MAX_BYTES:,}" in refusal(tmp_path, b"#" * (MAX_BYTES + 1)).message
    with pytest.raises(PlaybookError, match="not a regular file"):
        load_playbook(Path("/dev/zero"), {})


def test_the_error_of_a_missing_file_lists_the_existing_files(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").touch()
    with pytest.raises(PlaybookError, match="no such playbook") as caught:
        load_playbook(tmp_path / "p.yaml", {})
    assert "other.yaml" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", "a\0b.yaml", "x" * 5000 + ".yaml"])
def test_an_impossible_path_is_a_playbook_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(PlaybookError):
        load_playbook(tmp_path / name, {})


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "p.yaml"
    os.mkfifo(pipe)
    with pytest.raises(PlaybookError, match="not a regular file"):
        read_source(pipe)


def test_too_many_values_are_refused_at_the_first_above_the_limit(tmp_path: Path) -> None:
    text = VALID + "".join(f"key{number}: 1\n" for number in range(60_000))
    error = refusal(tmp_path, text, teepod="a")
    assert "more than 20,000 values" in error.message
    assert error.line is not None
    assert error.line < 11_000


def test_only_the_first_of_many_findings_are_listed(tmp_path: Path) -> None:
    text = VALID + "".join(f"key{number}: 1\n" for number in range(500))
    error = refusal(tmp_path, text, teepod="a")
    assert (error.message, error.line) == ("unknown key 'key0'", 13)
    assert [each.message for each in error.more[-2:]] == ["unknown key 'key49'", "450 more findings are not listed"]
    assert len(error.more) == 50
