"""The small types that a playbook's values have: text, yes or no, shares, limits.

Values arrive as text (see `source`), so each type reads text; each describes itself in the JSON Schema the way an
editor would meet it in YAML, where `10` is a number.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import floor
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


def _text(value: object) -> str:
    if isinstance(value, list | dict) or value is None:
        raise ValueError("must be text")
    text = str(value)
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in {"true", "false"}:
        return value == "true"
    raise ValueError(f"must be true or false, not {value!r}")


def _listed(value: object) -> object:
    if isinstance(value, str | int | float):
        return [value]
    if value == []:
        raise ValueError("the list is empty, which would match nothing; leave the key out or name something")
    return value


Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number"], "minLength": 1})]
"""Text that is not empty. A number in YAML is the text it was written as."""

Truth = Annotated[bool, BeforeValidator(_truth), WithJsonSchema({"type": "boolean"})]
"""`true` or `false`, and no other spelling."""

Texts = Annotated[list[Text], BeforeValidator(_listed)]
"""One text or a list of them; an empty list is an error."""

Count = Annotated[int, Field(ge=1)]
"""A whole number of at least 1."""

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A number above 0 per second."""


@dataclass(frozen=True, slots=True)
class Share:
    """A number of things, or a percentage of a whole that the field's description names.

    Attributes:
        amount: the number, or the percentage.
        percent: whether it is a percentage.
    """

    amount: Decimal
    percent: bool

    @classmethod
    def parse(cls, value: object) -> "Share":
        """Read `3` or `"10%"`.

        Raises:
            ValueError: when it is neither, negative, above 100 %, or not a whole number.
        """
        if isinstance(value, cls):
            return value
        text = _text(value).strip()
        percent = text.endswith("%")
        try:
            amount = Decimal(text.removesuffix("%").strip())
        except InvalidOperation:
            raise ValueError(f'must be a number such as 3, or a percentage such as "10%", not {text!r}') from None
        if not amount.is_finite() or amount < 0 or (percent and amount > 100):  # noqa: PLR2004 - percent
            raise ValueError(f"must be at least 0{' and at most 100%' if percent else ''}, not {text!r}")
        if not percent and amount != amount.to_integral_value():
            raise ValueError(f"must be a whole number or a percentage, not {text!r}")
        return cls(amount, percent)

    def of(self, whole: int) -> int:
        """How many of `whole` things this allows at the most, rounded down."""
        return floor(whole * self.amount / 100) if self.percent else int(self.amount)

    def __str__(self) -> str:
        return f"{self.amount.normalize():f}{'%' if self.percent else ''}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Validate by `parse`."""
        del source, handler
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A whole number or a percentage."""
        del schema, handler
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%?$"}]}


def _percent(value: object) -> Decimal:
    text = _text(value).strip()
    try:
        amount = Decimal(text.removesuffix("%").strip())
    except InvalidOperation:
        raise ValueError(f"must be a percentage such as 50, not {text!r}") from None
    if not amount.is_finite() or not 0 < amount <= 100:  # noqa: PLR2004 - percent
        raise ValueError(f"must be above 0 and at most 100, not {text!r}; 0 is never 'no limit'")
    return amount


Percent = Annotated[
    Decimal,
    BeforeValidator(_percent),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%?$"},
            ],
        },
    ),
]
"""A percentage above 0 and up to 100, written `50` or `"50%"`."""
