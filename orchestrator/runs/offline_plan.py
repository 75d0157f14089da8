"""Plan a playbook from an inventory file or from written CVMs: without a cloud and without an API key."""

from dataclasses import replace
from datetime import datetime

from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.keep import KeepList
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.planning import make_plan
from orchestrator.runs.freeze import load_freeze
from orchestrator.runs.inventory_file import SavedInventory
from orchestrator.runs.keeping import load_keep_file
from orchestrator.runs.prepare import NO_OVERRIDES, Overrides, list_settings_warnings
from orchestrator.runs.session import limits_of
from orchestrator.settings.load import Settings


async def plan_offline(
    settings: Settings,
    loaded: LoadedPlaybook,
    saved: SavedInventory,
    *,
    moment: datetime | None = None,
    narrowing: Narrowing | None = None,
    overrides: Overrides = NO_OVERRIDES,
) -> Plan:
    """Make the plan of a playbook for saved CVMs, taken as the whole workspace; no fact is read.

    Exemptions are those in the file of the settings, and those in the inventory.

    Args:
        settings: the settings; no key is needed.
        loaded: the playbook.
        saved: the CVMs.
        moment: the time of day of the plan, for freezes, exemptions, ages and uptimes; by default the time of the read.
        narrowing: the conditions of `--only` and `--exclude`.
        overrides: the decisions to act despite freezes and exemptions.

    Raises:
        PlaybookError: when a calendar of a freeze in the playbook is unusable.
        SettingsError: when a calendar of a freeze in the settings, or an exemption, is unusable.
    """
    moment, playbook = moment or saved.read_at, loaded.playbook
    freeze = await load_freeze(settings, loaded, overrides.break_freeze)
    plan = make_plan(
        playbook,
        saved.facts_at(moment),
        guards=merge_guards(playbook.guards, settings.guards),
        limits=limits_of(playbook.limits, settings),
        settle_timeout=settings.settle.timeout,
        price_list={},
        storage_usd_per_gb_hour=settings.billing.storage_usd_per_gb_hour,
        batch_size=settings.settle.batch_size,
        more_warnings=list_settings_warnings(playbook, settings),
        narrowing=narrowing,
        keep=_list_exemptions(settings, loaded, saved, moment, overrides.ignore_keep),
    )
    found = str(settings.origin.file) if settings.origin.is_found else None
    plan = replace(plan, workspace_name=settings.workspace_name, settings_file=found)
    return freeze.check_plan(plan, moment) if freeze.freezes else plan


def _list_exemptions(
    settings: Settings, loaded: LoadedPlaybook, saved: SavedInventory, moment: datetime, ignored: str | None
) -> KeepList | None:
    file = settings.keep.file
    entries = (*(() if file is None else load_keep_file(file)), *saved.keep)
    by_playbook = "guards.ignore_keep of the playbook" if loaded.playbook.guards.ignore_keep else None
    return KeepList.at(entries, moment, ignored or by_playbook) if entries else None
