"""Create the files of a new folder: settings, a first playbook, and the schema for editors. Never overwrites a file."""

import json
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.playbook.schema import json_schema

_CONFIG = """\
# Settings of this folder. Every setting: `docs/reference/settings.md`. Never put the API key here.

[guards]
# Refuse a plan with more targets than this.
max_targets = 50

[guards.protect]
# Names of CVMs that no playbook may touch; `*` and `?` are wildcards.
name = ["kms-*", "gateway-*"]
"""

_PLAYBOOK = """\
# yaml-language-server: $schema=playbook.schema.json
name: first
description: Stop the CVMs whose names begin with dev-.
guards:
  max_percent: 50
steps:
  - name: stop
    action: stop
    select: {name: ["dev-*"]}
    settle: {timeout: 10m}
"""


@dataclass(frozen=True, slots=True)
class CreatedFiles:
    """The result of `init`.

    Attributes:
        created: files written now.
        left: files left as they were.
    """

    created: tuple[Path, ...]
    left: tuple[Path, ...]


def create_files(folder: Path) -> CreatedFiles:
    """Create the missing files in a folder, and the folder itself.

    Raises:
        UsageError: when a file or folder can't be created.
    """
    schema = json.dumps(json_schema(), indent=2) + "\n"
    contents = {"config.toml": _CONFIG, "playbooks/first.yaml": _PLAYBOOK, "playbooks/playbook.schema.json": schema}
    created, left = [], []
    for name, text in contents.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            path.chmod(path.stat().st_mode & ~0o022)  # others may not write the settings
        except FileExistsError:
            if not path.parent.is_dir():
                raise UsageError(f"{path.parent} is not a folder", hint="choose another folder") from None
            left.append(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(f"{path} can't be created: {reason}", hint="choose another folder") from error
        else:
            created.append(path)
    return CreatedFiles(tuple(created), tuple(left))
