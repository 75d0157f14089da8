"""`${var}`: text replaced by text, after parsing."""

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.playbook.load import parse_assignments
from tests.playbook.loading import VALID, load, refusal

EVIL = ["a: b", "[x, y]", "{all: true}", "'", '"', "a\nb: c", "# x", "*x", "${teepod}", "${nothing}", "\\"]
TYPED = VALID.replace("max_targets: 5", 'max_targets: "${n}"').replace("vars:\n", "vars:\n  n: {required: true}\n")


@pytest.mark.parametrize("value", EVIL)
def test_a_value_never_becomes_yaml_or_a_reference(tmp_path: Path, value: str) -> None:
    select = load(tmp_path, VALID, teepod=value).playbook.acting_steps[0].select
    assert select.teepod == [value]
    assert select.name == ["dev-*"]


def test_a_variable_may_occur_anywhere_in_text(tmp_path: Path) -> None:
    text = VALID.replace('["${teepod}"]', '["${teepod}", "a-${teepod}-${teepod}"]').replace("first", "pod ${teepod}")
    loaded = load(tmp_path, text, teepod="7")
    assert loaded.playbook.acting_steps[0].select.teepod == ["7", "a-7-7"]
    assert loaded.playbook.acting_steps[0].name == "pod 7"
    assert loaded.variables == {"teepod": "7"}


def test_keys_have_no_variables(tmp_path: Path) -> None:
    assert (
        "unknown key '${teepod}'"
        in refusal(tmp_path, VALID.replace("      name:", '      "${teepod}":'), teepod="name").message
    )


def test_vars_are_not_substituted(tmp_path: Path) -> None:
    text = VALID.replace("{required: true}", '{required: true, description: "used as ${teepod} and ${x}"}')
    loaded = load(tmp_path, text, teepod="7")
    assert loaded.playbook.vars["teepod"].description == "used as ${teepod} and ${x}"


def test_a_dollar_without_a_brace_is_plain_text(tmp_path: Path) -> None:
    assert load(tmp_path, VALID.replace("dev-*", "$dev}{"), teepod="7").playbook.acting_steps[0].select.name == [
        "$dev}{"
    ]


def test_a_given_value_wins_over_the_default(tmp_path: Path) -> None:
    for short in ("{default: prod-1}", "prod-1"):
        text = VALID.replace("{required: true}", short)
        assert load(tmp_path, text).playbook.acting_steps[0].select.teepod == ["prod-1"]
        assert load(tmp_path, text, teepod="prod-2").playbook.acting_steps[0].select.teepod == ["prod-2"]


def test_a_value_gets_the_type_of_its_key(tmp_path: Path) -> None:
    assert load(tmp_path, TYPED, teepod="a", n="12").playbook.guards.max_targets == 12
    error = refusal(tmp_path, TYPED, teepod="a", n="many")
    assert (error.line, error.message) == (6, "guards.max_targets must be a whole number, not 'many'")


def test_every_variable_without_a_value_is_named_with_its_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, TYPED.replace("teepod: {", "teepod: {description: where, "))
    assert "'n' has no value" in error.message
    assert error.hint == "add --var n=VALUE"
    assert [(each.line, each.message) for each in error.more] == [(4, "the variable 'teepod' (where) has no value")]


@pytest.mark.parametrize("around", ["${teepod}", "${teepod}*", "a-${teepod}-b"])
@pytest.mark.parametrize("value", ["", " ", "\t\n", "\u3000"])
def test_an_empty_value_is_refused_with_any_text_around(tmp_path: Path, around: str, value: str) -> None:
    with pytest.raises(UsageError, match="the variable 'teepod' has an empty value"):
        load(tmp_path, VALID.replace("${teepod}", around), teepod=value)


@pytest.mark.parametrize("default", ['{default: ""}', '{default: " "}', '""'])
def test_an_empty_default_is_refused_whether_or_not_a_value_is_given(tmp_path: Path, default: str) -> None:
    text = VALID.replace("{required: true}", default).replace("${teepod}", "${teepod}*")
    for error in (refusal(tmp_path, text), refusal(tmp_path, text, teepod="a")):
        assert (error.line, error.message) == (3, "vars.teepod.default: must not be empty")


def test_a_value_of_an_undeclared_variable_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no variable 'teepd'") as caught:
        load(tmp_path, VALID, teepod="a", teepd="b")
    assert caught.value.hint == "did you mean 'teepod'?"
    with pytest.raises(UsageError) as caught:
        load(tmp_path, "name: x\nsteps: [{action: stop, select: {all: true}}]\n", teepod="a")
    assert caught.value.hint == "the playbook declares no variables"


@pytest.mark.parametrize("text", [VALID, TYPED, TYPED.replace('["${teepod}"]', "${teepod}")])
def test_open_variables_are_allowed_in_text_and_in_typed_places(tmp_path: Path, text: str) -> None:
    loaded = load(tmp_path, text, open_ones=True)
    assert set(loaded.undefined) == {"teepod"} | ({"n"} if "  n:" in text else set())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("10m", '"${teepod}"'),
        ("action: stop", 'action: "${teepod}"'),
        ('teepod: ["${teepod}"]', 'app_id: "${teepod}"'),
        ('teepod: ["${teepod}"]', 'app_id: ["0x${teepod}"]'),
        ('teepod: ["${teepod}"]', 'all: "${teepod}"'),
        ("max_targets: 5", 'max_percent: "${teepod}%"'),
        ("guards:\n  max_targets: 5", 'limits: {max_failures: "${teepod}%", burst: "${teepod}"}'),
    ],
)
def test_every_typed_place_may_have_an_open_variable(tmp_path: Path, old: str, new: str) -> None:
    assert old in VALID
    assert load(tmp_path, VALID.replace(old, new), open_ones=True).undefined == ("teepod",)


def test_the_hint_for_a_bare_variable_names_quotes(tmp_path: Path) -> None:
    error = refusal(tmp_path, VALID.replace("10m", "${teepod}"), open_ones=True)
    assert (error.line, "${…}" in (error.hint or "")) == (12, True)


def test_errors_beside_an_open_variable_are_found(tmp_path: Path) -> None:
    error = refusal(tmp_path, TYPED.replace("10m", "never"), open_ones=True)
    assert (error.line, error.more) == (13, ())


def test_an_open_variable_can_not_stand_for_a_mapping(tmp_path: Path) -> None:
    text = 'name: x\nvars: {s: {required: true}}\nsteps:\n  - action: stop\n    select: "${s}"\n'
    error = refusal(tmp_path, text, open_ones=True)
    assert (error.line, "steps[0].select must be a mapping" in error.message) == (5, True)


def test_two_steps_named_by_two_open_variables_may_differ(tmp_path: Path) -> None:
    step = '  - {name: "${%s}", action: stop, select: {all: true}}\n'
    text = "name: x\nvars: {a: {required: true}, b: {required: true}}\nsteps:\n" + step % "a" + step % "b"
    assert load(tmp_path, text, open_ones=True).undefined == ("a", "b")


def test_assignments_split_at_the_first_equals_sign_and_the_last_wins() -> None:
    assert parse_assignments(("a=1", "b=x=y", "a=2", "c=")) == {"a": "2", "b": "x=y", "c": ""}


@pytest.mark.parametrize("pair", ["a", "=1", "", "a=\udcff"])
def test_an_assignment_without_name_value_or_encoding_is_refused(pair: str) -> None:
    with pytest.raises(UsageError):
        parse_assignments((pair,))


def test_the_size_of_substituted_values_is_limited(tmp_path: Path) -> None:
    """Every reference counts, in any text."""
    text = VALID.replace('["${teepod}"]', '["' + "${teepod}" * 1000 + '", "x-${teepod}"]')
    assert load(tmp_path, text, teepod="a" * 900).playbook.acting_steps[0].select.teepod
    error = refusal(tmp_path, text, teepod="a" * 1000)
    assert "more than 1,000,000 characters" in error.message
    assert error.line == 10
