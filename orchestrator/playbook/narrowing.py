"""Selects from options: `KEY=VALUE` pairs and mappings of keys to values, instead of a playbook. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from orchestrator.cvm import Cvm, normal_uuid
from orchestrator.duration import parse_time_span
from orchestrator.errors import UsageError
from orchestrator.playbook.select import find_unknown_fact, is_covered
from orchestrator.playbook.steps import SELECTORS, Select
from orchestrator.validation_messages import explain_fault, suggest_nearest

KEYS = (*(key for key in SELECTORS if key != "any"), "status")
"""The keys of options: the keys of a select without `any`, `all`, `exclude` and `result`."""

_DURATIONS = frozenset({"older_than", "up_longer_than"})
_SINGLE = _DURATIONS | {"created_before"}


@dataclass(frozen=True, slots=True)
class Selection:
    """CVMs chosen by options.

    Attributes:
        select: the conditions.
        excluded_ids: hashids, and UUIDs in normal form, of excluded CVMs.
    """

    select: Select
    excluded_ids: frozenset[str] = frozenset()

    def covers(self, cvm: Cvm) -> bool:
        """Return True if a CVM is chosen for certain; an unknown fact never matches, and may match an exclusion."""
        return is_covered(self.select, cvm) and not self._excludes_id(cvm)

    def find_unknown_fact(self, cvm: Cvm) -> str | None:
        """Return the key of the unknown fact that keeps a CVM from being chosen; None without such a fact."""
        return None if self._excludes_id(cvm) else find_unknown_fact(self.select, cvm)

    def _excludes_id(self, cvm: Cvm) -> bool:
        return bool({cvm.ref.id, cvm.ref.uuid_key} & self.excluded_ids)


def build_selection(selectors: Mapping[str, Sequence[str]], excludes: Iterable[str] = ()) -> Selection:
    """Build a selection from options.

    Args:
        selectors: the values of every given key: OR within a key, AND between keys. Empty for all CVMs.
        excludes: texts `KEY=VALUE`; each removes CVMs.

    Raises:
        UsageError: when a key is unknown, or a value is invalid.
    """
    pairs = [_split_pair(text) for text in excludes]
    ids = frozenset(normal for key, value in pairs if key == "id" for normal in (value, normal_uuid(value)))
    branches = [_validate({key: value}, f"--exclude {key}") for key, value in pairs if key != "id"]
    keys: dict[str, object] = {
        key: values[0] if key in _SINGLE else list(values) for key, values in selectors.items() if values
    }
    chosen = _validate(keys or {"all": "true"}, "")
    if branches:
        chosen = chosen.model_copy(update={"exclude": Select.model_construct(any=branches)})
    return Selection(chosen, ids)


def _split_pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    key = key.strip().replace("-", "_")
    if not sign or not value.strip():
        raise UsageError(f"--exclude takes KEY=VALUE, not {text[:60]!r}", hint="for example --exclude name='kms-*'")
    if key not in {*KEYS, "id"}:
        raise UsageError(f"--exclude: unknown key {key[:60]!r}", hint=suggest_nearest(key, [*KEYS, "id"]))
    return key, value.strip()


def _validate(keys: Mapping[str, object], option: str) -> Select:
    for key in _DURATIONS & keys.keys():
        try:
            parse_time_span(str(keys[key]))
        except ValueError as error:
            raise UsageError(f"{option or _option(key)}: {error}", hint="write 7d, 12h or 30m") from error
    try:
        return Select.model_validate(keys)
    except ValidationError as error:
        place, message, hint = explain_fault(error.errors(include_url=False)[0], Select)
        key = str(place[0]) if place else ""
        rest = message.removeprefix(key).lstrip("[0123456789]").removeprefix(":").strip()
        raise UsageError(f"{option or _option(key)}: {rest}", hint=hint) from error


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"
