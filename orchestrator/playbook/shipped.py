"""The folder of the shipped playbooks, and playbooks by name."""

from pathlib import Path, PurePath

_PACKAGE = Path(__file__).parents[1]

SHIPPED = next(
    (folder for folder in (_PACKAGE / "playbooks", _PACKAGE.parent / "playbooks") if folder.is_dir()),
    _PACKAGE / "playbooks",
)
"""In the installed package; beside the package in a checkout or an editable install."""


def locate_playbook(name: str, folder: Path = Path("playbooks"), shipped: Path = SHIPPED) -> Path | None:
    """Locate the file of a playbook: a path, or the name of a playbook in `./playbooks` or of a shipped playbook."""
    path = Path(name)
    if _file_exists(path) or path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        return path
    candidates = (place / f"{name}{suffix}" for place in (folder, shipped) for suffix in (".yaml", ".yml"))
    return next(filter(_file_exists, candidates), None)


def _file_exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        # The name is too long for a file, or has a NUL.
        return False


def list_playbooks(folder: Path) -> list[str]:
    """List the names of the playbooks in a folder; empty for a missing folder."""
    found = folder.glob("*.y*ml") if folder.is_dir() else ()
    return sorted(path.stem for path in found if not is_cases_file(path))


CASES = (".cases.yaml", ".cases.yml")
"""The ends of the names of cases files, which lie beside playbooks."""


def is_cases_file(path: PurePath) -> bool:
    """Check a file name for a cases file."""
    return path.name.endswith(CASES)
