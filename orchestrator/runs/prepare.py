"""The way from a playbook to a plan: the inventory, the warnings for a person, and the reason to refuse the plan."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator import __version__
from orchestrator.billing.rates import needs_price_list
from orchestrator.cvm import Cvm
from orchestrator.engine.read.inventory import Inventory, InventoryReader
from orchestrator.engine.read.status import PAGE_SIZE
from orchestrator.errors import DriftedError, GuardError, NoMatchError, OrchestratorError
from orchestrator.outcome import SkipReason
from orchestrator.playbook.freeze import GUARDS as FREEZE_GUARDS
from orchestrator.playbook.guards import merge_guards, needs_more_than_named, needs_whole_workspace
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan, PlanConstraint
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.planning import list_cvms_lacking_facts, make_plan
from orchestrator.playbook.recheck import BINDING
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.playbook.select import (
    DERIVED,
    derive_facts,
    find_apps_to_read,
    find_ids_to_read,
    has_key,
    needs_uptime,
    rewind_uptime,
)
from orchestrator.playbook.steps import Pause, Select
from orchestrator.runs.freeze import HINT, RunFreeze, load_freeze
from orchestrator.runs.session import Session, WorkspaceIdentity, read_workspace
from orchestrator.runs.uptimes import read_uptimes
from orchestrator.settings.load import Settings
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

if TYPE_CHECKING:
    from orchestrator.playbook.keep import KeepList

MOST_SINGLE_READS = 200
"""Identifiers; for more, the list takes fewer requests."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """The decisions of a person to act despite a rule; each goes on record.

    Attributes:
        break_freeze: the reason to act during a freeze; None to obey freezes.
        ignore_keep: the reason to act on exempted CVMs; None to obey exemptions.
    """

    break_freeze: str | None = None
    ignore_keep: str | None = None


NO_OVERRIDES = Overrides()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and its sources.

    Attributes:
        plan: the plan.
        guards: the effective guards.
        workspace_size: the number of CVMs in the workspace; 0 when only some apps were read.
        read_at: the begin of the inventory read.
        workspace: the workspace of the CVMs.
        freeze: the freezes of the playbook and of the settings.
        keep: the exemptions; None without any.
    """

    plan: Plan
    guards: Guards
    workspace_size: int
    read_at: datetime
    workspace: WorkspaceIdentity
    freeze: RunFreeze = field(default_factory=RunFreeze)
    keep: "KeepList | None" = None


async def prepare_plan(
    session: Session,
    loaded: LoadedPlaybook,
    constraint: PlanConstraint | None = None,
    *,
    narrowing: Narrowing | None = None,
    inventory: Inventory | None = None,
    overrides: Overrides = NO_OVERRIDES,
) -> Prepared:
    """Read the inventory and make the plan.

    Args:
        session: the connection to the cloud.
        loaded: the playbook.
        constraint: the constraint of the plan, such as a plan file.
        narrowing: the conditions of `--only` and `--exclude`.
        inventory: the CVMs, if read already; a part of the workspace is enough only if the guards need no more.
        overrides: the decisions to act despite freezes and exemptions.

    Raises:
        PlaybookError: when a calendar of a freeze in the playbook is unusable.
        SettingsError: when a calendar of a freeze in the settings, or an exemption, is unusable.
        CloudError: when the inventory can't be read.
    """
    playbook, settings = loaded.playbook, session.settings
    freeze = await load_freeze(settings, loaded, overrides.break_freeze)
    by_playbook = "guards.ignore_keep of the playbook" if playbook.guards.ignore_keep else None
    keep = session.read_keep(overrides.ignore_keep or by_playbook)
    guards = merge_guards(playbook.guards if constraint is None else constraint.guards, settings.guards)
    selects = [step.select for step in playbook.acting_steps]
    reader = InventoryReader(session.cloud, session.gate, session.rng)
    read_at = session.clock.wall()
    if inventory is None:
        first = [select for select in selects if select.result is None]
        inventory = await read_selected(reader, first, guards)
    prices = await reader.price_list() if needs_price_list(inventory.cvms) else {}
    moment = (None if constraint is None else constraint.moment) or read_at

    selects += [] if narrowing is None else [select for each in narrowing.selects for select in each]
    needs_facts = any(has_key(select, *DERIVED) for select in selects)

    def derive(cvms: Iterable[Cvm]) -> tuple[Cvm, ...]:
        """Add the facts of the moment of the plan."""
        return tuple(derive_facts(cvm, moment=moment, price_list=prices) for cvm in cvms)

    cvms = derive(inventory.cvms) if needs_facts else inventory.cvms
    if any(has_key(select, "up_longer_than") for select in selects):
        cvms = await _complete_uptimes(session, selects, cvms, (read_at - moment).total_seconds())
    lacking = list_cvms_lacking_facts(playbook, guards, cvms, narrowing)
    if constraint is not None:
        lacking += [cvm for cvm in cvms if constraint.lacks_facts(cvm) and cvm not in lacking]
    if lacking and not inventory.detailed:
        cvms = await reader.complete_facts(cvms, lacking)
        cvms = derive(cvms) if needs_facts else cvms
    plan = make_plan(
        playbook,
        cvms,
        guards=guards,
        limits=session.limits,
        settle_timeout=settings.settle.timeout,
        price_list=prices,
        storage_usd_per_gb_hour=settings.billing.storage_usd_per_gb_hour,
        batch_size=PAGE_SIZE if session.batch_missing else session.batch_size,
        more_warnings=[
            *([] if inventory.stable else [_SHIFTING]),
            *list_settings_warnings(playbook, settings),
        ],
        whole=inventory.whole,
        target_filter=None if constraint is None else constraint.filter_target,
        settle_seconds=session.settle_seconds,
        whole_of_starts=None if constraint is None else constraint.whole_of_starts(cvms),
        narrowing=narrowing,
        keep=keep,
    )
    plan = replace(plan, workspace_name=settings.workspace_name)
    if settings.origin.is_found:
        plan = replace(plan, settings_file=str(settings.origin.file))
    if constraint is not None:
        plan = constraint.apply_to_plan(plan, now=session.clock.wall(), version=__version__)
    if freeze.freezes:
        plan = freeze.check_plan(plan, session.clock.wall())
    workspace = await read_workspace(session, inventory.cvms)
    return Prepared(plan, guards, len(inventory.cvms) if inventory.whole else 0, read_at, workspace, freeze, keep)


async def read_selected(reader: InventoryReader, selects: Sequence[Select], guards: Guards) -> Inventory:
    """Read the CVMs within reach of selects: single CVMs, the CVMs of apps, or the whole workspace.

    Args:
        reader: the reader.
        selects: the selects without a result selector.
        guards: the guards of the plan; some count more CVMs than the selects reach.

    Raises:
        CloudError: when the CVMs can't be read.
    """
    ids = None if needs_more_than_named(guards) else find_ids_to_read(selects)
    if ids is not None and len(ids) <= MOST_SINGLE_READS:
        return await reader.read_ids(ids)
    apps = find_apps_to_read(selects, whole_workspace=needs_whole_workspace(guards))
    return await (reader.read_all() if apps is None else reader.read_apps(apps))


async def _complete_uptimes(
    session: Session, selects: Sequence[Select], cvms: tuple[Cvm, ...], seconds_since: float
) -> tuple[Cvm, ...]:
    """Read the uptimes needed by selects.

    Args:
        session: the connection to the cloud.
        selects: the selects of all steps.
        cvms: the inventory.
        seconds_since: seconds since the moment of the plan; the returned uptimes are of that moment.

    Raises:
        CloudError: when no uptime can be read.
    """
    lacking = [cvm for cvm in cvms if any(needs_uptime(select, cvm) for select in selects)]
    if lacking:
        cvms = await read_uptimes(session, cvms, lacking)
    return tuple(rewind_uptime(cvm, seconds_since) for cvm in cvms) if seconds_since else cvms


_SHIFTING = PlanWarning(
    WarningCode.LIST_SHIFTING,
    "the list of CVMs changed during the read; the plan may lack a new CVM",
)


def list_settings_warnings(playbook: Playbook, settings: Settings) -> Iterator[PlanWarning]:
    """Warn about ignored settings, and about questions with longer timeouts than the time limit of a run."""
    waits = sum(step.timeout for step in playbook.steps if isinstance(step, Pause))
    most = settings.settle.whole_run
    if waits >= most:
        yield PlanWarning(
            WarningCode.QUESTIONS_TOO_LONG,
            f"the questions may wait for {format_duration(waits)}, but a run ends after {format_duration(most)} "
            f"(settle.whole_run); the resumed run asks again",
        )
    for sentence in settings.origin.warnings:
        yield PlanWarning(WarningCode.SETTINGS_IGNORED, sentence)


_MOST_REASONS = 10


def find_refusal(
    plan: Plan, constraint: PlanConstraint | None = None, *, is_named: bool = False, may_be_empty: bool = False
) -> OrchestratorError | None:
    """Return the reason to refuse a plan; None for a valid plan.

    Args:
        plan: the plan.
        constraint: the constraint of the plan, such as a plan file.
        is_named: whether a person named every CVM, so that a plan without any unprotected CVM is refused.
        may_be_empty: whether the plan may have no target, because other workspaces of a fleet run may have some.
    """
    lacking = None if may_be_empty else _refuse_without_targets(plan, constraint, is_named=is_named)
    if lacking is not None:
        return lacking
    refused = [check for check in plan.guards if not check.ok]
    if refused:
        reasons = "; ".join(f"{check.name}: {check.message}" for check in refused)
        if all(check.name in FREEZE_GUARDS for check in refused):
            return GuardError(f"refused by a guard: {reasons}", hint=HINT)
        narrow = "narrow the select, or " if constraint is None else ""
        return GuardError(f"refused by a guard: {reasons}", hint=f"{narrow}raise the guard on purpose")
    return None


def _refuse_without_targets(
    plan: Plan, constraint: PlanConstraint | None, *, is_named: bool
) -> OrchestratorError | None:
    """Return the reason to refuse a plan without targets; None for a valid plan without targets."""
    left = plan.drifted
    if constraint is not None and left and not plan.targets:
        return DriftedError(
            f"nothing is left to do: {plural(len(left), 'target')} of {constraint.source} changed since",
            hint="make a new plan; if the list has none of these CVMs, check the API key",
        )
    if not plan.has_matches:
        narrowed = any(each.why.code is SkipReason.EXCLUDED_BY_OPTION for each in plan.skipped)
        return NoMatchError(
            "--only and --exclude leave no CVM" if narrowed else "the selectors matched no CVM",
            hint="; ".join(each.message for each in plan.warnings if each.code is WarningCode.SELECTOR_UNMATCHED)
            or "`orchestrator cvms` lists the inventory",
        )
    selected = [each for each in plan.skipped if each.selected]
    if is_named and not plan.targets and all(each.why.code in BINDING for each in selected):
        reasons = "; ".join(f"{safe_text(each.cvm.ref.name, 64)}: {each.reason}" for each in selected[:_MOST_REASONS])
        more = f"; and {len(selected) - _MOST_REASONS} more" if len(selected) > _MOST_REASONS else ""
        return GuardError(
            f"refused by a guard: every named CVM is protected or kept: {reasons}{more}",
            hint="change `guards.protect` on purpose, end the exemption (`keep --clear`), or add --ignore-keep REASON",
        )
    return None
