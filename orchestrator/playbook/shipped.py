"""Where the playbooks lie that are shipped with this package."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

SHIPPED = next(
    (folder for folder in (_PACKAGE / "playbooks", _PACKAGE.parent / "playbooks") if folder.is_dir()),
    _PACKAGE / "playbooks",
)
"""In the package; in a checkout, which an editable install leads to, beside it."""


def list_playbooks(folder: Path) -> list[str]:
    """The names of the playbooks in a folder; none where there is no such folder."""
    return sorted(path.stem for path in folder.glob("*.y*ml")) if folder.is_dir() else []
