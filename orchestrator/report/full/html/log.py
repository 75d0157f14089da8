"""The section of the audit log: its path, its digests, and the way to verify the log."""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.formatting import size
from orchestrator.report.full.phrases import VERDICTS, seal_words
from orchestrator.report.html.elements import Cell, e, facts, section

_HOW = (
    "Each line of the log carries the hash of the line before it, so none can be changed, moved or taken out "
    "unnoticed. The digest is the hash of the last record: kept elsewhere, such as on this page, it proves later that "
    "the log is still the same one."
)


def log(document: Mapping[str, Any]) -> Element:
    """Make the section of the audit log."""
    found = document["log"]
    where = f", line {found['line']}: {found['reason']}" if found["line"] is not None else ""
    pairs: list[tuple[str, Cell]] = [
        ("File", e("bdi", found["path"])),
        ("Verdict", f"{VERDICTS.get(found['verdict'], found['verdict'])}{where}"),
        ("Records", f"{found['records']:,} in {size(found['bytes'])}"),
        ("Digest", e("code", found["digest"] or "-")),
        ("SHA-256", e("code", found["sha256"])),
        ("Playbook", e("code", document["run"]["playbook"].get("sha256") or "-")),
    ]
    if found["seal"]:
        pairs.append(("Seal", seal_words(found["seal"])))
    return section(
        "log",
        "Audit log",
        facts(pairs, "facts one"),
        e("p", _HOW),
        e("p", "To check it, and compare the digest and the SHA-256 with those above:"),
        e("pre", *(part for line in found["verify"] for part in (e("code", line), e("br")))),
    )
