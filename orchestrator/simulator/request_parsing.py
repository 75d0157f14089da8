"""Parse the query and the body of a request with the models of an operation."""

import json
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from orchestrator.simulator.operations.call import ApiOperation
from orchestrator.simulator.refusals import Refusal, invalid_request


def read_query(operation: ApiOperation, query: str) -> BaseModel | None:
    """Parse the query with the operation's model; raises a 422 with every problem, ignores unknown parameters."""
    if operation.query is None:
        return None
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        given.setdefault(name, []).append(value)
    fields = operation.query.model_fields
    values: dict[str, Any] = {
        name: found if _is_list(fields[name].annotation) else found[-1]
        for name, found in given.items()
        if name in fields
    }
    try:
        return operation.query.model_validate(values)
    except ValidationError as error:
        raise _refuse_request("query", error) from error


def read_body(operation: ApiOperation, body: bytes) -> BaseModel | None:
    """Parse the body with the operation's model; raises a 422 with every problem."""
    if operation.body is None:
        return None
    if not body:
        if operation.body_required:
            raise invalid_request([{"loc": ["body"], "msg": "Field required", "type": "missing"}])
        return None
    try:
        value = json.loads(body)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        problem = {"loc": ["body", position], "msg": "JSON decode error", "type": "json_invalid"}
        raise invalid_request([problem]) from error
    try:
        return operation.body.model_validate(value)
    except ValidationError as error:
        raise _refuse_request("body", error) from error


def list_problems(where: str, error: ValidationError) -> list[dict[str, Any]]:
    """List the problems of a validation error as `loc`, `msg` and `type`."""
    return [
        {"loc": [where, *problem["loc"]], "msg": problem["msg"], "type": problem["type"]}
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _refuse_request(where: str, error: ValidationError) -> Refusal:
    return invalid_request(list_problems(where, error))


def _is_list(annotation: object) -> bool:
    return any(get_origin(part) is list for part in (annotation, *get_args(annotation)))
