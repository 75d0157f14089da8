"""Ad-hoc orders: an action on named or selected CVMs as an ordinary playbook in memory."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.action import Action
from orchestrator.cvm import Cvm, normal_app_id, normal_id
from orchestrator.engine.read.inventory import Inventory, InventoryReader
from orchestrator.errors import PlaybookError, UsageError
from orchestrator.playbook.guards import needs_more_than_named
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.load import IN_MEMORY, LoadedPlaybook, load_source
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.source import parse_source
from orchestrator.runs.prepare import MOST_SINGLE_READS
from orchestrator.runs.session import Session, limits_of
from orchestrator.runs.start import RunRequest
from orchestrator.text import plural, safe_text

MOST_CVMS = 15_000
"""CVMs named in a command; a playbook has a highest size."""

_ID = re.compile(
    r"(?-i:cvm_[A-Za-z0-9_-]{1,120})|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.IGNORECASE | re.ASCII,
)
_MOST_CANDIDATES = 10


def is_identifier(text: str) -> bool:
    """Return True for text of the form of a hashid, a UUID or an instance id."""
    return _ID.fullmatch(text) is not None


def build_playbook(action: Action, select: Mapping[str, object]) -> LoadedPlaybook:
    """Build the playbook of an ad-hoc order.

    Args:
        action: the action.
        select: the select, as in a playbook's file.

    Raises:
        UsageError: when a value is invalid.
    """
    step = {"name": action.value, "action": action.value, "select": select}
    text = json.dumps({"name": f"ad-hoc {action}", "steps": [step]}, ensure_ascii=False)
    try:
        loaded = load_source(parse_source(text.encode("utf-8", "surrogateescape"), Path(IN_MEMORY)), {})
    except PlaybookError as error:
        message = error.message.removeprefix("steps[0].select.")
        raise UsageError(message, hint=error.hint) from error
    return replace(loaded, in_memory=True)


async def request_named(session: Session, action: Action, names: Sequence[str], *, ignore_running: bool) -> RunRequest:
    """Find the named CVMs, and make the request of their run.

    Args:
        session: the connection to the cloud.
        action: the action.
        names: hashids, UUIDs, instance ids and exact names.
        ignore_running: whether to act on CVMs claimed by another run.

    Raises:
        UsageError: when a name is unknown or ambiguous.
        CloudError: when the CVMs can't be read.
    """
    if len(set(names)) > MOST_CVMS:
        raise UsageError(
            f"the command names {len(set(names)):,} CVMs, at most {MOST_CVMS:,} are possible",
            hint="use selector options such as --teepod, or several commands",
        )
    reader = InventoryReader(session.cloud, session.gate, session.rng)
    inventory = await _read_named(session, reader, names)
    try:
        cvms = resolve_names(names, inventory.cvms)
    except UsageError:
        if inventory.whole:
            raise
        mistaken = inventory.mistaken
        inventory = await reader.read_all()  # for the nearest names
        cvms = resolve_names(names, inventory.cvms)
        if mistaken:
            raise UsageError(
                f"the API reads {safe_text(min(mistaken), 64)!r} as another CVM, or as several CVMs",
                hint="name the CVM by another of its ids; `orchestrator cvms --json` lists all",
            ) from None
    addresses = {cvm.ref.key: cvm.ref.vm_uuid or cvm.ref.address for cvm in cvms}
    nameless = next((cvm for cvm in cvms if not cvm.ref.address), None)
    if nameless is not None:
        raise UsageError(
            f"{nameless.ref.name!r} has neither hashid nor UUID yet", hint="try again when the CVM is created"
        )
    doubles = len(names) - len(addresses)
    warnings = (
        [PlanWarning(WarningCode.NAMED_TWICE, f"{plural(doubles, 'duplicate')} in the list of CVMs, counted once")]
        if doubles
        else []
    )
    return RunRequest(
        build_playbook(action, {"id": list(addresses.values())}),
        limits_of(Limits(), session.settings),
        ignore_running=ignore_running,
        warnings=tuple(warnings),
        inventory=inventory,
        is_named=True,
    )


async def _read_named(session: Session, reader: InventoryReader, names: Sequence[str]) -> Inventory:
    ids = [name for name in dict.fromkeys(names) if is_identifier(name)]
    is_single = len(ids) == len(set(names)) <= MOST_SINGLE_READS
    if not is_single or needs_more_than_named(session.settings.guards):
        return await reader.read_all()
    return await reader.read_ids(ids)


def resolve_names(names: Iterable[str], cvms: Sequence[Cvm]) -> list[Cvm]:
    """Find the CVM of every name, each CVM once.

    Raises:
        UsageError: when a name matches no CVM or several CVMs.
    """
    by_id = {key: each for each in cvms for key in each.keys}
    by_name: dict[str, list[Cvm]] = {}
    for each in cvms:
        by_name.setdefault(each.ref.name, []).append(each)
    found: dict[str, Cvm] = {}
    for name in names:
        cvm = by_id.get(normal_id(name)) if is_identifier(name) else None
        named = [] if cvm is not None else by_name.get(name, [])
        if len(named) > 1:
            raise UsageError(
                f"{len(named)} CVMs have the name {safe_text(name, 64)!r}", hint=f"name one by id: {_list(named)}"
            )
        for each in named or ([] if cvm is None else [cvm]):
            found[each.ref.key or f"?{each.ref.name}"] = each
        if cvm is None and not named:
            raise _unknown_error(name, cvms, by_name)
    return list(found.values())


def _unknown_error(name: str, cvms: Sequence[Cvm], by_name: Mapping[str, object]) -> UsageError:
    shown = repr(safe_text(name, 64))
    of_app = [cvm for cvm in cvms if cvm.ref.app_id is not None and cvm.ref.app_id == normal_app_id(name)]
    if of_app:
        return UsageError(
            f"{shown} is an app_id, not a CVM", hint=f"name its CVMs: {_list(of_app)}; or use --app-id {name[:64]}"
        )
    if name.isdigit():
        return UsageError(
            f"there is no CVM {shown}", hint="a number of the API is no identifier; use a hashid, UUID or name"
        )
    if name.startswith("-"):
        return UsageError(f"there is no CVM {shown}", hint="options belong before --, names after")
    known = [*by_name, *(cvm.ref.address for cvm in cvms)]
    near = difflib.get_close_matches(name[:200], [each for each in known if each], n=3)
    words = " or ".join(safe_text(each, 64) for each in near)
    hint = f"did you mean {words}?" if near else "names and ids are exact; `orchestrator cvms` lists the CVMs"
    return UsageError(f"there is no CVM {shown}", hint=hint)


def _list(cvms: Sequence[Cvm]) -> str:
    shown = [
        f"{cvm.ref.address} ({safe_text(cvm.ref.name, 64)}, {safe_text(cvm.ref.teepod or 'teepod unknown', 64)})"
        for cvm in cvms
    ]
    more = f", and {len(shown) - _MOST_CANDIDATES} more" if len(shown) > _MOST_CANDIDATES else ""
    return ", ".join(shown[:_MOST_CANDIDATES]) + more
