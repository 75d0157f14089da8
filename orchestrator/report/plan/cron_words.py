"""The meaning of a cron expression in words. The text comes from a library, for plain fields only."""

import re
from collections.abc import Iterator

from cronsim.cronsim import RANGES, Field
from cronsim.explain import Expression

_FIELDS = (Field.MINUTE, Field.HOUR, Field.DAY, Field.MONTH, Field.DOW)
_NAMES = ("minute", "hour", "day of month", "month", "day of week")
_EVEN = {Field.MINUTE: 60, Field.HOUR: 24, Field.MONTH: 12}
"""The range of fields; a step that divides the range is even across rounds."""
_FEW = 8
_WEEK = 7
_SUFFIX = {"1": "first"[-2:], "2": "second"[-2:], "3": "third"[-2:]}


def cron_in_words(cron: str) -> str:
    """Describe a cron expression in words: `At 02:30 on Monday through Friday`."""
    parts = cron.upper().split()
    both_must_hold = parts[2].startswith("*") or parts[4].startswith("*")
    plain = [_simplify_field(field, part) for field, part in zip(_FIELDS, parts, strict=True)]
    if not both_must_hold and "*" in {plain[2], plain[4]}:
        # A match of either field is enough, and one field matches every day.
        plain[2] = plain[4] = "*"
    expression = Expression(["0", *plain])
    expression.day_and = both_must_hold
    return re.sub(r"(?<!1)([123])th\b", lambda found: found[1] + _SUFFIX[found[1]], expression.explain())


def step_warnings(cron: str) -> Iterator[str]:
    """Warn about steps beyond the range of their field, with only a single value left."""
    for field, name, part in zip(_FIELDS, _NAMES, cron.upper().split(), strict=True):
        for term in part.split(","):
            values = _list_values(field, term)
            if "/" in term and values is not None and len(values) == 1 and not term.endswith("/1"):
                yield f"the step of {term!r} is beyond its range: only {name} {values[0]} is left"


def _simplify_field(field: Field, part: str) -> str:
    """Rewrite a field with the same values: a star for all values, and a list in place of a misleading step."""
    values = _list_values(field, part)
    if values is None:
        return part
    every = len(RANGES[field]) - (field is Field.DOW)
    if len(values) == every:
        return "*"
    if "/" not in part:
        return part
    step = part.removeprefix("*/")
    if step.isdigit() and _EVEN.get(field, 1) % int(step) == 0:
        return part
    if not part.startswith("*") and "," not in part and len(values) > _FEW:
        return part
    return ",".join(map(str, values))


def _list_values(field: Field, part: str) -> list[int] | None:
    """List the numbers of a field in order; None for numbers that depend on the month."""
    found = field.parse(part)
    numbers = [each for each in found if isinstance(each, int) and each >= 0]
    if len(numbers) < len(found):
        return None
    return sorted({each % _WEEK if field is Field.DOW else each for each in numbers})
