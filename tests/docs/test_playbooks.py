"""Files in the docs can be used as they stand."""

import tomllib
from pathlib import Path

import pytest

from orchestrator.playbook.load import load_playbook
from orchestrator.settings.load import Settings
from orchestrator.simulator.settings import load_settings as load_simulator_settings
from tests.docs.pages import ROOT, Block, blocks
from tests.runs.cases.files import check


def _is_playbook(block: Block) -> bool:
    written = [line for line in block.text.splitlines() if not line.startswith("#")]
    return bool(written) and written[0].startswith("name:")


PLAYBOOKS = [block for block in blocks("yaml", "yml") if _is_playbook(block)]


@pytest.mark.parametrize("block", PLAYBOOKS, ids=str)
def test_playbooks_in_the_docs_load(block: Block, tmp_path: Path) -> None:
    """Each YAML block that begins with `name:` is a playbook without faults."""
    file = tmp_path / "playbook.yaml"
    file.write_text(block.text, encoding="utf-8")
    assert load_playbook(file, {}, allow_undefined=True).playbook.steps


CASES = [block for block in blocks("yaml") if block.text.startswith("version: 1\ncases:")]


@pytest.mark.parametrize("block", CASES, ids=str)
def test_cases_in_the_docs_pass_with_the_playbook_of_the_how_to(block: Block, tmp_path: Path) -> None:
    """The first case of the how-to is the one that fails, for a playbook without `protect`."""
    is_first = "- {name: dev-kms}" in block.text
    protect = "" if is_first else 'guards: {protect: {name: ["*kms*"]}}\n'
    playbook = f"name: night\n{protect}steps: [{{name: stop, action: stop, select: {{name: dev-*}}}}]\n"
    (result,) = check(tmp_path, block.text, playbook)
    assert [each.unexpected for each in result.differences] == ([(("dev-kms", ""),)] if is_first else [])


def test_there_are_playbooks_in_the_readme_and_the_tutorial() -> None:
    """The check above has something to check, on the two pages where it matters most."""
    pages = {block.page.relative_to(ROOT).as_posix() for block in PLAYBOOKS}
    assert {"README.md", "docs/tutorial.md", "docs/reference/playbook.md"} <= pages


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_in_the_docs_loads(block: Block, tmp_path: Path) -> None:
    """Each TOML block is a configuration of the simulator, or else settings."""
    tree = tomllib.loads(block.text)
    if set(tree) <= set(Settings.model_fields):
        Settings(**tree)
        return
    file = tmp_path / "simulator.toml"
    file.write_text(block.text, encoding="utf-8")
    load_simulator_settings(file)
