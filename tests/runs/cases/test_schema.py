"""The form of a cases file: errors with file, line and key, and the JSON Schema."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestrator.errors import PlaybookError
from orchestrator.playbook.shipped import SHIPPED
from orchestrator.runs.cases.schema import CaseCvm, cases_schema, find_cases, load_cases
from tests.runs.cases.files import one_case, write_cases


class EditorLoader(yaml.SafeLoader):
    """Reads a time as text, as editors do."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in the class above
        first: [each for each in found if each[0] != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


OK = one_case("{exit_code: 0}")


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("version: 2\ncases: []\n", 1, "version 2 is unknown", "schema --cases"),
        ("version: 1\ncases: []\n", 2, "cases is empty", "at least one"),
        ("cases: x\nversion: 1\n", 1, "cases must be a list", "schema --cases"),
        ("version: 1\n", 1, "the key 'cases' is missing", ""),
        ("", 1, "the cases file is empty", ""),
        ("a: [", 1, "not valid YAML", ""),
        (OK.replace("    expect", "    expects"), 5, "unknown key 'expects' in cases[0]", "did you mean 'expect'"),
        (one_case("{}"), 5, "cases[0].expect: expects nothing", "schema --cases"),
        (one_case("{exit_code: 6}"), 5, "must be an exit code of `plan`: 0, 2, 3, 4", ""),
        (one_case("{warnings: [deadlin]}"), 5, "there is no code 'deadlin'", "did you mean 'deadline'"),
        (
            one_case("\n      skipped:\n        protectd: []"),
            7,
            "there is no code 'protectd'",
            "did you mean 'protected'",
        ),
        (one_case("{guards: {max_target: ok}}"), 5, "unknown key 'max_target'", "did you mean 'max_targets'"),
        (one_case("{guards: {protect: yes}}"), 5, "must be 'ok' or 'refused', not 'yes'", ""),
        (one_case("{exit_code: 0}", inventory="[{id_: x}]"), 4, "has no `name`, `id` or `vm_uuid`", ""),
        (one_case("{exit_code: 0}", inventory="[{name: x, gpu: 1}]"), 4, "unknown key 'gpu'", "did you mean 'gpus'"),
        (one_case("{exit_code: 0}", "    now: 2026-11-26T18:00\n"), 6, "has no offset", "add Z"),
        (one_case("{exit_code: 0}", "    settings: {guards: {max_targets: 0}}\n"), 6, "must be at least 1", ""),
        (one_case("{exit_code: 0}", "    settings: {cloud: {}}\n"), 6, "unknown key 'cloud'", ""),
        (one_case("{firings: {from: 2026-12-02, to: 2026-12-01, at: []}}"), 5, "`to` must be later", ""),
        (
            one_case("{firings: {from: 2026-12-01, to: 2026-12-02, at: 2026-12-03}}"),
            5,
            "outside of `from` and `to`",
            "",
        ),
        (OK + OK.partition("cases:\n")[2], 6, "the name 'a case' is also used in line 3", "its own name"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line_and_key(
    tmp_path: Path, text: str, line: int, message: str, hint: str
) -> None:
    file = write_cases(tmp_path, text)
    with pytest.raises(PlaybookError) as caught:
        load_cases(file)
    assert (caught.value.file, caught.value.line) == (str(file), line)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_cases_belong_to_the_playbook_beside_them(tmp_path: Path) -> None:
    file = write_cases(tmp_path, OK)
    playbook = tmp_path / "night.yaml"
    assert load_cases(file).playbook == playbook
    assert find_cases(playbook) == file
    playbook.rename(tmp_path / "other.yaml")
    with pytest.raises(PlaybookError, match=r"has no playbook night\.yaml beside it"):
        load_cases(file)
    with pytest.raises(PlaybookError, match="there is no such cases file"):
        load_cases(tmp_path / "none.cases.yaml")


def test_an_entry_of_an_inventory_file_can_be_pasted_and_gets_what_every_cvm_has() -> None:
    entry = {"name": "a", "app_id": f"0x{'A' * 40}", "teepod": "null", "status": "stopped", "creator": "jane"}
    cvm = CaseCvm.model_validate(entry).complete(7)
    assert (cvm.id, cvm.app_id, cvm.teepod, cvm.status) == ("cvm_case_7", "a" * 40, None, "stopped")
    assert (cvm.creator_username, cvm.creator_id) == ("jane", "jane")


def test_the_shipped_cases_fit_the_json_schema() -> None:
    schema = jsonschema.Draft202012Validator(cases_schema())
    files = sorted(SHIPPED.glob("*.cases.yaml"))
    assert files
    for file in files:
        assert [error.message for error in schema.iter_errors(yaml.load(file.read_text(), Loader=EditorLoader))] == []  # noqa: S506 - a safe loader
