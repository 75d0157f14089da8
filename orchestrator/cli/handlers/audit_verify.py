"""`orchestrator audit verify`."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.audit.approval_verify import RecordedApprovals
from orchestrator.audit.fleet_log import FleetRun, FleetState
from orchestrator.audit.fleet_store import FileFleetStore, is_fleet_id
from orchestrator.audit.fleet_verify import Disagreement, find_disagreements
from orchestrator.audit.keys import key_id, read_public_key
from orchestrator.audit.replay import RunState
from orchestrator.audit.seal_create import read_detached
from orchestrator.audit.seal_format import Seal
from orchestrator.audit.seal_verify import Detached, SealCheck, read_sealed
from orchestrator.audit.store import FileRun, FileRunStore, is_file, read_run, seal_file
from orchestrator.audit.verify import Reading, Verdict, ignore_record
from orchestrator.cli.named_runs import find_logs, name_order, names_fleet, open_log_file
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.outcome import Exit
from orchestrator.report.audit.verdict import approval_document, approval_line, verdict_document, verdict_lines
from orchestrator.runs.stores import file_run_store, fleet_store
from orchestrator.settings.load import load_settings
from orchestrator.text import safe_text

_CODES = {
    Verdict.WHOLE: Exit.OK,
    Verdict.ALTERED: Exit.FAILED,
    Verdict.UNFINISHED: Exit.UNSETTLED,
    Verdict.TORN: Exit.UNSETTLED,
}
_GRAVEST = (Exit.FAILED, Exit.UNSETTLED)


@dataclass(frozen=True, slots=True)
class _Checked:
    """A checked log, and the exit code for this log alone."""

    path: Path
    reading: Reading
    check: SealCheck
    code: Exit
    approvals: RecordedApprovals | None = None

    def document(self, *, asked: bool) -> dict[str, object]:
        """Build the document of this log."""
        document = verdict_document(self.reading, self.check, self.path, int(self.code), asked=asked)
        return document if self.approvals is None else {**document, "approval": approval_document(self.approvals)}


@dataclass(frozen=True, slots=True)
class _CheckedFleet:
    """The comparison of a fleet log with the logs of its runs, and the pruned runs with their times."""

    faults: list[Disagreement]
    pruned: list[tuple[FleetRun, str]]

    def document(self, fleet_id: str) -> dict[str, object]:
        """Build the entry of `fleets`."""
        return {
            "fleet_id": fleet_id,
            "agrees": not self.faults,
            "faults": [each.document() for each in self.faults],
            "pruned": [
                {"workspace": entry.workspace, "run_id": entry.run_id, "pruned_at": pruned_at}
                for entry, pruned_at in self.pruned
            ],
        }


def verify_logs(
    logs: tuple[str, ...],
    public_keys: tuple[Path, ...],
    seals: tuple[Path, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    approval_keys: tuple[Path, ...],
    every: bool,
    as_json: bool,
) -> int:
    """Verify audit logs and their seals."""
    logs = tuple(name_order(name, config, assignments, to_change=False) for name in logs)
    differences: list[OrchestratorError] = []
    paths = _find_paths(logs, config, assignments, every=every, report=differences.append)
    if seals and not public_keys:
        raise UsageError("--seal needs the public key of the seal", hint="add --public-key FILE")
    keys = {key_id(key): key for key in map(read_public_key, public_keys)}
    signers = [read_public_key(file) for file in approval_keys]
    found = [_check_log(path, keys, seals, signers, alone=not every and len(paths) == 1) for path in paths]
    fleets = _check_fleets(logs, config, assignments, every=every)
    if not every and len(found) == 1 and not fleets:
        (only,) = found
        _print_verdict(only, asked=bool(keys), as_json=as_json)
        return int(only.code)
    missing = []
    if every and keys:
        store = file_run_store(load_settings(config, assignments))
        missing = _find_missing(store, [*seals, store.folder, store.folder.with_name("fleets")], keys)
    # With --all, a run carried out by a live process is no reason for alarm.
    codes = {each.code for each in found if not every or not _is_in_use(each, config, assignments)}
    codes |= {Exit.FAILED for _, pruned_at in missing if pruned_at is None}
    codes |= {Exit.FAILED for checked in fleets.values() if checked.faults}
    codes |= {Exit.FAILED for _ in differences}
    code = next((grave for grave in _GRAVEST if grave in codes), Exit.OK)
    if as_json:
        document = _build_document(int(code), found, missing, fleets, differences, asked=bool(keys))
        click.echo(json.dumps(document, indent=2))
        return int(code)
    for each in found:
        _print_verdict(each, asked=bool(keys), as_json=False)
    for seal, pruned_at in missing:
        words = f"pruned at {safe_text(pruned_at, 40)}" if pruned_at else "MISSING, but a seal of this log exists"
        click.echo(f"{safe_text(seal.run_id, 64)}: {words}, sealed at {safe_text(seal.sealed_at, 40)}")
    for fleet_id, checked in fleets.items():
        _print_agreement(fleet_id, checked)
    for difference in differences:
        click.echo(f"{safe_text(difference.file, 4096)}: DIFFERS: {difference.message}; {difference.hint}")
    return int(code)


def _find_paths(
    names: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    every: bool,
    report: Callable[[OrchestratorError], object],
) -> tuple[Path, ...]:
    """Find the files of the named logs; or all, those of fleet runs too, and report their differences from the store.

    Raises:
        AlteredError: when the mirror of a named log differs from the team store.
        UsageError: when there is no such log.
    """
    paths = find_logs(names, config, assignments, every=every, compare=True, report=report)
    fleets = fleet_store(load_settings(config, assignments)).list_fleets() if every else ()
    return tuple(dict.fromkeys([*paths, *(Path(fleet.location) for fleet in fleets)]))


def _build_document(
    code: int,
    found: Iterable[_Checked],
    missing: Iterable[tuple[Seal, str | None]],
    fleets: Mapping[str, _CheckedFleet],
    differences: Sequence[OrchestratorError],
    *,
    asked: bool,
) -> dict[str, object]:
    """Build the document of several logs."""
    document: dict[str, object] = {
        "exit_code": code,
        "logs": [each.document(asked=asked) for each in found],
        "missing": [{"run_id": seal.run_id, "sealed_at": seal.sealed_at, "pruned_at": at} for seal, at in missing],
    }
    if fleets:
        document["fleets"] = [checked.document(fleet_id) for fleet_id, checked in fleets.items()]
    if differences:
        document["differences"] = [{"audit_log": str(each.file), "reason": each.message} for each in differences]
    return document


def _print_agreement(fleet_id: str, checked: _CheckedFleet) -> None:
    for entry, pruned_at in checked.pruned:
        run = f"run {safe_text(entry.run_id, 64)} of workspace {safe_text(entry.workspace, 64)}"
        click.echo(f"{safe_text(fleet_id, 64)}: not compared: {run} was pruned at {safe_text(pruned_at, 40)}")
    if not checked.faults:
        click.echo(f"{safe_text(fleet_id, 64)}: agrees with the logs of its runs")
    for each in checked.faults:
        run = f"run {safe_text(each.run_id, 64)} of workspace {safe_text(each.workspace, 64)}"
        click.echo(f"{safe_text(fleet_id, 64)}: DISAGREES: {run}: {each.reason}")


def _check_fleets(
    names: Iterable[str], config: Path | None, assignments: tuple[str, ...], *, every: bool
) -> dict[str, "_CheckedFleet"]:
    """Compare the named fleet logs, or all, with the logs of their runs."""
    named = [name for name in names if names_fleet(name)]
    if not every and not named:
        return {}
    settings = load_settings(config, assignments)
    store, runs = fleet_store(settings), file_run_store(settings)
    found = {}
    for fleet in store.list_fleets() if every else map(store.find_fleet, named):
        state = FleetState()
        read_run(FileRun(Path(fleet.location)), state.apply_record)  # up to date since the search for the logs
        states: dict[str, RunState | None] = {}
        pruned: list[tuple[FleetRun, str]] = []
        for entry in state.runs:
            if is_file(runs.path_of(entry.run_id)):
                run = states[entry.run_id] = RunState()
                read_run(FileRun(runs.path_of(entry.run_id)), run.apply_record)
            elif (pruned_at := runs.pruned_at(entry.run_id)) is not None:
                pruned.append((entry, pruned_at))
            else:
                states[entry.run_id] = None
        found[fleet.run_id] = _CheckedFleet(list(find_disagreements(state, states)), pruned)
    return found


def _check_log(
    path: Path,
    keys: Mapping[str, Ed25519PublicKey],
    seals: Iterable[Path],
    signers: Sequence[Ed25519PublicKey],
    *,
    alone: bool,
) -> _Checked:
    detached = read_detached(seal_file(path), asked=False) if keys else []
    for each in seals:
        detached += _read_named_seals(each, path, alone=alone)
    approvals = RecordedApprovals.of(signers) if signers and not is_fleet_id(path.stem) else None
    take = ignore_record if approvals is None else approvals.apply_record
    try:
        reading, check = read_sealed(path, keys, detached, take)
    except OSError as error:
        raise UsageError(f"the log can't be read: {error.strerror or error}", file=path) from error
    sound = not keys or check.find_fault(reading) is None
    sound = sound and (approvals is None or approvals.fault is None)
    return _Checked(path, reading, check, _CODES[reading.verdict] if sound else Exit.FAILED, approvals)


def _read_named_seals(place: Path, log: Path, *, alone: bool) -> list[Detached]:
    """Read the seals of a log from a `--seal` path: a file, or the seal file of the run in a directory."""
    if place.is_dir():
        found = read_detached(place / seal_file(log).name, asked=True)
        if not found and alone:
            raise UsageError(f"no {seal_file(log).name} in this folder", file=place)
        return found
    found = read_detached(place, asked=True)
    if not found:
        raise UsageError("the seal does not exist", file=place)
    if not alone:
        raise UsageError("--seal must be a folder for several logs", file=place, hint="give the folder of the seals")
    return found


def _find_missing(
    store: FileRunStore, folders: Iterable[Path], keys: Mapping[str, Ed25519PublicKey]
) -> list[tuple[Seal, str | None]]:
    """Find good seals without their log, with the time of pruning if pruned."""
    found: dict[str, Seal] = {}
    for folder in folders:
        for file in sorted(folder.glob("*.seal.json")):
            for each in read_detached(file, asked=True):
                seal = each.seal
                if seal is not None and seal.key_id in keys and seal.is_by(keys[seal.key_id]):
                    found.setdefault(seal.run_id, seal)
    fleets = FileFleetStore(store.folder.parent)
    lost = [
        seal
        for seal in found.values()
        if not (
            fleets.get_fleet(seal.run_id).path if is_fleet_id(seal.run_id) else store.path_of(seal.run_id)
        ).is_file()
    ]
    return [(seal, store.pruned_at(seal.run_id)) for seal in sorted(lost, key=lambda seal: seal.run_id)]


def _is_in_use(checked: _Checked, config: Path | None, assignments: tuple[str, ...]) -> bool:
    if checked.reading.verdict is not Verdict.UNFINISHED:
        return False
    with suppress(OrchestratorError):  # of a mirror with a difference
        return open_log_file(checked.path, config, assignments).is_locked()
    return False


def _print_verdict(checked: _Checked, *, asked: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(checked.document(asked=asked), indent=2))
        return
    for line in verdict_lines(checked.reading, checked.check, checked.path, asked=asked):
        click.echo(line)
    if checked.approvals is not None and checked.reading.verdict is not Verdict.ALTERED:
        click.echo(f"  {approval_line(checked.approvals)}")
