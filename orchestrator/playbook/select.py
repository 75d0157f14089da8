"""Which CVMs a select covers, and which of its values cover none."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from orchestrator.cvm import Cvm, normal_app_id
from orchestrator.playbook.schema import Protect
from orchestrator.playbook.steps import Select


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    """`*` and `?` as wildcards, everything else as it stands (a name may well hold a bracket)."""
    first, *rest = ("".join("." if char == "?" else re.escape(char) for char in part) for part in text.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL)
    # The shortest match of each middle part is as good as any other: atomic, so that many stars take no longer.
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)


def _matches_text(pattern: str, text: str | None) -> bool:
    return text is not None and _pattern(pattern).fullmatch(text) is not None


def _matches_teepod(pattern: str, cvm: Cvm) -> bool:
    by_id = cvm.ref.teepod_id is not None and pattern == str(cvm.ref.teepod_id)
    return by_id or _matches_text(pattern, cvm.ref.teepod)


def _matches_app(pattern: str, cvm: Cvm) -> bool:
    return cvm.ref.app_id is not None and normal_app_id(pattern) == cvm.ref.app_id


def _matches_name(pattern: str, cvm: Cvm) -> bool:
    return _matches_text(pattern, cvm.ref.name)


def _matches_status(pattern: str, cvm: Cvm) -> bool:
    return pattern == cvm.status


_BY_KEY: dict[str, Callable[[str, Cvm], bool]] = {
    "teepod": _matches_teepod,
    "app_id": _matches_app,
    "name": _matches_name,
    "status": _matches_status,
}


def matches(select: Select, cvm: Cvm) -> bool:
    """Whether a select covers a CVM, leaving aside whether that CVM is down already."""
    for key, match in _BY_KEY.items():
        values: list[str] | None = getattr(select, key)
        if values is not None and not any(match(value, cvm) for value in values):
            return False
    if select.any is not None and not any(matches(each, cvm) for each in select.any):
        return False
    return select.exclude is None or not matches(select.exclude, cvm)


def protection(protect: Protect, cvm: Cvm) -> str | None:
    """Why a CVM is protected, such as `name kms-*`; None when it is not."""
    for key in ("name", "app_id", "teepod"):
        for value in getattr(protect, key) or ():
            if _BY_KEY[key](value, cvm):
                return f"{key} {value}"
    return None


def apps_alone(select: Select) -> frozenset[str] | None:
    """The app_ids (normal form) outside of which this select can cover nothing; None when there is no such bound."""
    bounds = []
    if select.app_id is not None:
        bounds.append(frozenset(normal_app_id(value) for value in select.app_id))
    if select.any is not None:
        branches = [apps_alone(each) for each in select.any]
        known = [branch for branch in branches if branch is not None]
        if len(known) == len(branches):
            bounds.append(frozenset().union(*known))
    return min(bounds, key=len) if bounds else None


def apps_to_read(selects: Iterable[Select], *, whole_workspace: bool) -> frozenset[str] | None:
    """The apps whose CVMs are all that a playbook can be about; None when the whole workspace has to be read.

    Args:
        selects: the selects of every step.
        whole_workspace: whether a guard holds that needs to know every CVM, as `max_percent` does.
    """
    bounds = [apps_alone(select) for select in selects]
    if whole_workspace or any(bound is None for bound in bounds):
        return None
    return frozenset().union(*(bound for bound in bounds if bound is not None))


def unmatched(selects: Iterable[Select], inventory: Iterable[Cvm]) -> list[str]:
    """One sentence for every selector value that covers no CVM of the inventory, with the nearest known ones."""
    cvms = list(inventory)
    sentences = []
    for key, value in dict.fromkeys(pair for select in selects for pair in _values(select)):
        match = _BY_KEY[key]
        if key == "status" and value in _USUAL:
            continue
        if not any(match(value, cvm) for cvm in cvms):
            sentences.append(f"no {_NOUN[key]} {value!r}{_known(key, value, cvms)}")
    return sentences


_NOUN = {"teepod": "teepod", "app_id": "CVM of app_id", "name": "CVM named", "status": "CVM of status"}

_USUAL = frozenset(
    {
        *("running", "stopped", "stopping", "shutting_down", "starting", "restarting"),
        *("creating", "exited", "error", "unknown"),
    },
)
"""Statuses of which there may well be no CVM just now; any other word is rather a slip."""


def _values(select: Select) -> Iterator[tuple[str, str]]:
    for key in _NOUN:
        for value in getattr(select, key) or ():
            yield key, value
    for each in select.any or ():
        yield from _values(each)
    if select.exclude is not None:
        # A pattern that excludes nothing today is a precaution; a name that does is rather a slip.
        yield from (pair for pair in _values(select.exclude) if not {"*", "?"} & set(pair[1]))


_LONGEST = 200
"""Characters; comparing longer names would take longer than the hint is worth."""


def _known(key: str, value: str, cvms: list[Cvm]) -> str:
    """The known values nearest to one that matched nothing: all of a few, else the most alike."""
    found: set[str | None] = set()
    if key == "teepod":
        found = {cvm.ref.teepod or str(cvm.ref.teepod_id) for cvm in cvms if cvm.ref.teepod_key}
    elif key == "name":
        found = {cvm.ref.name for cvm in cvms}
    elif key == "status":
        found = {cvm.status for cvm in cvms}
    else:
        found = {cvm.ref.app_id for cvm in cvms}
    known = sorted(text for text in found if text and len(text) <= _LONGEST)
    few = 6
    if len(known) > few:
        near = difflib.get_close_matches(value[:_LONGEST], known, n=few, cutoff=0.5)
        if not near:
            return f"; {len(known)} are known, none like it"
        known = near
        return f"; nearest known: {', '.join(known)}"
    return f"; known: {', '.join(known)}" if known else "; there are none at all"
