"""The Python API: plan, run, resume and read runs from another program.

`orchestrator` exports these names. The functions print nothing, ask nothing and handle no signals; errors are the
exceptions of `orchestrator.errors`. The coroutines need asyncio. Cancellation ends a run at once, as a crash does, and
`resume` continues the run; for an orderly end, pass a `StopRequest`.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

from pydantic import SecretStr, ValidationError

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, read_sound_run
from orchestrator.cvm import CvmRef
from orchestrator.errors import NotConfirmedError, OrchestratorError, SettingsError, UsageError
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.schema import Playbook
from orchestrator.runs.claims import claim_again
from orchestrator.runs.execute import carry_out, explain_early_end
from orchestrator.runs.prepare import Overrides
from orchestrator.runs.resume import ResumePlan, reopen_run
from orchestrator.runs.session import RunObserver, Session, limits_of, open_endpoint, open_session
from orchestrator.runs.start import OpenRun, RunRequest, plan_request, start_run
from orchestrator.runs.status import StopRequest
from orchestrator.runs.stores import claim_store, run_store
from orchestrator.runs.workspaces import choose_settings, settings_of_run
from orchestrator.settings.error_source import KEY_SETTINGS
from orchestrator.settings.load import Settings, load_settings
from orchestrator.settings.model import AuditSection, CloudSection


class Options(TypedDict, total=False):
    """The cloud and the state folder of a call. Without `settings`, the settings of the command line apply.

    Attributes:
        settings: all settings, as `load_settings` returns them.
        base_url: the address of the API, including `/api/v1`; https unless on this machine.
        api_key: the key of the workspace.
        state_dir: the folder of audit logs and claims.
    """

    settings: Settings
    base_url: str
    api_key: str
    state_dir: Path


@dataclass(frozen=True, slots=True)
class TargetSummary:
    """The end of a target, or its present state in an unfinished run.

    Attributes:
        step: the name of the step.
        action: the action of the step.
        cvm: the identity of the CVM.
        outcome: the outcome; in an unfinished run the outcome if the run ended now.
        seconds: seconds from the first request to the outcome; None without a request or an outcome.
        reason: the cause of a failure, in words; else None.
        code: the reason code of a target without a request, as a `SkipReason`; else None.
        request_id: the API's id of the last answered request; None without an answer.
    """

    step: str
    action: Action
    cvm: CvmRef
    outcome: Outcome
    seconds: float | None
    reason: str | None
    code: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The end of a run, or the present state of an unfinished run.

    Attributes:
        run_id: the id of the run.
        playbook: the name of the playbook.
        exit_code: the exit code of the command for the same end; None for an unfinished run.
        ending: the cause of the end; None for an unfinished run, or a log of an early version without the cause.
        counts: the number of CVMs by outcome. A CVM of several steps counts with its last outcome.
        targets: every target, in the order of the plan.
        log: the path of the audit log.
        error: the error to fix before a resume; None without an error, and from `read_log`.
    """

    run_id: str
    playbook: str
    exit_code: Exit | None
    ending: Ending | None
    counts: Mapping[Outcome, int]
    targets: tuple[TargetSummary, ...]
    log: Path
    error: OrchestratorError | None = None


async def plan(
    playbook: str | Path | Playbook, variables: Mapping[str, str] | None = None, **options: Unpack[Options]
) -> Plan:
    """Plan a playbook against the current inventory. Sends no changing request.

    Args:
        playbook: the path or the name of a playbook, as for the command line, or a playbook.
        variables: the values of the playbook's variables; only for a path or a name.
        **options: the cloud and the state folder, see `Options`.

    Returns:
        The plan. A plan refused by a guard is returned as well: see `Plan.guards`.

    Raises:
        PlaybookError: when the playbook is invalid.
        UsageError: when a variable is not declared.
        SettingsError: when the settings are invalid, or there is no API key.
        CloudError: when the inventory can't be read.
    """
    loaded = _load_playbook(playbook, variables or {})
    settings = _find_settings(options, loaded.playbook)
    with open_endpoint(settings, simulate=False) as where:
        async with open_session(settings, where, limits_of(loaded.playbook.limits, settings), few=True) as session:
            return (await plan_request(session, RunRequest(loaded, session.limits))).plan


async def run(
    playbook: str | Path | Playbook,
    variables: Mapping[str, str] | None = None,
    *,
    expect: int | None = None,
    confirm: Callable[[Plan], Awaitable[bool]] | None = None,
    observer: RunObserver | None = None,
    stop: StopRequest | None = None,
    break_freeze: str | None = None,
    ignore_keep: str | None = None,
    **options: Unpack[Options],
) -> RunSummary:
    """Plan a playbook, confirm the plan, and carry the plan out to its end.

    Questions of the playbook are answered by `orchestrator approve`.

    Args:
        playbook: the path or the name of a playbook, as for the command line, or a playbook.
        variables: the values of the playbook's variables; only for a path or a name.
        expect: the number of targets to confirm, as `--expect`.
        confirm: asks for the confirmation of the plan; True to carry the plan out. Without `expect`, required.
        observer: receives records and warnings.
        stop: the request to end the run in order: no further requests, and sent requests are watched.
        break_freeze: the reason to act during a freeze, as `--break-freeze`.
        ignore_keep: the reason to act on exempted CVMs, as `--ignore-keep`.
        **options: the cloud and the state folder, see `Options`.

    Returns:
        The summary of the run, also after failures and an early end.

    Raises:
        PlaybookError: when the playbook is invalid.
        UsageError: when a variable is not declared.
        SettingsError: when the settings are invalid, there is no API key, or the state folder can't be used.
        CloudError: when the inventory can't be read.
        NoMatchError: when the selectors match no CVM.
        GuardError: when a guard or a freeze refuses the plan.
        ApprovalError: when the settings have `approval.keys`, and the playbook is not exempt.
        NotConfirmedError: when the plan is not confirmed.
        ClaimedError: when a live run acts on one of the CVMs.
    """
    if expect is None and confirm is None:
        raise NotConfirmedError("the run has no confirmation", hint="pass expect=N or confirm=FUNCTION")

    async def check(plan: Plan) -> bool:
        """Compare the number of targets, then ask."""
        if expect not in {None, len(plan.targets)}:
            raise NotConfirmedError(f"expect={expect}, but the plan has {len(plan.targets)} targets")
        return confirm is None or await confirm(plan)

    loaded = _load_playbook(playbook, variables or {})
    settings = _find_settings(options, loaded.playbook)
    run_store(settings).prepare()
    limits, overrides = limits_of(loaded.playbook.limits, settings), Overrides(break_freeze, ignore_keep)
    request = RunRequest(loaded, limits, overrides=overrides)
    with open_endpoint(settings, simulate=False) as where:
        async with open_session(settings, where, request.limits, observer) as session:
            opened = await start_run(session, request, await plan_request(session, request), check)
            return await _carry_out(session, opened, stop)


async def resume(
    run_id: str | Path,
    *,
    confirm: Callable[[ResumePlan], Awaitable[bool]] | None = None,
    observer: RunObserver | None = None,
    stop: StopRequest | None = None,
    break_freeze: str | None = None,
    **options: Unpack[Options],
) -> RunSummary:
    """Resume an unfinished run from its audit log. A finished run is returned unchanged.

    Args:
        run_id: the id of the run, or the path of its log.
        confirm: asks for the confirmation of a doubtful resume: an old plan with CVMs changed since, or another API key
            with an unknown workspace. By default refuses.
        observer: receives records and warnings.
        stop: the request to end the run in order: no further requests, and sent requests are watched.
        break_freeze: the reason to act during a freeze; a resumed run needs the reason again.
        **options: the cloud and the state folder, see `Options`.

    Returns:
        The summary of the run, also after failures and an early end.

    Raises:
        UsageError: when there is no such run, or when the run belongs to another cloud or workspace.
        SettingsError: when the log can't be used, or was altered.
        RunHeldError: when another process carries the run out.
        ClaimedError: when a live run acts on one of the CVMs.
        NotConfirmedError: when a doubtful resume is not confirmed, or no request was sent before the crash.
        GuardError: when a guard stricter than the plan's guard refuses the rest of the run.
        CloudError: when a status or the inventory can't be read.
    """
    settings = _find_settings(options)
    with reopen_run(run_store(settings).find_run(str(run_id))) as reopened:
        state = reopened.state
        if state.finished is not None:
            return _summarize_run(state, reopened.stored)
        if "api_key" not in options:
            settings = settings_of_run(settings, state)
        applied = reopened.apply_settings(settings)
        with (
            open_endpoint(settings, simulate=False) as where,
            claim_again(claim_store(settings), state, ignore_running=False) as claim,
        ):
            where.require_url(state.started.cloud_url)
            async with open_session(settings, where, applied.limits, observer) as session:
                plan = await reopened.plan(session, applied, claim, break_freeze=break_freeze)
                if plan.is_doubtful and not (confirm is not None and await confirm(plan)):
                    raise NotConfirmedError("the resume was not confirmed", hint="nothing more was sent")
                return await _carry_out(session, await reopened.record_resume(session, plan, claim), stop)


def read_log(run_id: str | Path, **options: Unpack[Options]) -> RunSummary:
    """Read and verify the audit log of a run.

    Args:
        run_id: the id of the run, or the path of its log.
        **options: the state folder, see `Options`.

    Returns:
        The summary of the run. For an unfinished run, `exit_code` is None.

    Raises:
        UsageError: when there is no such run.
        SettingsError: when the log can't be read, or was altered.
    """
    run = run_store(_find_settings(options)).find_run(str(run_id))
    state = RunState()
    read_sound_run(run, state.apply_record)
    return _summarize_run(state, run)


def _find_settings(options: Options, playbook: Playbook | None = None) -> Settings:
    """Build the settings of a call; without an API key in the call, for the workspace of the playbook."""
    settings = options["settings"] if "settings" in options else load_settings()
    cloud, audit = settings.cloud.model_dump(exclude_unset=True), settings.audit.model_dump(exclude_unset=True)
    if "api_key" in options and settings.workspace_name is not None:
        raise SettingsError(f"api_key and the workspace {settings.workspace_name!r} of the settings exclude each other")
    if "base_url" in options:
        cloud["base_url"] = options["base_url"]
    if "api_key" in options:
        cloud |= dict.fromkeys(KEY_SETTINGS) | {"api_key": SecretStr(options["api_key"])}
    elif "base_url" in options and cloud.get("profile") is not None:
        raise SettingsError("base_url and cloud.profile exclude each other", hint="give api_key too")
    if "state_dir" in options:
        audit["state_dir"] = options["state_dir"]
    try:
        sections = {"cloud": CloudSection.model_validate(cloud), "audit": AuditSection.model_validate(audit)}
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise SettingsError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    settings = settings.replace_sections(**sections)
    if playbook is None or "api_key" in options:
        return settings
    return choose_settings(settings, playbook.workspaces)


def _load_playbook(playbook: str | Path | Playbook, variables: Mapping[str, str]) -> LoadedPlaybook:
    if not isinstance(playbook, Playbook):
        return load_playbook(find_playbook(str(playbook)), variables)
    if variables:
        raise UsageError("a Playbook takes no variables", hint="pass the path of the playbook")
    data = playbook.model_dump_json().encode()
    return LoadedPlaybook(playbook, Path(playbook.name), hashlib.sha256(data).hexdigest(), data, {})


async def _carry_out(session: Session, opened: OpenRun, stop: StopRequest | None) -> RunSummary:
    """Carry a run out, and summarize its end."""
    result = await carry_out(session, opened, stop or StopRequest())
    summary = _summarize_run(opened.state, opened.stored)
    error = explain_early_end(result, opened.log, session.endpoint)
    return replace(summary, exit_code=result.exit_code, ending=result.ending, error=error)


def _summarize_run(state: RunState, run: StoredRun) -> RunSummary:
    finished = state.finished
    return RunSummary(
        state.run_id,
        state.started.playbook["name"],
        Exit(finished.exit_code) if finished else None,
        Ending(finished.ending) if finished and finished.ending else None,
        {Outcome(outcome): number for outcome, number in state.counts_so_far.items()},
        tuple(
            TargetSummary(
                target.step,
                Action(target.action),
                target.ref,
                target.outcome_so_far,
                target.seconds,
                target.reason,
                target.code,
                target.request_id,
            )
            for target in state.targets.values()
        ),
        Path(run.location),
    )
