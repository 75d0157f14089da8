"""Copy the licence files of all installed distributions: `python collect_licences.py FOLDER`."""  # noqa: INP001 - a script, not a package

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

_LICENCE_FILE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)


def collect_licences(folder: Path) -> None:
    """Copy the licence files to a folder for each distribution, with the declared licence in `LICENCE-DECLARED`."""
    for each in distributions():
        target = folder / each.name
        target.mkdir(parents=True, exist_ok=True)
        declared = each.metadata.get("License-Expression") or each.metadata.get("License") or ""
        classifiers = each.metadata.get_all("Classifier") or []
        lines = [f"{each.name} {each.version}", declared, *(line for line in classifiers if line.startswith("License"))]
        (target / "LICENCE-DECLARED").write_text("\n".join(filter(None, lines)) + "\n", encoding="utf-8")
        for file in each.files or ():
            inside = next((part for part in file.parts if part.endswith(".dist-info")), None)
            if inside and _LICENCE_FILE.match(file.name):
                parts = file.parts[file.parts.index(inside) + 1 :]
                (target / "-".join(parts)).write_bytes(file.read_binary())


if __name__ == "__main__":
    collect_licences(Path(sys.argv[1]))
