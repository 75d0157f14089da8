"""The vendor's OpenAPI document as a check on requests and responses. Where the document is absent, tests skip."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

SPEC_PATH = Path(__file__).resolve().parent.parent.parent / "shared" / "phala-cloud" / "openapi.json"

needs_spec = pytest.mark.skipif(not SPEC_PATH.exists(), reason=f"the vendor's OpenAPI document is not at {SPEC_PATH}")

_PREFIX = "/api/v1"
_OK = 200


class SpecError(AssertionError):
    """Raised when a request or a response is not as the document has it."""


class SpecChecker:
    """Checks requests and responses against an OpenAPI document.

    Paths may be given with or without `/api/v1`. Everything is allowed that the document does not forbid, but query
    parameters that it does not know are errors, since a server ignores them silently.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        # Templates without parameters come first: `/cvms/paginated` is not a CVM.
        templates = sorted(document["paths"], key=lambda template: (template.count("{"), template))
        self._patterns = [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", template)), template) for template in templates]

    @classmethod
    def load(cls) -> "SpecChecker":
        """The checker for the vendor's document; for tests marked `needs_spec`."""
        return cls(json.loads(SPEC_PATH.read_text(encoding="utf-8")))

    def operations(self) -> list[tuple[str, str]]:
        """Every method and path template, the latter without the prefix."""
        return [
            (method.upper(), template.removeprefix(_PREFIX))
            for template, methods in self._document["paths"].items()
            for method in methods
        ]

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """The document's entry for this method and path; `SpecError` if it has none."""
        full = path if path.startswith(_PREFIX) else f"{_PREFIX}{path}"
        for pattern, template in self._patterns:
            found = self._document["paths"][template].get(method.lower())
            if found is not None and pattern.fullmatch(full):
                return dict(found)
        raise SpecError(f"{method} {path} is not in the document")

    def check_request(
        self, method: str, path: str, query: Mapping[str, str | list[str]] | None = None, body: object = None
    ) -> None:
        """Check what a client sends: method, path, query parameters as text, and the JSON body (None: no body)."""
        operation = self.operation(method, path)
        known = {each["name"]: each for each in operation.get("parameters", []) if each["in"] == "query"}
        given = dict(query or {})
        for name, value in given.items():
            if name not in known:
                raise SpecError(f"{method} {path}: no query parameter {name!r}; known: {', '.join(known) or 'none'}")
            if not any(self._fits(known[name]["schema"], reading) for reading in _readings(value)):
                raise SpecError(f"{method} {path}: query parameter {name}={value!r} does not fit")
        missing = [name for name, each in known.items() if each.get("required") and name not in given]
        if missing:
            raise SpecError(f"{method} {path}: query parameter {missing[0]!r} is missing")
        declared = operation.get("requestBody")
        if body is None:
            if declared is not None and declared.get("required"):
                raise SpecError(f"{method} {path}: the body is missing")
        elif declared is None:
            raise SpecError(f"{method} {path}: takes no body, but one was sent")
        else:
            self._require(declared["content"]["application/json"]["schema"], body, f"{method} {path}: body")

    def check_response(self, method: str, path: str, status: int, body: object) -> None:
        """Check what a server answers: the status must be documented, and the body fit that status."""
        responses = self.operation(method, path)["responses"]
        if str(status) not in responses:
            raise SpecError(f"{method} {path}: status {status} is not documented; known: {', '.join(responses)}")
        schema = responses[str(status)].get("content", {}).get("application/json", {}).get("schema")
        if schema is not None:
            self._require(schema, body, f"{method} {path}: {status}")

    def check_schema(self, name: str, value: object) -> None:
        """Check a value against one of the document's named schemas, `X[]` meaning a list of X."""
        reference = {"$ref": f"#/components/schemas/{name.removesuffix('[]')}"}
        schema = {"type": "array", "items": reference} if name.endswith("[]") else reference
        self._require(schema, value, name)

    def _fits(self, schema: dict[str, Any], value: object) -> bool:
        return self._validator(schema).is_valid(value)

    def _require(self, schema: dict[str, Any], value: object, where: str) -> None:
        problems = [
            f"{problem.json_path}: {problem.message[:300]}" for problem in self._validator(schema).iter_errors(value)
        ]
        if problems:
            raise SpecError(f"{where}: " + "; ".join(problems[:5]))

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        # References are relative to the document's root, so the schema is given the components for its own root.
        return Draft202012Validator({**schema, "components": self._document["components"]})


def _readings(value: str | list[str]) -> list[object]:
    """What a server may take the text of a query parameter for."""
    readings: list[object] = [value, [value]] if isinstance(value, str) else [value]
    if isinstance(value, str):
        if re.fullmatch(r"-?\d+", value):
            readings.append(int(value))
        if value in {"true", "false"}:
            readings.append(value == "true")
    return readings
