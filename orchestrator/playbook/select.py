"""Match CVMs with selects and protections by their facts, and report selector values without any match.

A list entry may lack facts, such as its app, its region or its age. A key that needs an unknown fact is neither met nor
unmet: the result is None. An unknown fact never matches a select. For a protection or an `exclude`, an unknown fact
counts as a possible match.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from orchestrator.billing.rates import choose_rate
from orchestrator.cvm import COMING_UP, Cvm, normal_app_id, normal_id
from orchestrator.playbook.facts import Comparison
from orchestrator.playbook.schema import Protect
from orchestrator.playbook.steps import Select
from orchestrator.playbook.value_types import CvmIds


@lru_cache(maxsize=4096)
def _compile_pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern: `*` and `?` are wildcards; other characters stand for themselves, even brackets."""
    first, *rest = ("".join("." if char == "?" else re.escape(char) for char in part) for part in text.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL)
    # The shortest match of each middle part is as good as any other match: atomic groups keep many stars fast.
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)


def _matches_text(pattern: str, text: str | None) -> bool:
    return text is not None and _compile_pattern(pattern).fullmatch(text) is not None


def _matches_teepod(pattern: str, cvm: Cvm) -> bool | None:
    ref, is_number = cvm.ref, pattern.isascii() and pattern.isdigit()
    if (ref.teepod_id is not None and pattern == str(ref.teepod_id)) or _matches_text(pattern, ref.teepod):
        return True
    return None if (ref.teepod_id if is_number else ref.teepod) is None else False


def _matches_app(pattern: str, cvm: Cvm) -> bool | None:
    return None if cvm.ref.app_id is None else normal_app_id(pattern) == cvm.ref.app_id


def _matches_id(identifier: str, cvm: Cvm) -> bool | None:
    return _matches_ids(CvmIds([identifier]), cvm)


def _matches_ids(ids: CvmIds, cvm: Cvm) -> bool | None:
    if not ids.keys.isdisjoint(cvm.keys):
        return True
    # A list entry may lack the kind of identifier in the select.
    lacks_hashid = ids.has_hashids and cvm.ref.id is None
    return None if lacks_hashid or (ids.has_others and cvm.ref.uuid_key is None) else False


def _matches_name(pattern: str, cvm: Cvm) -> bool | None:
    return _matches_text(pattern, cvm.ref.name) or (False if cvm.ref.name else None)


def _matches_status(pattern: str, cvm: Cvm) -> bool | None:
    return pattern == cvm.status


def _matches_instance_type(pattern: str, cvm: Cvm) -> bool | None:
    return _matches_any_case(pattern, cvm.instance_type)


def _matches_region(pattern: str, cvm: Cvm) -> bool | None:
    return _matches_any_case(pattern, cvm.region)


def _matches_any_case(pattern: str, text: str | None) -> bool | None:
    return None if text is None else _matches_text(pattern.casefold(), text.casefold())


def _matches_creator(pattern: str, cvm: Cvm) -> bool | None:
    if _matches_text(pattern, cvm.creator) or _matches_text(pattern, cvm.creator_id):
        return True
    return None if cvm.creator is None or cvm.creator_id is None else False


def _matches_gpus(comparison: Comparison, cvm: Cvm) -> bool | None:
    return None if cvm.gpus is None else comparison.is_met_by(cvm.gpus)


def _matches_price(comparison: Comparison, cvm: Cvm) -> bool | None:
    return None if cvm.usd_per_hour is None else comparison.is_met_by(cvm.usd_per_hour)


def _is_older(seconds: float, cvm: Cvm) -> bool | None:
    return None if cvm.age is None else cvm.age > seconds


def _is_created_before(moment: datetime, cvm: Cvm) -> bool | None:
    return None if cvm.created_at is None else cvm.created_at < moment


def _is_up_longer(seconds: float, cvm: Cvm) -> bool | None:
    if cvm.down or cvm.status in COMING_UP:
        return False
    return None if cvm.uptime is None else cvm.uptime > seconds


_BY_KEY: dict[str, Callable[[Any, Cvm], bool | None]] = {
    "teepod": _matches_teepod,
    "app_id": _matches_app,
    "id": _matches_id,
    "name": _matches_name,
    "status": _matches_status,
    "instance_type": _matches_instance_type,
    "region": _matches_region,
    "creator": _matches_creator,
    "gpus": _matches_gpus,
    "usd_per_hour": _matches_price,
    "older_than": _is_older,
    "created_before": _is_created_before,
    "up_longer_than": _is_up_longer,
}


def _any_of(results: Iterable[bool | None]) -> bool | None:
    """Return True if any result is true; None if unknown facts decide."""
    found = set(results)
    return True if True in found else None if None in found else False


def _match_key(select: Select | Protect, key: str, cvm: Cvm) -> bool | None:
    """Match a single key of a select or of a protection; None if an unknown fact decides."""
    values = getattr(select, key)
    if isinstance(values, CvmIds):
        return _matches_ids(values, cvm)
    match = _BY_KEY[key]
    return _any_of(match(value, cvm) for value in values) if isinstance(values, list) else match(values, cvm)


def match_select(select: Select, cvm: Cvm) -> bool | None:
    """Match a CVM with a select; None if an unknown fact decides."""
    results = [_match_key(select, key, cvm) for key in _BY_KEY if getattr(select, key) is not None]
    if select.any is not None:
        results.append(_any_of(match_select(each, cvm) for each in select.any))
    if select.exclude is not None:
        excluded = match_select(select.exclude, cvm)
        results.append(None if excluded is None else not excluded)
    return False if False in results else None if None in results else True


class Coverage(Enum):
    """The result of matching a CVM with a select; the CVM's status counts only for a select with `status`."""

    YES = auto()
    NO = auto()
    UNSURE = auto()
    """The CVM matches everything except an `exclude` that depends on an unknown fact."""


def find_coverage(select: Select, cvm: Cvm) -> Coverage:
    """Match a CVM with a select. An unknown fact never matches a key, and may match an exclusion."""
    values = vars(select)
    for key in _BY_KEY:
        if values[key] is not None and not _match_key(select, key, cvm):
            return Coverage.NO
    found = Coverage.YES
    if select.any is not None:
        among = {find_coverage(each, cvm) for each in select.any}
        found = next((each for each in (Coverage.YES, Coverage.UNSURE) if each in among), Coverage.NO)
    if select.exclude is not None and found is not Coverage.NO:
        excluded = match_select(select.exclude, cvm)
        found = Coverage.NO if excluded else Coverage.UNSURE if excluded is None else found
    return found


def is_covered(select: Select, cvm: Cvm) -> bool:
    """Return True if a select covers a CVM for certain; the CVM's status counts only for a select with `status`."""
    return find_coverage(select, cvm) is Coverage.YES


def has_key(select: Select, *keys: str) -> bool:
    """Return True if a select, or a select within, has one of these keys."""
    values = vars(select)
    inner = [*(select.any or ()), *([] if select.exclude is None else [select.exclude])]
    return any(values[key] is not None for key in keys) or any(has_key(each, *keys) for each in inner)


def find_unmet_key(select: Select, cvm: Cvm) -> str:
    """Return the first unmet key of a select, such as `teepod`; empty for a covered CVM."""
    for key in _BY_KEY:
        if getattr(select, key) is not None and not _match_key(select, key, cvm):
            return key
    if select.any is not None and not any(is_covered(each, cvm) for each in select.any):
        return "any"
    return "" if is_covered(select, cvm) else "exclude"


def find_unknown_fact(select: Select, cvm: Cvm) -> str | None:
    """Return the unknown fact behind an undecided match, such as `app_id`."""
    if match_select(select, cvm) is not None:
        return None
    inner = [*(select.any or ()), *([] if select.exclude is None else [select.exclude])]
    own = [key for key in _BY_KEY if getattr(select, key) is not None and _match_key(select, key, cvm) is None]
    found = (find_unknown_fact(each, cvm) for each in inner)
    return next(iter(own), None) or next(filter(None, found), None)


def find_protection(protect: Protect, cvm: Cvm) -> str | None:
    """Return the protection of a CVM as text, such as `name kms-*`."""
    for key in _PROTECTS:
        for value in getattr(protect, key) or ():
            if _BY_KEY[key](value, cvm):
                return f"{key} {value}"
    return None


_PROTECTS = ("name", "app_id", "teepod")


def find_unknown_protection(protect: Protect, cvm: Cvm) -> str | None:
    """Return the unknown fact behind a possible protection of a CVM."""
    for key in _PROTECTS:
        if getattr(protect, key) and _match_key(protect, key, cvm) is None:
            return key
    return None


def needs_uptime(select: Select, cvm: Cvm) -> bool:
    """Return True if the uptime of a CVM is unknown and may decide whether a select covers the CVM."""
    inner = [*(select.any or ()), *([] if select.exclude is None else [select.exclude])]
    if select.up_longer_than is None:
        return any(needs_uptime(each, cvm) for each in inner) and match_select(select, cvm) is None
    return _is_up_longer(select.up_longer_than, cvm) is None and match_select(select, cvm) is None


def find_app_bound(select: Select) -> frozenset[str] | None:
    """Return the app_ids (normal form) of all CVMs within reach of a select; None if any app is possible."""
    bounds = []
    if select.app_id is not None:
        bounds.append(frozenset(normal_app_id(value) for value in select.app_id))
    if select.any is not None:
        branches = [find_app_bound(each) for each in select.any]
        known = [branch for branch in branches if branch is not None]
        if len(known) == len(branches):
            bounds.append(frozenset().union(*known))
    return min(bounds, key=len) if bounds else None


def find_ids_to_read(selects: Iterable[Select]) -> list[str] | None:
    """Return the identifiers of all CVMs within reach of selects, in order; None if other CVMs are possible."""
    ids: dict[str, None] = {}
    for select in selects:
        if select.id is None:
            return None
        ids.update(dict.fromkeys(select.id))
    return list(ids)


def find_apps_to_read(selects: Iterable[Select], *, whole_workspace: bool) -> frozenset[str] | None:
    """Return the apps to read for a playbook; None for the whole workspace.

    Args:
        selects: the selects of every step.
        whole_workspace: whether a guard needs every CVM, such as `max_percent`.
    """
    bounds = [find_app_bound(select) for select in selects]
    if whole_workspace or any(bound is None for bound in bounds):
        return None
    return frozenset().union(*(bound for bound in bounds if bound is not None))


def describe_unmatched(selects: Iterable[Select], inventory: Iterable[Cvm]) -> list[str]:
    """Describe every selector value without a match in the inventory, with the nearest known values."""
    return _describe_unmatched((pair for select in selects for pair in _list_values(select)), list(inventory))


def describe_unmatched_protection(protect: Protect, inventory: Iterable[Cvm]) -> list[str]:
    """Describe every value of `protect` without a match in the inventory, with the nearest known values."""
    pairs = ((key, value) for key in _PROTECTS for value in getattr(protect, key) or ())
    return [f"protect: {sentence}" for sentence in _describe_unmatched(pairs, list(inventory))]


def _describe_unmatched(pairs: Iterable[tuple[str, str]], cvms: list[Cvm]) -> list[str]:
    sentences: list[str] = []
    values = dict.fromkeys(pairs)
    known_ids = {key for cvm in cvms for key in cvm.keys} if any(key == "id" for key, _ in values) else set()
    for key, value in values:
        match = _BY_KEY[key]
        if (key == "id" and normal_id(value) in known_ids) or (key == "status" and value in _USUAL):
            continue
        if key == "id" or not any(match(value, cvm) for cvm in cvms):
            sentences.append(f"no {_NOUN[key]} {value!r}{_describe_known(key, value, cvms)}")
    return sentences


_NOUN = {
    "teepod": "teepod",
    "app_id": "CVM of app_id",
    "id": "CVM of id",
    "name": "CVM named",
    "status": "CVM of status",
    "instance_type": "CVM of instance type",
    "region": "CVM in region",
    "creator": "CVM of creator",
}
"""Words for the keys with texts; a number or a time without a match is no typing error."""

_USUAL = frozenset(
    {
        *("running", "stopped", "stopping", "shutting_down", "starting", "restarting"),
        *("creating", "exited", "error", "unknown"),
    },
)
"""Usual statuses. A fleet without a CVM of such a status is normal; any other status is probably a typing error."""


def _list_values(select: Select) -> Iterator[tuple[str, str]]:
    for key in _NOUN:
        for value in getattr(select, key) or ():
            yield key, value
    for each in select.any or ():
        yield from _list_values(each)
    if select.exclude is not None:
        # An unmatched pattern in `exclude` is a precaution; an unmatched name is probably a typing error.
        yield from (pair for pair in _list_values(select.exclude) if not {"*", "?"} & set(pair[1]))


_LONGEST = 200
"""Characters; the comparison of longer names would be too slow for a hint."""


def _describe_known(key: str, value: str, cvms: list[Cvm]) -> str:
    """List the known values nearest to an unmatched value: all of a few, otherwise the most similar."""
    found: set[str | None] = set()
    if key == "teepod":
        found = {cvm.ref.teepod or str(cvm.ref.teepod_id) for cvm in cvms if cvm.ref.teepod_key}
    elif key == "name":
        found = {cvm.ref.name for cvm in cvms}
    elif key == "app_id":
        found = {cvm.ref.app_id for cvm in cvms}
    elif key == "id":
        found = {cvm.ref.address for cvm in cvms}
    else:
        found = {getattr(cvm, key) for cvm in cvms}
    known = sorted(text for text in found if text and len(text) <= _LONGEST)
    few = 6
    if len(known) > few:
        near = _find_nearest(value[:_LONGEST], known, few)
        return f"; nearest known: {', '.join(near)}" if near else f"; {len(known)} known values, no similar value"
    return f"; known: {', '.join(known)}" if known else "; no known values"


_WILD = re.compile(r"[*?]+|\d+")


def _find_nearest(value: str, known: list[str], most: int) -> list[str]:
    """Find the most similar known values; compare a pattern with patterns of the known values.

    A direct comparison would find any short value similar to a short pattern: `agent-9` for `staging-*`.
    """
    if {"*", "?"} & set(value):
        value, known = _WILD.sub("*", value), sorted({_WILD.sub("*", each) for each in known})
    alike = {each.lower(): each for each in known}
    return [alike[each] for each in difflib.get_close_matches(value.lower(), alike, n=most, cutoff=0.7)]


DERIVED = ("older_than", "usd_per_hour")
"""The keys of a select that need a fact from `derive_facts`."""


def derive_facts(cvm: Cvm, *, moment: datetime, price_list: Mapping[str, Decimal]) -> Cvm:
    """Return a CVM with its age and its compute rate.

    Args:
        cvm: the CVM as read.
        moment: the moment of the plan.
        price_list: USD per hour by instance type; empty if not read.
    """
    age = None if cvm.created_at is None else max(0.0, (moment - cvm.created_at).total_seconds())
    return replace(cvm, age=age, usd_per_hour=choose_rate(cvm, price_list)[0])


def rewind_uptime(cvm: Cvm, seconds: float) -> Cvm:
    """Return a CVM with the uptime of an earlier moment; 0 for a CVM started since that moment."""
    return cvm if cvm.uptime is None else replace(cvm, uptime=max(0.0, cvm.uptime - seconds))
