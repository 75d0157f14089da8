"""The OpenAPI document of `/api/…`."""

from typing import Any

from orchestrator import __version__

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_COUNT: Json = {"type": "integer"}
_BOOL: Json = {"type": "boolean"}
_TIME: Json = {"type": "string", "format": "date-time", "description": "UTC."}
_COUNTS: Json = {"type": "object", "additionalProperties": _COUNT}
_ANY: Json = {"type": "object"}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_SCHEMAS: Json = {
    "Error": _object(error=_object(message=_TEXT, hint=_or_null(_TEXT))),
    "Run": {
        **_object(
            run_id=_TEXT,
            playbook=_or_null(_TEXT),
            actor=_or_null(_TEXT),
            started_at=_or_null(_TIME),
            last_record_at=_or_null(_TIME),
            ended_at=_or_null(_TIME),
            state={
                "enum": ["running", "finished", "unfinished", "not_sent", "simulated", "altered", "unreadable"],
            },
            exit_code=_or_null(_COUNT),
            counts=_COUNTS,
            stages=_COUNTS,
            audit_log=_TEXT,
            next=_or_null(_TEXT),
            question=_or_null(_ANY),
            simulated=_BOOL,
            trigger=_or_null(_ANY),
            restores=_or_null(_TEXT),
        ),
        "description": "As in `runs --json`; `workspace_name` and `fleet` where a run has them.",
    },
    "RunningRun": _object(
        run_id=_TEXT,
        playbook=_TEXT,
        actor=_TEXT,
        started_at=_or_null(_TIME),
        workspace_name=_or_null(_TEXT),
        fleet=_or_null(_TEXT),
        stages=_COUNTS,
        targets=_COUNT,
        done=_COUNT,
        failed=_COUNT,
        requests_per_second=_NUMBER,
        limit_per_second=_or_null(_NUMBER),
        seconds_left=_or_null(_NUMBER),
        wave=_or_null(_TEXT),
    ),
    "Question": _object(
        run_id=_TEXT,
        playbook=_or_null(_TEXT),
        step=_TEXT,
        question=_TEXT,
        expires_at=_TIME,
        hash=_TEXT,
        next=_list(_TEXT),
    ),
    "Playbook": _object(
        playbook=_TEXT,
        file=_TEXT,
        timezone=_TEXT,
        next=_or_null(_object(planned=_TIME, starts=_TIME, local={"type": "string", "format": "date-time"})),
        snoozed_until=_or_null(_TIME),
        running=_or_null(_TEXT),
        waiting=_COUNT,
        last=_or_null(_ANY),
        last_success=_or_null(_TIME),
        success_due=_or_null(_TIME),
        error=_or_null(_TEXT),
        sha256=_or_null(_TEXT),
    ),
    "Invalid": _object(
        file=_TEXT,
        line=_or_null(_COUNT),
        error=_TEXT,
        hint=_or_null(_TEXT),
        keeps=_or_null(_TEXT),
        keeps_sha256=_or_null(_TEXT),
    ),
    "Fleet": _object(
        fleet_id=_TEXT,
        playbook=_TEXT,
        started_at=_or_null(_TIME),
        state=_TEXT,
        exit_code=_or_null(_COUNT),
        workspaces=_list(
            _object(
                workspace=_TEXT,
                run_id=_TEXT,
                state=_TEXT,
                targets=_COUNT,
                stages=_COUNTS,
                exit_code=_or_null(_COUNT),
            )
        ),
    ),
    "Kept": _object(cvm=_TEXT, until=_TIME, owner=_TEXT, reason=_TEXT, source=_TEXT, expired=_BOOL),
    "Overview": {
        **_object(
            version=_TEXT,
            now=_TIME,
            began=_or_null(_TIME),
            stopping=_BOOL,
            playbooks=_list(_ref("Playbook")),
            invalid=_list(_ref("Invalid")),
            troubles=_list(_TEXT),
            key=_TEXT,
            api=_object(last_reply_at=_or_null(_TIME), last_status=_or_null(_COUNT), down=_or_null(_TEXT)),
            running=_list(_ref("RunningRun")),
            questions=_list(_ref("Question")),
            kept=_list(_ref("Kept")),
            fleets=_list(_ref("Fleet")),
            runs=_list(_ref("Run")),
            savings=_or_null(_ANY),
        ),
        "description": "With a team store also `team`, `leader` and `standby`.",
    },
}


def _answer(schema: Json, description: str, **more: Json) -> Json:
    refused = {"description": "A token is required.", "content": {"application/json": {"schema": _ref("Error")}}}
    found = {"description": description, "content": {"application/json": {"schema": schema}}}
    return {"responses": {"200": found, "401": refused, **more}}


def _error(description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _ref("Error")}}}


def _events(summary: str) -> Json:
    stream = {"description": "Changed parts of the page.", "content": {"text/event-stream": {"schema": _TEXT}}}
    return {"summary": summary, "responses": {"200": stream, "401": _error("A token is required.")}}


def _query(name: str, description: str, schema: Json = _TEXT) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_RUN_ID: Json = {
    "name": "run_id",
    "in": "path",
    "required": True,
    "description": "The id of a run or of a fleet run.",
    "schema": _TEXT,
}


def build_openapi() -> Json:
    """Build the OpenAPI document."""
    filters = [
        _query("q", "Words in id, playbook, author, workspace, fleet run, state or outcomes."),
        _query("playbook", "A part of the playbook's name, or a pattern with * and ?."),
        _query("state", "The state of the run."),
        _query("exit_code", "The exit code.", _COUNT),
        _query("since", "A duration such as 7d, a date or a time."),
    ]
    listed = _answer(_object(runs=_list(_ref("Run"))), "At most 500 runs.", **{"400": _error("A field is invalid.")})
    report = {"type": "object", "description": "As `report --format json`."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orchestrator serve",
            "version": __version__,
            "description": "The state of the service and its runs. Read-only. New fields may be added.",
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
        "paths": {
            "/api/overview": {
                "get": {"summary": "The state of the service", **_answer(_ref("Overview"), "The state.")}
            },
            "/api/runs": {"get": {"summary": "Runs, newest first", "parameters": filters, **listed}},
            "/api/runs/{run_id}": {
                "parameters": [_RUN_ID],
                "get": {
                    "summary": "The report of a run or a fleet run",
                    **_answer(report, "The report so far.", **{"404": _error("There is no such run.")}),
                },
            },
            "/api/events": {"get": _events("Changes of the overview page, as Server-Sent Events")},
            "/api/runs/{run_id}/events": {
                "parameters": [_RUN_ID, _query("after", "The version of the page; Last-Event-ID wins.", _COUNT)],
                "get": _events("Changes of a run's page, as Server-Sent Events"),
            },
            "/api/openapi.json": {"get": {"summary": "This document", **_answer(_ANY, "The document.")}},
        },
    }
