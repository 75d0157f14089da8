"""Messages for pydantic's findings: the key, the error, and a hint for the author of the file."""

import difflib
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_WANTED = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "decimal_parsing": "a number",
    "bool_parsing": "true or false",
    "string_type": "text",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "list_type": "a list",
    "finite_number": "a finite number",
}

Place = tuple[str | int, ...]


def format_path(place: Place) -> str:
    """Format a path in a document: `steps[0].select.name`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def suggest_nearest(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return a hint with the nearest known word.

    Args:
        name: the unknown word.
        known: the known words.
        otherwise: the hint without a near word; default: a list of all known words.
    """
    words = sorted(set(known))
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if otherwise is not None:
        return otherwise
    return f"known here: {', '.join(words)}" if words else ""


def explain_fault(
    fault: ErrorDetails,
    root: Any,  # noqa: ANN401 - any annotation
    prefix: Place = (),
) -> tuple[Place, str, str | None]:
    """Return the path, the message and the hint of a finding.

    Args:
        fault: an entry of `ValidationError.errors()`.
        root: the model, or another annotation, of the validated part.
        prefix: the path of the validated part in the whole document.
    """
    inner: Place = tuple(part for part in fault["loc"] if part != "[key]")  # pydantic's mark of a key of a mapping
    kind, given, context = fault["type"], fault["input"], fault.get("ctx", {})
    place = (*prefix, *inner)
    key = format_path(place)
    if kind == "extra_forbidden":
        return (
            place,
            f"unknown key {place[-1]!r}{_inside(place)}",
            suggest_nearest(str(place[-1]), _keys_at(root, inner[:-1])),
        )
    if kind == "missing":
        return place, f"the key {place[-1]!r} is missing{_inside(place)}", None
    if kind in {"literal_error", "enum"}:
        return place, f"{key} must be {context['expected']}, not {_shown(given)}", None
    if kind in {"greater_than_equal", "greater_than"}:
        bound = f"at least {context['ge']}" if "ge" in context else f"above {context['gt']}"
        is_zero_limit = str(given).strip("0.%") == "" and not key.endswith("at_least")
        hint = "0 is never 'no limit'; remove the key for no limit" if is_zero_limit else None
        return place, f"{key} must be {bound}, not {_shown(given)}", hint
    if kind in {"less_than_equal", "less_than"}:
        bound = f"at most {context['le']}" if "le" in context else f"below {context['lt']}"
        return place, f"{key} must be {bound}, not {_shown(given)}", None
    if kind == "too_short":
        return place, f"{key} is empty", "it needs at least one entry"
    if kind in _WANTED:
        return place, f"{key} must be {_WANTED[kind]}, not {_shown(given)}", None
    message = str(context["error"]) if kind == "value_error" else fault["msg"]
    return place, f"{key}: {message}" if key else message, context.get("hint")


def _inside(place: Place) -> str:
    return f" in {format_path(place[:-1])}" if len(place) > 1 else ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…{text[-1]}"  # noqa: PLR2004 - a line's worth


def _keys_at(root: Any, place: Place) -> list[str]:  # noqa: ANN401 - any annotation
    """List the keys of the model at this path."""
    annotation = root
    for part in place:
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        model = _model_in(annotation)
        if model is not None and isinstance(part, str):
            field = model.model_fields.get(part)
            annotation = field.annotation if field else None
    model = _model_in(annotation)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None
