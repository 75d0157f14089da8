"""Load playbooks from text, as from a file."""

from pathlib import Path

import pytest

from orchestrator.errors import PlaybookError
from orchestrator.playbook.load import LoadedPlaybook, load_playbook
from orchestrator.playbook.schema import Playbook
from orchestrator.playbook.shipped import is_cases_file
from orchestrator.playbook.steps import Select

FOLDER = Path(__file__).resolve().parent.parent.parent / "playbooks"
SHIPPED = sorted(file for file in FOLDER.glob("*.yaml") if not is_cases_file(file))

VALID = """\
name: example
vars:
  teepod: {required: true}
guards:
  max_targets: 5
steps:
  - name: first
    action: stop
    select:
      teepod: ["${teepod}"]
      name: "dev-*"
    settle: {timeout: 10m}
"""


def load(folder: Path, text: str | bytes, *, open_ones: bool = False, **variables: str) -> LoadedPlaybook:
    """Load a playbook from this text."""
    file = folder / "p.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_playbook(file, variables, allow_undefined=open_ones)


def refusal(folder: Path, text: str | bytes, *, open_ones: bool = False, **variables: str) -> PlaybookError:
    """Return the error for this text; the error names the file."""
    with pytest.raises(PlaybookError) as caught:
        load(folder, text, open_ones=open_ones, **variables)
    assert caught.value.file == str(folder / "p.yaml")
    return caught.value


def playbook(*selects: dict[str, object], **keys: object) -> Playbook:
    """Make a playbook with a step for each select."""
    steps = [{"name": f"step {n}", "action": "stop", "select": each} for n, each in enumerate(selects, start=1)]
    return Playbook.model_validate({"name": "example", "steps": steps, **keys})


def select(**keys: object) -> Select:
    """Make a select."""
    return Select.model_validate(keys)
