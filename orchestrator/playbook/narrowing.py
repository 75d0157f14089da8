"""Options with a key and a value: narrow the targets of a playbook, or select CVMs without a playbook. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationError

from orchestrator.cvm import Cvm
from orchestrator.errors import UsageError
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.select import describe_unmatched, find_unknown_fact, find_unmet_key, match_select
from orchestrator.playbook.steps import SELECTORS, Select
from orchestrator.times import parse_time_span
from orchestrator.validation_messages import explain_fault, suggest_nearest

KEYS = (*(key for key in SELECTORS if key != "any"), "status")
"""The keys of `--only` and `--exclude`."""

ONLY = "--only"
"""The user of an unknown fact, for a CVM outside of `--only`."""

_DURATIONS = frozenset({"older_than", "up_longer_than"})

SINGLE_KEYS = _DURATIONS | {"created_before"}
"""Keys with a single value."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Conditions of the command line, in addition to the selects of the playbook.

    Attributes:
        only: the values of each key of `--only`: OR within a key, AND between keys.
        exclude: the pairs of `--exclude`; each pair removes CVMs.
        selects: the select of each `--only` key, and the select of each `--exclude` pair.
    """

    only: Mapping[str, tuple[str, ...]]
    exclude: tuple[tuple[str, str], ...]
    selects: tuple[tuple[Select, ...], tuple[Select, ...]]

    @classmethod
    def parse_options(cls, only: Iterable[str], exclude: Iterable[str]) -> Self | None:
        """Parse the texts `KEY=VALUE` of both options; None without any text.

        Args:
            only: the texts of `--only`.
            exclude: the texts of `--exclude`.

        Raises:
            UsageError: when a key is unknown or a value is invalid.
        """
        keys: dict[str, tuple[str, ...]] = {}
        for text in only:
            key, value = _split_pair(ONLY, text)
            if key in SINGLE_KEYS and key in keys:
                raise UsageError(f"{ONLY} {key} is given twice", hint="keep one of the two values")
            keys[key] = (*keys.get(key, ()), value)
        pairs = tuple(_split_pair("--exclude", text) for text in exclude)
        return cls._build(keys, pairs) if keys or pairs else None

    @classmethod
    def from_record(cls, fields: Mapping[str, Any] | None) -> Self | None:
        """Read the form of `document`; None without a narrowing.

        Raises:
            UsageError: when a key is unknown or a value is invalid.
        """
        if fields is None:
            return None
        pairs = tuple((str(key), str(value)) for each in fields["exclude"] for key, value in each.items())
        return cls._build({key: tuple(values) for key, values in fields["only"].items()}, pairs)

    @classmethod
    def _build(cls, only: Mapping[str, tuple[str, ...]], exclude: tuple[tuple[str, str], ...]) -> Self:
        kept = tuple(_validate_values(f"{ONLY} {key}", key, values) for key, values in only.items())
        return cls(only, exclude, (kept, _validate_exclusions(exclude)))

    def document(self) -> dict[str, Any]:
        """Return the form of `run.started.narrowed`, of plan files and of JSON documents."""
        only = {key: list(values) for key, values in self.only.items()}
        return {"only": only, "exclude": [{key: value} for key, value in self.exclude]}

    def narrow(self, cvm: Cvm, reason: Reason | None) -> Reason | None:
        """Return the reason to skip a selected CVM.

        Args:
            cvm: the CVM.
            reason: the skip reason of the playbook and its guards; None for a target.
        """
        kept, removed = self.selects
        found = [match_select(select, cvm) for select in removed]
        for (key, value), excluded in zip(self.exclude, found, strict=True):
            if excluded:
                return Reason(SkipReason.EXCLUDED_BY_OPTION, f"--exclude {key}={value}")
        matches = [(select, match_select(select, cvm)) for select in kept]
        for select, matched in matches:
            if matched is False:
                return Reason(SkipReason.EXCLUDED_BY_OPTION, f"{ONLY} {find_unmet_key(select, cvm)}")
        for select, matched in matches:
            if matched is None:
                return Reason(SkipReason.FACT_UNKNOWN, find_unknown_fact(select, cvm) or "", ONLY)
        if reason is None and None in found:
            select = removed[found.index(None)]
            return Reason(SkipReason.FACT_UNKNOWN, find_unknown_fact(select, cvm) or "", "exclude")
        return reason

    def lacks_facts(self, cvm: Cvm) -> bool:
        """Return True if an unknown fact decides about a CVM."""
        reason = self.narrow(cvm, None)
        return reason is not None and reason.code is SkipReason.FACT_UNKNOWN

    def list_unmatched(self, cvms: Iterable[Cvm]) -> list[str]:
        """Describe every value without a match in the inventory, with the nearest known values."""
        cvms = list(cvms)
        names = (ONLY, "--exclude")
        return [
            f"{name}: {sentence}"
            for name, selects in zip(names, self.selects, strict=True)
            for sentence in describe_unmatched(selects, cvms)
        ]


def is_out_of_scope(reason: Reason) -> bool:
    """Return True if `--only` or `--exclude` leaves a CVM out; the CVM then counts as not selected."""
    return reason.code is SkipReason.EXCLUDED_BY_OPTION or reason.needed_by == ONLY


def build_select(selectors: Mapping[str, Sequence[str]], excludes: Iterable[str] = ()) -> dict[str, object]:
    """Build a select from selector options and `--exclude`, as in a playbook's file.

    Args:
        selectors: the values of every given key: OR within a key, AND between keys. Empty for all CVMs.
        excludes: texts `KEY=VALUE`; each removes CVMs.

    Raises:
        UsageError: when a key is unknown or a value is invalid.
    """
    given = {key: tuple(values) for key, values in selectors.items() if values}
    for key, values in given.items():
        _validate_values(f"--{key.replace('_', '-')}", key, values)
    pairs = tuple(_split_pair("--exclude", text) for text in excludes)
    _validate_exclusions(pairs)
    keys: dict[str, object] = {key: _write_values(key, values) for key, values in given.items()}
    exclude = {"exclude": {"any": [{key: _write_values(key, (value,))} for key, value in pairs]}} if pairs else {}
    return {**(keys or {"all": "true"}), **exclude}


def _split_pair(option: str, text: str) -> tuple[str, str]:
    key, sign, value = (part.strip() for part in text.partition("="))
    key = key.replace("-", "_")
    if not sign or not value:
        raise UsageError(f"{option} takes KEY=VALUE, not {text[:60]!r}", hint=f"for example {option} name='web-*'")
    if key not in KEYS:
        raise UsageError(f"{option}: unknown key {key[:60]!r}", hint=suggest_nearest(key, list(KEYS)))
    return key, value


def _validate_exclusions(pairs: Iterable[tuple[str, str]]) -> tuple[Select, ...]:
    return tuple(_validate_values(f"--exclude {key}", key, (value,)) for key, value in pairs)


def _write_values(key: str, values: tuple[str, ...]) -> object:
    return values[0] if key in SINGLE_KEYS else list(values)


def _validate_values(option: str, key: str, values: tuple[str, ...]) -> Select:
    """Validate the values of a key; `option` is the name of the option, for errors."""
    if key not in KEYS:
        raise UsageError(f"unknown key {key[:60]!r} in {option}", hint=suggest_nearest(key, list(KEYS)))
    if any("\ud800" <= char <= "\udfff" for value in values for char in value):
        raise UsageError(f"{option}: the value is not UTF-8 text")
    if key in _DURATIONS:
        try:
            parse_time_span(values[0])
        except ValueError as error:
            raise UsageError(f"{option}: {error}", hint="write 7d, 12h or 30m") from error
    try:
        return Select.model_validate({key: _write_values(key, values)})
    except ValidationError as error:
        _, message, hint = explain_fault(error.errors(include_url=False)[0], Select)
        rest = message.removeprefix(key).lstrip("[0123456789]").removeprefix(":").strip()
        raise UsageError(f"{option}: {rest}", hint=hint) from error
