"""Replace `${var}` inside text values, only after parsing: a value can never become YAML."""

import difflib
import re
from collections.abc import Mapping

from orchestrator.errors import PlaybookError, UsageError
from orchestrator.playbook.source import KeyPath, Source, Tree
from orchestrator.validation_messages import format_path

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
MAX_PUT_IN = 1_000_000
"""Characters: the same as the limit of a playbook without variables."""


def parse_assignments(pairs: tuple[str, ...]) -> dict[str, str]:
    """Parse the variables of `--var k=v`, in order; the last value of a name wins.

    Raises:
        UsageError: when an assignment has no `=` or no name.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--var {pair!r} has no value", hint="write --var NAME=VALUE")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise UsageError(f"the value of --var {name} is not UTF-8 text")
        values[name] = value
    return values


def substitute_variables(source: Source, values: Mapping[str, str], declared: Mapping[str, object]) -> dict[str, Tree]:
    """Replace every `${name}` outside of `vars` by the variable's value.

    Args:
        source: the document.
        values: the value of every variable.
        declared: the declared variables, for the hint.

    Raises:
        PlaybookError: with the line, when a name is not declared.
    """

    def walk_tree(tree: Tree, path: KeyPath) -> Tree:
        if isinstance(tree, dict):
            return {key: walk_tree(value, (*path, key)) for key, value in tree.items()}
        if isinstance(tree, list):
            return [walk_tree(value, (*path, index)) for index, value in enumerate(tree)]
        if "${" in _REFERENCE.sub("", tree):
            raise PlaybookError(
                f"{format_path(path)} has an incomplete ${{NAME}}",
                file=source.file,
                line=source.line_of(path),
                hint="write ${NAME} with a NAME declared under `vars`",
            )
        return _REFERENCE.sub(lambda match: look_up_value(match.group(1), path), tree)

    put_in = 0

    def look_up_value(name: str, path: KeyPath) -> str:
        nonlocal put_in
        if name in values:
            put_in += len(values[name])
            if put_in > MAX_PUT_IN:
                raise PlaybookError(
                    f"the values of variables add more than {MAX_PUT_IN:,} characters to the playbook",
                    file=source.file,
                    line=source.line_of(path),
                    hint=f"use shorter values, or ${{{name}}} in fewer places",
                )
            return values[name]
        raise PlaybookError(
            f"unknown variable ${{{name}}}",
            file=source.file,
            line=source.line_of(path),
            hint=_suggest_reference(name, list(declared)),
        )

    return {key: value if key == "vars" else walk_tree(value, (key,)) for key, value in source.tree.items()}


def _suggest_reference(name: str, known: list[str]) -> str:
    if not known:
        return f"declare it: `vars: {{{name}: {{required: true}}}}`"
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean ${{{close[0]}}}?" if close else f"declared under `vars`: {', '.join(known)}"
