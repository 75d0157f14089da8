"""Values of selectors about numbers and times: comparisons such as `">1.5"`, and dates."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from operator import eq, ge, gt, le, lt
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from orchestrator.playbook.schedule import parse_edge
from orchestrator.playbook.value_types import AS_TEXT, as_list

_COMPARISON = re.compile(r"\s*(>=|<=|>|<|=|)\s*(\d{1,20}(?:\.\d{1,20})?)\s*", re.ASCII)
_COMPARE = {">=": ge, "<=": le, ">": gt, "<": lt, "=": eq, "": eq}
_REFERENCE = r"\$\{[^{}]+\}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison with a number.

    Attributes:
        operator: `>`, `>=`, `<`, `<=`, `=`, or empty for an equal number.
        number: the number.
    """

    operator: str
    number: Decimal

    @classmethod
    def parse(cls, value: object) -> "Comparison":
        """Parse a number such as `0`, or a comparison such as `">1.5"`.

        Raises:
            PydanticCustomError: when the value has another form; the context of the error has a `hint`.
        """
        if isinstance(value, cls):
            return value
        match = None if isinstance(value, bool) else _COMPARISON.fullmatch(str(value))
        if match is None:
            message = 'must be a number such as 0, or a comparison such as ">1.5", not {given}'
            hint = 'write the comparison in quotes: ">1.5", ">=1", "<8"'
            raise PydanticCustomError("comparison", message, {"given": repr(value)[:60], "hint": hint})
        return cls(match[1], Decimal(match[2]))

    def is_met_by(self, number: Decimal | int) -> bool:
        """Compare a number with the number of the comparison."""
        return bool(_COMPARE[self.operator](number, self.number))

    def __str__(self) -> str:
        return f"{self.operator}{self.number:f}"


_COMPARISON_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": rf"^\s*(>=|<=|>|<|=)?\s*\d+(\.\d+)?\s*$|{_REFERENCE}"},
    ],
}


def _wrap_number(value: object) -> object:
    return as_list(value) if isinstance(value, str | list) else [value]


Comparisons = Annotated[
    list[Annotated[Comparison, PlainValidator(Comparison.parse), AS_TEXT]],
    BeforeValidator(_wrap_number),
    WithJsonSchema(
        {"anyOf": [*_COMPARISON_SCHEMA["anyOf"], {"type": "array", "minItems": 1, "items": _COMPARISON_SCHEMA}]}
    ),
]
"""One comparison, or a list of comparisons."""


def parse_moment(value: object) -> datetime:
    """Parse a date (00:00 UTC), or a time with an offset.

    Raises:
        PydanticCustomError: when the value has another form, or no offset; the context of the error has a `hint`.
    """
    if isinstance(value, datetime):
        edge: date | datetime = value
    else:
        edge = parse_edge(value.isoformat() if isinstance(value, date) else value)
    if not isinstance(edge, datetime):
        return datetime.combine(edge, time(), UTC)
    if edge.tzinfo is None:
        hint = "add Z or an offset: 2027-12-24T18:00Z, 2027-12-24T18:00+01:00; a date is 00:00 UTC"
        raise PydanticCustomError("moment", "the time {given} has no offset", {"given": repr(str(value)), "hint": hint})
    return edge.astimezone(UTC)


Moment = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    WithJsonSchema({"type": "string", "pattern": rf"^\d{{4}}-\d\d-\d\d([T ]\d\d:\d\d.*)?$|{_REFERENCE}"}),
]
"""A date, or a time with an offset; in UTC."""
