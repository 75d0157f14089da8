"""Every error in a playbook names file, line and key, with a hint."""

from pathlib import Path

import pytest

from tests.playbook.loading import VALID, refusal


@pytest.mark.parametrize(
    ("old", "new", "line", "says", "hint"),
    [
        ("max_targets", "max_target", 5, "unknown key 'max_target' in guards", "did you mean 'max_targets'?"),
        ("guards", "gaurds", 4, "unknown key 'gaurds'", "did you mean 'guards'?"),
        ("      name:", "      nam_e:", 11, "unknown key 'nam_e' in steps[0].select", "did you mean 'name'?"),
        ("{timeout: 10m}", "{timeuot: 10m}", 12, "unknown key 'timeuot' in steps[0].settle", "did you mean 'timeout'?"),
        (
            "{required: true}",
            "{requiredd: true}",
            3,
            "unknown key 'requiredd' in vars.teepod",
            "did you mean 'required'?",
        ),
        ("required: true", "required: yes", 3, "vars.teepod.required: must be true or false, not 'yes'", None),
        ("max_targets: 5", "max_targets: five", 5, "guards.max_targets must be a whole number, not 'five'", None),
        ("max_targets: 5", "max_targets: 1.5", 5, "guards.max_targets must be a whole number", None),
        ("max_targets: 5", "max_targets: [5]", 5, "guards.max_targets must be a whole number, not a list", None),
        ("max_targets: 5", "max_targets: 0", 5, "guards.max_targets must be at least 1, not '0'", "never 'no limit'"),
        ("max_targets: 5", "max_targets: " + "9" * 30, 5, "guards.max_targets must be at most", None),
        ("max_targets: 5", "max_targets: " + "9" * 5000, 5, "guards.max_targets must be a whole number", None),
        ("max_targets: 5", "max_percent: 0%", 5, "guards.max_percent: must be above 0", None),
        ("max_targets: 5", "max_percent: 1e1", 5, "guards.max_percent: must be a percentage", None),
        ("max_targets: 5", "protect: {name: []}", 5, "guards.protect.name: the list is empty", None),
        ("max_targets: 5", "protect: {names: [a]}", 5, "unknown key 'names' in guards.protect", "'name'"),
        ("guards:\n  max_targets: 5", "guards: 5", 4, "guards must be a mapping", None),
        ("guards:\n  max_targets: 5", "limits: {burst: 0}", 4, "limits.burst must be at least 1", "never 'no limit'"),
        (
            "guards:\n  max_targets: 5",
            "limits: {requests_per_second: 0}",
            4,
            "limits.requests_per_second must be",
            "0 is",
        ),
        ("guards:\n  max_targets: 5", "limits: {requests_per_second: nan}", 4, "limits.requests_per_second", None),
        (
            "guards:\n  max_targets: 5",
            "limits: {requests_per_second: Auto}",
            4,
            "limits.requests_per_second must",
            None,
        ),
        ("guards:\n  max_targets: 5", "limits: {dispatch: batches}", 4, "limits.dispatch must be 'single' or", None),
        (
            "guards:\n  max_targets: 5",
            "limits: {max_failures: 101%}",
            4,
            "limits.max_failures: must be at most 100%",
            None,
        ),
        ("guards:\n  max_targets: 5", "limits: {max_failures: -1}", 4, "limits.max_failures: must be a number", None),
        (
            "action: stop",
            "action: halt",
            8,
            "steps[0].action must be 'stop', 'shutdown', 'start' or 'restart', not 'halt'",
            "`shutdown` asks the guest",
        ),
        ("    action: stop\n", "", 7, "the key 'action' is missing in steps[0]", None),
        ("name: example\n", "", 1, "the key 'name' is missing", None),
        ("name: example", "name: ''", 1, "name: must not be empty", None),
        ("name: first", "name:", 7, "steps[0].name: must not be empty", None),
        ("{timeout: 10m}", "{timeout: soon}", 12, "steps[0].settle.timeout: 'soon' is not a duration", None),
        ("{timeout: 10m}", "{timeout: 0}", 12, "steps[0].settle.timeout: must be above 0", None),
        ('["${teepod}"]', '["a", {b: c}]', 10, "steps[0].select.teepod[1]: must be text", None),
        ('["${teepod}"]', "[]", 10, "steps[0].select.teepod: the list is empty", None),
        ('["${teepod}"]', '["${teepd}"]', 10, "unknown variable ${teepd}", "did you mean ${teepod}?"),
        ('["${teepod}"]', '["${}"]', 10, "unknown variable ${}", None),
        (
            '["${teepod}"]',
            '["${teepod"]',
            10,
            "steps[0].select.teepod[0] has an incomplete ${",
            "declared under `vars`",
        ),
        ('teepod: ["${teepod}"]', 'app_id: ["a*"]', 10, "steps[0].select.app_id[0]: must be an app's id", None),
        ('teepod: ["${teepod}"]', "app_id: ../x", 10, "steps[0].select.app_id[0]: must be an app's id", None),
        ('teepod: ["${teepod}"]', "all: true", 9, "`all: true` and `name` contradict", None),
        ('teepod: ["${teepod}"]', "all: yes", 10, "steps[0].select.all: must be true or false", None),
        ('teepod: ["${teepod}"]', "all: []", 10, "steps[0].select.all: must be true or false", None),
        ('teepod: ["${teepod}"]', "any: []", 10, "steps[0].select.any is empty", "at least one"),
        ('teepod: ["${teepod}"]', "any: [{}]", 10, "steps[0].select.any[0]: the select is empty", None),
        ('teepod: ["${teepod}"]', "exclude: {}", 10, "steps[0].select.exclude: the select is empty", None),
        ("{required: true}", "{}", 3, "vars.teepod: the variable has no default", None),
        (
            "{required: true}",
            "{required: true, default: a}",
            3,
            "vars.teepod: a required variable can't have a default",
            None,
        ),
        ("{required: true}", '"${other}"', 3, "vars.teepod: a default can't refer to another variable", None),
        ("vars:\n  teepod: {required: true}", "vars: 5", 2, "vars must be a mapping", None),
    ],
)
def test_an_error_names_line_and_key(
    tmp_path: Path, old: str, new: str, *, line: int, says: str, hint: str | None
) -> None:
    assert old in VALID
    text = VALID.replace(old, new, 1)
    variables = {"teepod": "a"} if "  teepod: {required: true}" in text else {}
    error = refusal(tmp_path, text, open_ones=False, **variables)
    assert says in error.message
    assert error.line == line
    assert hint is None or hint in (error.hint or "")


@pytest.mark.parametrize("text", ["name: x\nsteps: []\n", "name: x\nsteps:\n", "name: x\nsteps: {}\n"])
def test_a_playbook_needs_a_step(tmp_path: Path, text: str) -> None:
    error = refusal(tmp_path, text)
    assert error.line == 2
    assert "steps" in error.message


def test_the_error_of_an_empty_select_names_all_true(tmp_path: Path) -> None:
    error = refusal(tmp_path, "name: x\nsteps:\n  - action: stop\n    select: {}\n")
    assert (error.line, "all: true" in error.message) == (4, True)


def test_the_error_of_equal_step_names_points_at_the_second(tmp_path: Path) -> None:
    step = "  - name: a\n    action: stop\n    select: {all: true}\n"
    error = refusal(tmp_path, f"name: x\nsteps:\n{step}{step}")
    assert (error.line, "two steps have the name 'a'" in error.message) == (6, True)


def test_all_errors_of_a_file_are_listed_in_order_of_lines(tmp_path: Path) -> None:
    text = VALID.replace("max_targets: 5", "max_targets: 0").replace("action: stop", "action: halt")
    error = refusal(tmp_path, text.replace("10m", "never"), teepod="a")
    assert [error.line, *(each.line for each in error.more)] == [5, 8, 12]


def test_a_long_wrong_value_is_cut(tmp_path: Path) -> None:
    error = refusal(tmp_path, VALID.replace("action: stop", f"action: {'x' * 100_000}"), teepod="a")
    assert len(error.message) < 200


def test_the_error_of_a_lone_exclude_names_all_true(tmp_path: Path) -> None:
    text = VALID.replace('      teepod: ["${teepod}"]\n      name: "dev-*"\n', "      exclude: {name: x}\n")
    assert "add `all: true`" in refusal(tmp_path, text, teepod="a").message


@pytest.mark.parametrize("app_id", ["a" * 39, "0x" + "a" * 41, "app_" + "B1" * 16])
def test_an_app_id_with_digits_missing_or_too_many_is_an_error(tmp_path: Path, app_id: str) -> None:
    message = refusal(tmp_path, VALID.replace('name: "dev-*"', f"app_id: {app_id}"), teepod="a").message
    assert "must be an app's id of 40 hex digits" in message
