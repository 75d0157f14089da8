"""Parse YAML with every scalar as text, and with the line of every key and item.

PyYAML composes the node graph; this module builds the values. PyYAML's constructors would turn an app_id of digits into
a number and `no` into a boolean, and would ignore duplicate keys.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from orchestrator.errors import PlaybookError
from orchestrator.playbook.shipped import is_cases_file
from orchestrator.state_files import read_regular

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
KeyPath: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 20_000
"""Most keys, texts, lists and mappings; every value takes time."""
_ALIAS = "anchors and aliases (& and *) are not allowed"
_TOP_KEYS = re.compile(rb"^([a-zA-Z_]+)[ \t]*:", re.MULTILINE)
_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed YAML document.

    Attributes:
        file: the document's file.
        tree: mappings, lists and text only.
        sha256: hash of the document's bytes, in hex.
        data: the document's bytes.
        lines: the line (from 1) of every key and list item, by its path from the root.
    """

    file: Path
    tree: dict[str, Tree]
    sha256: str
    data: bytes = field(repr=False)
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line_of(self, path: KeyPath) -> int:
        """Return the line of a path, or of its nearest parent in the document."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def find_top_keys(file: Path) -> set[str]:
    """Find the keys at the top of a file, also in invalid YAML; only keys of letters count.

    Raises:
        OSError: when the file is missing or unreadable.
        ValueError: when the file is no regular file, or too large.
    """
    return {key.decode("ascii") for key in _TOP_KEYS.findall(read_regular(file, MAX_BYTES))}


def read_source(file: Path, what: str = "playbook") -> Source:
    """Read and parse a YAML file; `what` names the kind of file in errors.

    Raises:
        PlaybookError: with the line, when the file is missing, unreadable, too large or not YAML, uses aliases, has a
            duplicate key, or is not a mapping.
    """
    if "\0" in str(file):
        raise PlaybookError(f"there is no such {what}: its path has a NUL", file=file)
    try:
        data = read_regular(file, MAX_BYTES)
    except FileNotFoundError:
        hint = _suggest_files(file) if what == "playbook" else None
        raise PlaybookError(f"there is no such {what}", file=file, hint=hint) from None
    except OSError as error:
        raise PlaybookError(f"the {what} can't be read: {error.strerror or error}", file=file) from error
    except ValueError as error:
        raise PlaybookError(f"the {what} can't be read: {error}", file=file) from error
    return parse_source(data, file, what)


def parse_source(data: bytes, file: Path, what: str = "playbook") -> Source:
    """Parse a YAML document; errors as in `read_source`."""
    if len(data) > MAX_BYTES:
        raise PlaybookError(f"the {what} has more than {MAX_BYTES:,} bytes", file=file)
    text = _decode_text(data, file, what)
    tree, lines = _parse_tree(text, file, what)
    return Source(file=file, tree=tree, sha256=hashlib.sha256(data).hexdigest(), data=data, lines=lines)


def _decode_text(data: bytes, file: Path, what: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PlaybookError(
            f"the {what} is not UTF-8 text", file=file, line=line, hint="save the file as UTF-8"
        ) from error


def _suggest_files(file: Path) -> str:
    folder = file.parent
    found = {p for suffix in ("*.yaml", "*.yml") for p in folder.glob(suffix)} if folder.is_dir() else set()
    names = sorted(p.name for p in found if not is_cases_file(p))
    if names:
        return f"playbooks in {folder}: {', '.join(names[:8])}"
    return "give the path of a playbook, or the name of a playbook in ./playbooks"


def _parse_tree(text: str, file: Path, what: str) -> tuple[dict[str, Tree], dict[KeyPath, int]]:
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, file, what) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the {what} has a character that YAML does not allow: {chr(error.character)!r}"
        raise PlaybookError(message, file=file, line=line) from error
    except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError) as error:
        # For example an escape beyond Unicode, or a number in a directive with too many digits.
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        line = loader.line + 1 if loader is not None else 1
        raise PlaybookError(f"not valid YAML: {reason}", file=file, line=line) from error
    builder = _Builder(file, what)
    if node is None:
        hint = "`orchestrator schema` prints the format" if what == "playbook" else None
        raise PlaybookError(f"the {what} is empty", file=file, line=1, hint=hint)
    tree = builder.build_tree(node, (), 0)
    if not isinstance(tree, dict):
        hint = "start with `name:` and `steps:`" if what == "playbook" else None
        raise PlaybookError(f"a {what} is a mapping of keys to values", file=file, line=1, hint=hint)
    return tree, builder.lines


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: Path, what: str) -> PlaybookError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    rows = text.splitlines()
    row = rows[line - 1] if line <= len(rows) else ""
    hint: str | None = "check the indentation and the quotes there and in the line above"
    if re.match(r"[ ]*\t", row):
        hint = "YAML does not allow tabs for indentation; use spaces"
    elif error.problem == _ALIAS:
        hint = "write the value out; text that starts with * or & needs quotes"
    elif "another document" in (error.problem or ""):
        hint = f"a file holds one {what}; leave out the line `---` between them"
    elif "${" in row and "flow" in (error.context or ""):
        hint = "text with ${…} needs quotes inside { } and [ ]"
    elif "mapping values are not allowed" in (error.problem or ""):
        hint = "text that contains ': ' needs quotes; check the indentation too"
    elif "block scalar" in (error.context or "") and re.search(r":\s*>", row):
        hint = 'a comparison needs quotes, such as ">1.5"'
    elif "cannot start any token" in (error.problem or ""):
        hint = "text that starts with %, @ or ` needs quotes"
    problem = ", ".join(part for part in (error.problem, error.context) if part)
    return PlaybookError(f"not valid YAML: {problem}", file=file, line=line, hint=hint)


class _Loader(yaml.BaseLoader):
    """Composes nodes up to the first alias: a document with aliases could expand to gigabytes."""

    values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - PyYAML's own
        """Compose a node; refuse aliases and too many values."""
        self.values += 1
        if self.values > MAX_VALUES:
            mark = _start_mark(self.peek_event())  # type: ignore[no-untyped-call] # PyYAML's stubs leave it out
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES:,} values", problem_mark=mark)
        if self.check_event(yaml.AliasEvent):
            alias: yaml.AliasEvent = self.get_event()  # type: ignore[no-untyped-call] # PyYAML's stubs leave it out
            raise yaml.MarkedYAMLError(problem=_ALIAS, problem_mark=_start_mark(alias))
        return super().compose_node(parent, index)


def _start_mark(event: yaml.Event) -> yaml.Mark | None:
    return event.start_mark if isinstance(event.start_mark, yaml.Mark) else None


class _Builder:
    """Builds a tree of text from nodes, and records lines."""

    def __init__(self, file: Path, what: str) -> None:
        self.file, self.what = file, what
        self.lines: dict[KeyPath, int] = {}

    def build_tree(self, node: yaml.Node, path: KeyPath, depth: int) -> Tree:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if node.tag not in _TAGS:
            hint = "every value is text here; text that starts with ! needs quotes"
            raise PlaybookError(f"the tag {node.tag!r} is not allowed", file=self.file, line=line, hint=hint)
        if depth > MAX_DEPTH:
            raise PlaybookError(f"the {self.what} is nested too deeply", file=self.file, line=line)
        if isinstance(node, yaml.MappingNode):
            return self._build_mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build_tree(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        return self._build_text(node)

    def _build_text(self, node: yaml.Node) -> str:
        text = str(node.value)
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            line = node.start_mark.line + 1
            raise PlaybookError("the text has half of a surrogate pair", file=self.file, line=line)
        return text

    def _build_mapping(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> dict[str, Tree]:
        result: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise PlaybookError("a key must be plain text", file=self.file, line=line)
            key = self._build_text(key_node)
            if key in result:
                first = self.lines[(*path, key)]
                raise PlaybookError(
                    f"the key {key!r} stands twice, first in line {first}",
                    file=self.file,
                    line=line,
                    hint="keep one of the two; a list can hold several values",
                )
            self.lines[(*path, key)] = line
            result[key] = self.build_tree(value_node, (*path, key), depth + 1)
        return result
