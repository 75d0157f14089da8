"""`orchestrator test`."""

import json
from collections.abc import Sequence
from pathlib import Path

import anyio
import click

from orchestrator.cli.handlers.validate import list_playbook_files
from orchestrator.cli.out_file import STDOUT, check_place, write_out
from orchestrator.cli.print_error import print_error
from orchestrator.errors import OrchestratorError, PlaybookError, UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.load import find_playbook
from orchestrator.playbook.shipped import CASES, is_cases_file
from orchestrator.report.cases.document import FileResult, Totals, tests_document
from orchestrator.report.cases.junit import render_junit
from orchestrator.report.cases.text import list_lines
from orchestrator.runs.cases.check import CaseChecker
from orchestrator.runs.cases.schema import LoadedCases, find_cases, load_cases

_FOLDER = Path("playbooks")
_WIDTH = 80


def run_cases(files: tuple[str, ...], texts: tuple[str, ...], *, form: str, out: Path | None) -> int:
    """Check cases, and print or write the results."""
    check_place(out)
    found, untested = _find_files(files)
    results, errors = anyio.run(_check_files, found, [text.casefold() for text in texts])
    totals = Totals.count(results)
    if texts and not errors and not totals.ok + totals.failed:
        hint = "leave --case out to see the names of all cases"
        raise UsageError(f"no case has {' or '.join(map(repr, texts))} in its name", hint=hint)
    code = int(Exit.USAGE if errors else Exit.FAILED if totals.failed else Exit.OK)
    document = tests_document(results, untested, code)
    if errors:
        errors[0].more = tuple(errors[1:])
    is_in_file = out is not None and out != STDOUT
    if out is not None and is_in_file:
        write_out(out, _render(form, results, untested, document).encode())
    if is_in_file or form == "text":
        _print_text(results, untested)
    elif form == "junit" or not errors:
        click.echo(_render(form, results, untested, document), nl=False)
    if errors:
        print_error(errors[0], as_json=form == "json" and not is_in_file, extra=document)
    return code


def _find_files(names: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Find the cases files of a command, and the names of the playbooks without cases.

    Args:
        names: cases files, playbooks and folders; by default the folder `./playbooks`.

    Raises:
        UsageError: when a playbook or a folder has no cases.
    """
    found: list[Path] = []
    untested: list[str] = []
    for name in names or (str(_FOLDER),):
        path = Path(name)
        if path.is_dir() or not names:
            with_cases, without = _search_folder(path)
            found += with_cases
            untested += without
        else:
            found.append(path if is_cases_file(path) else _require_cases(find_playbook(name)))
    return list(dict.fromkeys(found)), untested


def _search_folder(folder: Path) -> tuple[list[Path], list[str]]:
    """Find the cases files of a folder, and the names of its playbooks without cases.

    Raises:
        UsageError: when there is no cases file.
    """
    # A cases file without its playbook is an error of its own, not a file without interest.
    found = [file for file in sorted(folder.glob("*.y*ml")) if is_cases_file(file) and not file.name.startswith(".")]
    if not found:
        hint = f"write NAME{CASES[0]} beside a playbook, name the files, or start in the parent folder of ./{_FOLDER}"
        raise UsageError(f"no cases found in {folder}", hint=hint)
    return found, [each.stem for each in list_playbook_files(folder) if find_cases(each) not in found]


def _require_cases(playbook: Path) -> Path:
    cases = find_cases(playbook)
    if cases is None:
        missing = playbook.with_name(f"{playbook.stem}{CASES[0]}")
        message = f"the playbook {str(playbook)!r} has no cases" if playbook.exists() else "there is no such playbook"
        raise UsageError(message, file=playbook, hint=f"write {missing}; `orchestrator schema --cases` has the format")
    return cases


async def _check_files(files: Sequence[Path], texts: Sequence[str]) -> tuple[list[FileResult], list[OrchestratorError]]:
    """Check the cases of all files; broken files do not stop the others."""
    checker = CaseChecker()
    results: list[FileResult] = []
    errors: list[OrchestratorError] = []

    def is_wanted(name: str) -> bool:
        """Return True for a case chosen by `--case`."""
        return not texts or any(text in name.casefold() for text in texts)

    for file in files:
        name = next((file.name.removesuffix(end) for end in CASES if file.name.endswith(end)), file.stem)
        try:
            loaded: LoadedCases = load_cases(file)
            found = await checker.check_cases(loaded, is_wanted)
        except PlaybookError as error:
            errors += (error, *error.more)
            results.append(FileResult(file, name, error=error))
            continue
        if found or not texts:
            results.append(FileResult(file, name, tuple(found)))
    return results, errors


def _render(form: str, results: Sequence[FileResult], untested: Sequence[str], document: dict[str, object]) -> str:
    if form == "junit":
        return render_junit(results)
    if form == "json":
        return f"{json.dumps(document, indent=2)}\n"
    return "".join(f"{line}\n" for line in list_lines(results, untested, _WIDTH))


def _print_text(results: Sequence[FileResult], untested: Sequence[str]) -> None:
    from orchestrator.cli.consoles import stdout_console  # noqa: PLC0415 - only for people

    console = stdout_console()
    for line in list_lines(results, untested, console.width if console.is_terminal else _WIDTH):
        mark = line.strip()[:2]
        style = "bold red" if mark == "FA" else "green" if mark == "ok" else None
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
