"""The folder of the shipped playbooks."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

SHIPPED = next(
    (folder for folder in (_PACKAGE / "playbooks", _PACKAGE.parent / "playbooks") if folder.is_dir()),
    _PACKAGE / "playbooks",
)
"""In the installed package; beside the package in a checkout or an editable install."""


def list_playbooks(folder: Path) -> list[str]:
    """List the names of the playbooks in a folder; empty for a missing folder."""
    return sorted(path.stem for path in folder.glob("*.y*ml")) if folder.is_dir() else []
