"""Small types of a playbook's values: text, booleans, shares, limits.

Values arrive as text (see `source`), so every type parses text. In the JSON Schema a type has its usual YAML form: an
editor sees `10` as a number.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import floor
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from orchestrator.cvm import HASHID, normal_app_id, normal_id
from orchestrator.times import parse_duration

_AMOUNT = re.compile(r"\d{1,20}(?:\.\d{1,20})?", re.ASCII)
_APP_ID = re.compile(r"\s*[A-Za-z0-9_-]{1,128}\s*|.*\$\{[^{}]+\}.*", re.ASCII)
_CVM_ID = re.compile(r"[A-Za-z0-9_-]{1,128}|.*\$\{[^{}]+\}.*", re.ASCII)
_APP_ID_DIGITS = 40
_A_SLIP = 20
"""Hex digits; shorter hex text may be another kind of id, longer text is an app_id with missing or extra digits."""
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_MOST = 1_000_000_000
_REFERENCE = {"type": "string", "pattern": r"\$\{[^{}]+\}"}
"""The JSON Schema of a reference to a variable."""
_DURATION = r"^\d+(\.\d+)?$|^(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?$|\$\{[^{}]+\}"
"""The pattern of `parse_duration` for editors, before any `${var}` is replaced."""


def _check_text(value: object) -> str:
    if not isinstance(value, str):
        # Outside of playbooks a parser may have produced a number already, and 0x12 is not the text 18.
        raise ValueError("must be text; put it in quotes")  # noqa: TRY004 - pydantic collects ValueErrors
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _check_app_id(text: str) -> str:
    if not _APP_ID.fullmatch(text):
        raise ValueError(f"must be an app's id, such as 40 hex digits, without wildcards, not {text[:60]!r}")
    bare = normal_app_id(text)
    if len(bare) != _APP_ID_DIGITS and len(bare) >= _A_SLIP and _HEX.fullmatch(bare):
        raise ValueError(f"must be an app's id of 40 hex digits, but {text[:60]!r} has {len(bare)}")
    return text


def _parse_amount(value: object, wanted: str) -> Decimal:
    """Parse a plain decimal number: digits and an optional point; no exponent, sign or underscore."""
    text = str(value).strip().removesuffix("%").strip()
    if isinstance(value, bool | list | dict) or not _AMOUNT.fullmatch(text):
        raise ValueError(f"must be {wanted}, not {str(value)[:60]!r}")
    return Decimal(text)


def _parse_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    raise ValueError(f"must be true or false, not {value!r}")


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {str(value).lower()}")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def as_list(value: object) -> object:
    """Wrap a single text in a list; raise ValueError for an empty list."""
    if isinstance(value, str):
        return [value]
    if value == []:
        raise ValueError("the list is empty and would match nothing; add an entry, or leave the key out")
    return value


Text = Annotated[str, BeforeValidator(_check_text), WithJsonSchema({"type": ["string", "number"], "minLength": 1})]
"""Text that is not empty. A number in YAML keeps its original spelling."""

StrictBool = Annotated[bool, BeforeValidator(_parse_bool), WithJsonSchema({"type": "boolean"})]
"""`true` or `false`, and no other spelling."""

_ONE_OR_MORE = WithJsonSchema(
    {
        "anyOf": [
            {"type": ["string", "number"], "minLength": 1},
            {"type": "array", "minItems": 1, "items": {"type": ["string", "number"], "minLength": 1}},
        ],
    },
)

Texts = Annotated[list[Text], BeforeValidator(as_list), _ONE_OR_MORE]
"""One text or a list of texts; an empty list is an error."""

AppIds = Annotated[list[Annotated[Text, AfterValidator(_check_app_id)]], BeforeValidator(as_list), _ONE_OR_MORE]
"""One app_id or a list of app_ids: complete ids without wildcards, safe to put into a request."""


class CvmIds(list[str]):
    """Identifiers of CVMs, for a quick match of many CVMs.

    Attributes:
        keys: the identifiers in normal form.
        has_hashids: whether an identifier is a hashid.
        has_others: whether an identifier is a UUID or an instance id.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        super().__init__(ids)
        self.keys = frozenset(normal_id(each) for each in self)
        self.has_hashids = any(each.startswith(HASHID) for each in self)
        self.has_others = any(not each.startswith(HASHID) for each in self)


def _check_cvm_id(text: str) -> str:
    text = text.strip()
    if not _CVM_ID.fullmatch(text):
        raise ValueError(f"must be a hashid, a UUID or an instance id, without wildcards, not {text[:60]!r}")
    if text.isdigit() and len(text) < _A_SLIP:
        raise ValueError(f"must be a hashid, a UUID or an instance id; the API's number {text} is no identifier")
    return text


CvmIdTexts = Annotated[
    list[Annotated[Text, AfterValidator(_check_cvm_id)]],
    BeforeValidator(as_list),
    AfterValidator(CvmIds),
    _ONE_OR_MORE,
]
"""One identifier of a CVM or a list of identifiers."""

Count = Annotated[
    int,
    Field(ge=1, le=_MOST),
    BeforeValidator(_refuse_bool),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, _REFERENCE]}),
]
"""A whole number of at least 1."""

Rate = Annotated[
    float,
    Field(ge=0.001, le=_MOST, allow_inf_nan=False),
    BeforeValidator(_refuse_bool),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0.001}, _REFERENCE]}),
]
"""Requests per second, at least 0.001 (one request in about 17 minutes)."""


class _OrAuto:
    """The word `auto`, or a rate with the error messages of a rate (a union's messages would name both)."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        del source
        return core_schema.no_info_wrap_validator_function(
            lambda value, as_rate: AUTO if value == AUTO else as_rate(value), handler.generate_schema(Rate)
        )


AUTO: Literal["auto"] = "auto"
"""The value of an adaptive rate."""

RateOrAuto = Annotated[
    float | Literal["auto"],
    _OrAuto(),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0.001}, {"const": AUTO}, _REFERENCE]}),
]
"""Requests per second, or `auto`."""

Dispatch = Literal["single", "batch"]
"""How stops are sent: one request per stop, or several stops per request."""

OnFailure = Literal["continue", "stop"]
"""What happens after a step with failed targets."""

NoticeKind = Literal["start", "end", "failure", "approval", "message"]
"""Kinds of notices; `message` is the message of a `notify` step."""

Order = Literal["cost", "teepod", "name"]
"""The order of a step's targets."""


def _check_positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _DURATION}],
            "description": "A number of seconds, or text such as 40s, 10m or 1h30m.",
        },
    ),
]
"""A pydantic type: seconds as a float, from a number or from text such as `1h30m`."""

PositiveDuration = Annotated[Duration, AfterValidator(_check_positive)]
"""A duration above 0, in seconds."""


_PERCENTAGE = {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%?$"}


@dataclass(frozen=True, slots=True)
class Share:
    """A number of things, or a percentage of a total; the field's description names the total.

    Attributes:
        amount: the number, or the percentage.
        percent: whether `amount` is a percentage.
    """

    amount: Decimal
    percent: bool

    @classmethod
    def parse(cls, value: object) -> "Share":
        """Parse a number such as `3`, or a percentage such as `"10%"`.

        Raises:
            ValueError: when the value has another form, is negative, is above 100 %, or is a fraction without `%`.
        """
        if isinstance(value, cls):
            return value
        text = str(value).strip()
        percent = text.endswith("%")
        amount = _parse_amount(value, 'a number such as 3, or a percentage such as "10%"')
        if percent and amount > 100:  # noqa: PLR2004 - percent
            raise ValueError(f"must be at most 100%, not {text!r}")
        if not percent and amount != amount.to_integral_value():
            raise ValueError(f"must be a whole number or a percentage, not {text!r}")
        return cls(amount, percent)

    def of(self, whole: int) -> int:
        """Compute the highest allowed number out of `whole` things, rounded down."""
        return floor(whole * self.amount / 100) if self.percent else int(self.amount)

    def __str__(self) -> str:
        return f"{self.amount.normalize():f}{'%' if self.percent else ''}"


AS_TEXT = PlainSerializer(str, when_used="json-unless-none")
"""Write a value as text in JSON."""

ShareValue = Annotated[
    Share,
    PlainValidator(Share.parse),
    AS_TEXT,
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, _PERCENTAGE, _REFERENCE]}),
]
"""A share in a playbook or in the settings."""


def _parse_percent(value: object) -> Decimal:
    amount = _parse_amount(value, "a percentage such as 50")
    if not 0 < amount <= 100:  # noqa: PLR2004 - percent
        raise ValueError(f"must be above 0 and at most 100, not {str(value)!r}; 0 is never 'no limit'")
    return amount


Percent = Annotated[
    Decimal,
    BeforeValidator(_parse_percent),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
                _PERCENTAGE,
                _REFERENCE,
            ],
        },
    ),
]
"""A percentage above 0 and up to 100, written `50` or `"50%"`."""
