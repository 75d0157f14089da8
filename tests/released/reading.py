"""Read the files of a released version with the commands of this one."""

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.released.commands import Output, carry_out

_COMMANDS: dict[str, tuple[str, ...]] = {
    "verify": ("audit", "verify", "{}", "--json"),
    "show": ("show", "{}", "--json"),
    "show as text": ("show", "{}"),
    "report": ("report", "{}", "--json"),
    "report as text": ("report", "{}", "--format", "text"),
    "report as html": ("report", "{}", "--format", "html"),
    "report as md": ("report", "{}", "--format", "md"),
    "report as csv": ("report", "{}", "--format", "csv"),
    "audit show": ("audit", "show", "{}", "--json"),
    "audit show as text": ("audit", "show", "{}"),
    "export as ecs": ("audit", "export", "{}"),
    "export as jsonl": ("audit", "export", "{}", "--format", "jsonl"),
    "export as csv": ("audit", "export", "{}", "--format", "csv"),
}
_MONEY = ("triggered", "compute_usd_per_hour", "storage_usd_per_hour", "pending")


def copy_of(version: Path, folder: Path) -> dict[str, str]:
    """Copy the files of a version to a folder, as private as they were; returns the environment that leads there."""
    folder.mkdir(exist_ok=True)
    for name in ("state", "plans", "playbooks"):
        if (version / name).exists():  # a version need not have files of every kind
            shutil.copytree(version / name, folder / name)
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "COLUMNS": "200",
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
        "ORCHESTRATOR_SETTLE__POLL_MIN": "0.05",
        "ORCHESTRATOR_SETTLE__POLL_MAX": "0.2",
        "ORCHESTRATOR_SETTLE__RECHECK_AFTER": "0.2",
    }


def cases_of(version: Path) -> dict[str, Any]:
    """The runs of a version by the name of their case."""
    cases: dict[str, Any] = json.loads((version / "cases.json").read_text())
    return cases


def read_runs(version: Path, folder: Path) -> dict[str, dict[str, Output]]:
    """What every command says about each run of a version: by case, then by the name of the command."""
    runs = {case: each["run_id"] for case, each in cases_of(version).items() if "run_id" in each}
    calls = [[word.format(run_id) for word in words] for run_id in runs.values() for words in _COMMANDS.values()]
    outputs = iter(carry_out(calls, copy_of(version, folder), folder))
    return {case: {name: next(outputs) for name in _COMMANDS} for case in runs}


def facts(outputs: Mapping[str, Output]) -> dict[str, Any]:
    """What later versions have to say about a run too."""
    shown = outputs["show"].document
    outcomes = {target["cvm"]["name"]: target["outcome"] for target in shown["targets"]}
    money = shown["billing"].get("stops") or shown["billing"]
    return {
        "verify": outputs["verify"].code,
        "exit_code": shown["exit_code"],
        "counts": shown["counts"],
        "outcomes": dict(sorted(outcomes.items())),
        "money": {key: money[key] for key in _MONEY if key in money},
    }


def outcomes_in_table(output: Output) -> dict[str, str | None]:
    """The outcome of each CVM by the CSV of a report: of several lines about one CVM the last."""
    return {row["name"]: row["outcome"] or None for row in csv.DictReader(io.StringIO(output.out))}


def read_savings(version: Path, folder: Path, since: str, until: str) -> dict[str, Any]:
    """The sum of what all runs of a version saved in that time."""
    command = ["savings", "--since", since, "--until", until, "--json"]
    (output,) = carry_out([command], copy_of(version, folder), folder)
    total: dict[str, Any] = output.document["total"]
    return total


def read_back(version: Path) -> dict[str, Any]:
    """How this version reads the files of a version: the content of `expected.json`."""
    now = datetime.now(UTC).replace(microsecond=0)
    since, until = ((now - before).isoformat() for before in (timedelta(hours=1), timedelta()))
    scratch = version.parent / f"{version.name}.scratch"
    scratch.mkdir()
    try:
        runs = read_runs(version, scratch / "runs")
        savings = read_savings(version, scratch / "savings", since, until)
    finally:
        shutil.rmtree(scratch)
    keys = ("times", "cvms", "hours", "compute_usd", "storage_usd")
    return {
        "runs": {case: facts(outputs) for case, outputs in runs.items()},
        "savings": {
            "since": since,
            "until": until,
            **{key: savings[key] for key in keys},
            "charged_usd": savings["charges"]["charged_usd"],
        },
    }
