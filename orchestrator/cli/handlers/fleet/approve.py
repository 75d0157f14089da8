"""`orchestrator approve FLEET_ID`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import click
from rich.console import Console
from rich.text import Text

from orchestrator.audit.approvals import ApprovalAnswer
from orchestrator.audit.fleet_store import is_void, void_error
from orchestrator.audit.store import StoredRun
from orchestrator.cli.confirmation import require_answer
from orchestrator.cli.handlers.approve import answer_document, check_comment, open_signer, question_console
from orchestrator.cli.handlers.fleet.reading import StoredFleet, read_fleet
from orchestrator.errors import NotAskedError
from orchestrator.outcome import Exit
from orchestrator.report.fleet.questions import print_questions
from orchestrator.report.fleet.totals import name_workspaces
from orchestrator.runs.answer import AskedRun, answer_word, choose_by_step, leave_answers, read_question
from orchestrator.runs.stores import find_actor
from orchestrator.settings.load import load_settings
from orchestrator.settings.workspaces import match_workspaces
from orchestrator.text import plural, safe_text
from orchestrator.times import utc_now


def answer_fleet_questions(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    key: Path | None,
    refuse: bool,
    step: str | None,
    comment: str | None,
    workspaces: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> int:
    """Answer the open questions of a fleet run: of all runs waiting at the same step."""
    check_comment(comment)
    settings = load_settings(config, assignments)
    fleet = read_fleet(settings, run_id)
    signer = None if key is None else open_signer(key, settings)
    runs = dict(fleet.runs)
    names = match_workspaces(runs, workspaces, "--workspace", place="this fleet run") if workspaces else tuple(runs)
    asked, silent = _read_questions({name: runs[name] for name in names})
    if not asked:
        raise _find_reason(fleet, silent)
    chosen = choose_by_step(asked, step)
    if not as_json or not yes:
        _print_choice(question_console(yes=yes), asked, chosen, silent)
    if not yes:
        meaning = "end these runs" if refuse else "continue"
        number = str(len(chosen))
        require_answer(f"\nType the number of runs ({number}) to {meaning}: ", number, hint="add --yes")
    now, by = utc_now(), find_actor()
    answers = {
        name: (each, each.answer(approved=not refuse, by=by, comment=comment or None, now=now))
        for name, each in chosen.items()
    }
    if signer is not None:
        answers = {name: (each, signer.sign(each, answer)) for name, (each, answer) in answers.items()}
    results = anyio.run(leave_answers, answers)
    code = Exit.GUARD if any(isinstance(each, NotAskedError) for each in results.values()) else Exit.OK
    if as_json:
        documents = [
            {"workspace": name, **_result_document(each, answer, result=results[name])}
            for name, (each, answer) in answers.items()
        ]
        document = {"fleet_id": fleet.state.fleet_id, "exit_code": int(code), "workspaces": documents}
        click.echo(json.dumps(document, indent=2))
    else:
        _print_results(fleet.state.fleet_id, results, approved=not refuse)
    sys.stdout.flush()
    return int(code)


def _read_questions(runs: Mapping[str, StoredRun]) -> tuple[dict[str, AskedRun], dict[str, NotAskedError]]:
    """Read the runs with an open question, and the reasons of the other runs, by workspace."""
    asked: dict[str, AskedRun] = {}
    silent: dict[str, NotAskedError] = {}
    for name, run in runs.items():
        try:
            asked[name] = read_question(run, now=utc_now())
        except NotAskedError as error:
            silent[name] = error
    return asked, silent


def _result_document(asked: AskedRun, answer: ApprovalAnswer, *, result: bool | NotAskedError) -> dict[str, object]:
    if isinstance(result, NotAskedError):
        return {"run_id": asked.run.run_id, "error": result.message}
    return answer_document(asked, answer, is_taken_up=result)


def _find_reason(fleet: StoredFleet, silent: Mapping[str, NotAskedError]) -> NotAskedError:
    """Return the error for runs without an open question: the reason of a single run, or their number."""
    fleet_id = fleet.state.fleet_id
    if is_void(fleet.stored):
        return void_error(fleet.stored, NotAskedError)
    if fleet.state.finished is None and not fleet.stored.is_locked():
        message = "no process executes the fleet run, so no process can read an answer"
        return NotAskedError(message, hint=f"`orchestrator resume {fleet_id}` asks again")
    hint = f"see `orchestrator show {fleet_id}`"
    if fleet.state.finished is not None:
        return NotAskedError("the fleet run is finished", hint=hint)
    if len(silent) == 1:
        ((name, error),) = silent.items()
        return NotAskedError(f"workspace {name}: {error.message}", hint=hint)
    if len(reasons := {error.message for error in silent.values()}) == 1:
        return NotAskedError(f"in all of {plural(len(silent), 'workspace')}: {reasons.pop()}", hint=hint)
    return NotAskedError(f"none of {plural(len(silent), 'run')} has an open question", hint=hint)


def _print_choice(
    console: Console,
    asked: Mapping[str, AskedRun],
    chosen: Mapping[str, AskedRun],
    silent: Mapping[str, NotAskedError],
) -> None:
    """Print the open questions of all runs, then the runs to answer."""
    print_questions(console, {name: (each.state, each.question) for name, each in asked.items()}, utc_now())
    if silent:
        console.print(Text(f"no open question: {safe_text(name_workspaces(list(silent)), 400)}", "dim"))
    step = next(iter(chosen.values())).question.step
    about = (
        f"step {safe_text(step, 60)!r} in {plural(len(chosen), 'run')}: {safe_text(name_workspaces(list(chosen)), 400)}"
    )
    console.print(Text(f"The answer is for {about}.", "bold"))


def _print_results(fleet_id: str, results: Mapping[str, bool | NotAskedError], *, approved: bool) -> None:
    word = answer_word(approved).capitalize()
    recorded = [name for name, result in results.items() if result is True]
    unread = [name for name, result in results.items() if result is False]
    if recorded:
        what = f"{plural(len(recorded), 'run')} {'continue' if approved else 'end'}{'s' if len(recorded) == 1 else ''}"
        click.echo(f"{word} and recorded: {what}.")
    if unread:
        click.echo(
            f"{word}, but not read yet by {safe_text(name_workspaces(unread), 400)}; "
            f"check with `orchestrator show {safe_text(fleet_id)}`."
        )
    for name, result in results.items():
        if isinstance(result, NotAskedError):
            click.echo(f"Not answered: workspace {safe_text(name, 64)}: {safe_text(result.message, 400)}")
