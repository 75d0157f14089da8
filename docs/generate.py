"""Writes what the code knows into the docs: `python docs/generate.py` rewrites, `--check` fails on a difference.

A part between `<!-- generated: NAME -->` and `<!-- /generated -->` belongs to this script, the rest to people.
`config.example.toml` belongs to it as a whole.
"""  # noqa: INP001 - a script, not a package

import ast
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from orchestrator import __version__
from orchestrator.audit.record import Chain, Record, encode_canonical
from orchestrator.audit.verify import check_lines, ignore_record
from orchestrator.billing.rates import NOTES
from orchestrator.cli.main import group
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.errors import GuardError, OrchestratorError
from orchestrator.outcome import COUNTS_AS_FAILURE, Ending, Exit, Outcome, Reason, SkipReason, exit_code
from orchestrator.playbook.firings import Timetable, list_firings
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.schedule import Schedule
from orchestrator.playbook.schema import Guards, Playbook, Protect, json_schema
from orchestrator.playbook.steps import Select, Step
from orchestrator.report.full.csv import COLUMNS
from orchestrator.report.full.document import LogFile, build_report_document
from orchestrator.report.full.timeline import RunTimeline
from orchestrator.report.plan.schedule import explain_document
from orchestrator.runs.cases.schema import cases_schema
from orchestrator.runs.documents import error_document, plan_document, run_document
from orchestrator.runs.records import planned_fields
from orchestrator.settings.load import Settings
from orchestrator.times import format_duration

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "config.example.toml"
_REFERENCE = r"\$\{[^{}]+\}"
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


# Tables and types in words


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def in_words(node: Mapping[str, Any]) -> str:
    """What a JSON Schema node takes, for a person."""
    if "$ref" in node:
        return f"a mapping, see [{_name(node)}](#{_name(node).lower()})"
    if "enum" in node or "const" in node:
        return " or ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if "anyOf" in node:
        return _of_several([option for each in node["anyOf"] for option in each.get("anyOf", [each])])
    kind = node.get("type")
    if kind == "array":
        inner = node["items"]
        options = inner.get("oneOf", [inner])
        if any("$ref" not in each for each in options):
            return "a list of texts"
        return f"a list, see {' or '.join(f'[{_name(each)}](#{_name(each).lower()})' for each in options)}"
    if kind == "object":
        return "a mapping of names to variables, see [Variable](#variable)"
    if kind in ("integer", "number"):
        what = "a whole number" if kind == "integer" else "a number"
        if "exclusiveMinimum" in node:
            return f"{what} above {node['exclusiveMinimum']:g}"
        return f"{what}, at least {node['minimum']:g}" if "minimum" in node else what
    if kind == "boolean":
        return "`true` or `false`"
    return "a path" if node.get("format") == "path" else "text"


def _of_several(options: Sequence[Mapping[str, Any]]) -> str:
    """One of several; that text may stand in a number's place to hold `${variable}` goes without saying."""
    given = [option for option in options if option.get("type") != "null" and option.get("pattern") != _REFERENCE]
    patterns = " ".join(str(option.get("pattern", "")) for option in given)
    if "s)?" in patterns:
        return "a duration"
    if "%" in patterns and any("maximum" in option for option in given):
        return "a percentage above 0 and up to 100, such as `50`"
    if "%" in patterns:
        return 'a whole number, or a percentage such as `"10%"`'
    items = (option["items"] for option in given if option.get("type") == "array")
    listed: Mapping[str, Any] = next(items, {})
    if len(given) == 1 and "anyOf" in listed:
        return f"a list, each {in_words(listed)}"
    if any(option.get("type") == "array" and "$ref" not in option["items"] for option in given):
        return "a text or a list of texts"
    return in_words(given[0])


def _name(node: Mapping[str, Any]) -> str:
    return str(node["$ref"]).rsplit("/", 1)[-1]


def attribute_docstrings(cls: type) -> dict[str, str]:
    """The sentence below each attribute of a class, which Python itself forgets."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    found = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        target = before.targets[0] if isinstance(before, ast.Assign) else None
        if isinstance(target, ast.Name) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[target.id] = inspect.cleandoc(str(after.value.value))
    return found


# The playbook


def playbook_keys() -> str:
    """Every key of a playbook, by the mapping it stands in."""
    schema = json_schema()
    defs = schema["$defs"]
    order = [
        *(
            "Variable",
            "PlaybookGuards",
            "KeepRunning",
            "Times",
            "Protect",
            "Limits",
            "Schedule",
            "Wake",
            "Fleet",
            "Notices",
        ),
        *("Step", "Select", "Result", "StepLimits", "Settle", "Escalation", "Pause", "Notify"),
    ]
    missing = set(defs) - set(order)
    if missing:
        raise SystemExit(f"the schema has parts that docs/generate.py does not know: {missing}")
    parts = [_mapping("Playbook", schema)]
    parts += [_mapping(name, defs[name]) for name in order]
    return "\n".join(parts)


_CASE_WORDS = {
    "version": "`1`",
    "cases": "a list, see [Case](#case)",
    "inventory": "a path, or a list, see [CaseCvm](#casecvm); `{cvms: […]}` is the same",
    "vars": "a mapping of names to texts",
    "now": "a time with an offset, or a date (00:00 UTC)",
    "from": "a time with an offset, or a date",
    "to": "a time with an offset, or a date",
    "at": "a list of times",
    "settings": "`guards`, `keep`, `rate`, `settle` and `billing` of the [settings](settings.md)",
    "targets": "a mapping of steps to lists of texts, or a list",
    "skipped": "a mapping of [codes](exit-codes.md) to lists of texts",
    "warnings": "a list of [codes](json.md#plan)",
    "exit_code": "`0`, `2`, `3` or `4`",
}


def case_keys() -> str:
    """Every key of a cases file but the sections of settings, by the mapping it stands in."""
    schema = cases_schema()
    names = ("Case", "CaseCvm", "Expect", "ExpectedGuards", "ExpectedFirings")
    parts = [_mapping("CasesFile", schema, _CASE_WORDS)]
    parts += [_mapping(name, schema["$defs"][name], _CASE_WORDS) for name in names]
    return "\n".join(parts)


def _mapping(name: str, node: Mapping[str, Any], words: Mapping[str, str] = MappingProxyType({})) -> str:
    required = node.get("required", [])
    rows = [
        (
            f"`{key}`",
            words.get(key) or in_words(value),
            "yes" if key in required else "",
            " ".join(str(value.get("description", "")).split()),
        )
        for key, value in node["properties"].items()
    ]
    return f"### {name}\n\n{node['description']}\n\n{table(('key', 'value', 'required', 'meaning'), rows)}"


# The settings

_EXAMPLES: dict[str, str] = {
    "cloud.api_key": '"phak_0123456789abcdef"',
    "service.token_file": '"/etc/orchestrator/page-tokens"',
    "cloud.api_key_file": '"/etc/orchestrator/key"',
    "cloud.api_key_command": '["pass", "show", "phala/key"]',
    "cloud.profile": '"production"',
    "guards.max_targets": "200",
    "guards.max_percent": "50",
    "guards.keep_running": '[{ per = "app_id", min = 1 }]',
    "guards.not_during": '[{ timezone = "Europe/Berlin", on = ["FRI 17:00..MON 08:00", "2027-12-20..2028-01-02"] }]',
    "guards.only_during": '[{ timezone = "Europe/Berlin", on = ["18:00..06:00", "SAT..SUN"] }]',
    "guards.protect.name": '["kms-*", "gateway-*"]',
    "guards.protect.app_id": '["0x0123456789abcdef0123456789abcdef01234567"]',
    "guards.protect.teepod": '["prod-1"]',
    "keep.file": '"keep.yaml"',
    "approval.keys": '[{ name = "ann", public_key_file = "keys/ann.pub.pem" }, '
    '{ name = "ben", public_key_file = "keys/ben.pub.pem" }]',
    "audit.state_dir": '"/var/lib/orchestrator"',
    "workspaces.NAME.api_key_file": '"/etc/orchestrator/keys/name"',
    "workspaces.NAME.api_key_env": '"NAME_API_KEY"',
    "workspaces.NAME.base_url": '"https://cloud-api.phala.com/api/v1"',
    "workspaces.NAME.requests_per_second": "5",
    "workspaces.NAME.burst": "5",
    "store.url": '"postgresql://orchestrator_worker@db.example.com/orchestrator"',
    "notify.webhook_url": '"https://hooks.example.com/orchestrator"',
    "notify.webhook_url_file": '"/etc/orchestrator/webhook-url"',
    "notify.webhook_secret": '"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"',
    "notify.webhook_secret_file": '"/etc/orchestrator/webhook-secret"',
    "notify.slack_url": '"https://hooks.slack.com/services/T0/B0/x"',
    "notify.slack_url_file": '"/etc/orchestrator/slack-url"',
}
"""What stands, commented out, in the example where a setting has no default, or one that depends on the machine."""


def every_setting() -> Iterator[tuple[str, str, str, str, str | None]]:
    """Section, key, type in words, meaning, and default as TOML (None where there is none that holds everywhere)."""
    schema = Settings.model_json_schema()
    for name, field in Settings.model_fields.items():
        named = get_origin(field.annotation) is dict
        section, model = (f"{name}.NAME", get_args(field.annotation)[1]) if named else (name, field.annotation)
        assert isinstance(model, type)  # noqa: S101 - every section is a model
        assert issubclass(model, BaseModel)  # noqa: S101 - the same
        yield from _section(section, model, schema["$defs"])


def _section(
    section: str, model: type[BaseModel], defs: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, str, str | None]]:
    node = defs[model.__name__]
    later = []
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            later.append((f"{section}.{key}", inner))
            continue
        words = in_words(node["properties"][key]).replace("(#", "(playbook.md#")
        words = words.replace("(playbook.md#approvalkey", "(#approvalkey")
        yield (
            section,
            key,
            words,
            " ".join(str(node["properties"][key].get("description", "")).split()),
            _default(f"{section}.{key}", field.default, words),
        )
    for name, inner in later:
        yield from _section(name, inner, defs)


def _default(name: str, value: object, words: str) -> str | None:
    if name in _EXAMPLES or value is None or value is PydanticUndefined:
        return None
    if words.startswith("a duration") and isinstance(value, float):
        return f'"{format_duration(value)}"'
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(str(value) if isinstance(value, Decimal) else value)


def settings_tables() -> str:
    """Every setting, by section."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    for section, key, words, meaning, default in every_setting():
        shown = f"`{default}`" if default is not None else _no_default(f"{section}.{key}")
        sections.setdefault(section, []).append((f"`{key}`", words, shown, meaning, f"`{variable(section, key)}`"))
    head = ("key", "value", "default", "meaning", "in the environment")
    parts = [f"### `[{section}]`\n\n{table(head, rows)}" for section, rows in sections.items()]
    parts.append(_mapping("ApprovalKey", Settings.model_json_schema()["$defs"]["ApprovalKey"]))
    return "\n".join(parts)


def _no_default(name: str) -> str:
    return "the platform's user state folder" if name == "audit.state_dir" else "none"


def variable(section: str, key: str) -> str:
    """The environment variable of a setting."""
    return "ORCHESTRATOR_" + "__".join([*section.split("."), key]).upper()


def config_example() -> str:
    """`config.example.toml`."""
    lines = [
        "# Every setting of orchestrator, with its default. Copy it to ./config.toml, or to the user's config folder",
        "# (~/.config/orchestrator/config.toml on Linux), and keep what you change. What has no default, or one that",
        "# depends on the machine, is commented out, with an example. The command line (--set) and the environment win",
        "# over this file. A duration is a number of seconds, or text such as 40s, 10m, 1h30m.",
    ]
    last = None
    for section, key, _, meaning, default in every_setting():
        if section != last:
            named = section.startswith("workspaces.")
            lines += ["", f"{'# ' * named}[{section}]"]
            last = section
        lines.append(f"# {meaning}")
        example = _EXAMPLES.get(f"{section}.{key}") or _EXAMPLES.get(f"{section.partition('NAME.')[2]}.{key}")
        lines.append(f"{key} = {default}" if default is not None else f"# {key} = {example}")
    return "\n".join(lines) + "\n"


# The command line


def commands(
    command: click.Command = group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that can be called, with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from commands(inner, (*path, name))
    else:
        yield path, command


def command_line() -> str:
    """Every command with its options."""
    return "\n".join(_command(path, command) for path, command in commands())


def _command(path: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(("orchestrator", *path)))
    usage = " ".join(command.collect_usage_pieces(context))
    text = inspect.cleandoc(command.help or "")
    paragraphs = []
    for paragraph in text.split("\n\n"):
        kept = paragraph.startswith(("\b\n", "\\b\n"))
        paragraphs.append(f"```\n{paragraph.split(chr(10), 1)[1]}\n```" if kept else paragraph)
    options = [
        option for option in command.get_params(context) if isinstance(option, click.Option) and option.name != "help"
    ]
    rows = [(_option(option, context), _help(option, context)) for option in options]
    example = (command.epilog or "").partition("\n\n")[0].replace("\b", "").strip().replace("Example: ", "")
    parts = [
        f"### orchestrator {' '.join(path)}",
        f"```\norchestrator {' '.join(path)} {usage}\n```",
        *paragraphs,
        *([table(("option", "meaning"), rows)] if rows else []),
    ]
    if example:
        parts.append(f"```sh\n{example}\n```\n")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _option(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" `{option.make_metavar(context)}`"
    return names + value


def _help(option: click.Option, context: click.Context) -> str:
    extra = option.get_help_extra(context)
    notes = [f"default {extra['default']}"] if "default" in extra else []
    notes += ["can be given more than once"] if option.multiple else []
    return (option.help or "") + (f" ({'; '.join(notes)})" if notes else "")


# Outcomes and exit codes

_EXITS = {
    Exit.OK: "every target settled as wanted; CVMs already as wanted, or deleted instead of stopped, count too",
    Exit.BUG: "a bug in orchestrator; the traceback is on stderr",
    Exit.USAGE: "an error in the usage, the playbook or the settings",
    Exit.GUARD: "refused by a guard or a freeze; or not approved; or not confirmed; or another process executes "
    "the run, or acts on the same CVMs; "
    "or every target of a plan file or of `restore` has changed; or a question was refused before the first request; "
    "or there is no question for `approve` to answer",
    Exit.NO_MATCH: "the selectors matched no CVM, or the run to undo stopped no CVM",
    Exit.CLOUD: "the cloud is unreachable or refuses the key, before the first request; or the database of "
    "the team store is unreachable",
    Exit.FAILED: "finished; some targets failed, were refused, did not stay as wanted, or were skipped by "
    "`resume`; or a selected CVM was skipped because its app, teepod or name is unknown (`fact_unknown`); "
    "or an unreachable workspace was left out (`--skip-unreachable`)",
    Exit.UNSETTLED: "finished; some targets did not settle in time",
    Exit.ENDED_EARLY: "ended early: `max_failures`, `on_failure: stop`, a canary, a question without a yes, a freeze, "
    "or `abandon`; or, after the first request: a refused key, an unwritable log, an unreachable cloud, or a run that "
    "took too long",
    Exit.SIGINT: "interrupted by Ctrl-C; `resume` continues the run",
    Exit.SIGTERM: "terminated; `resume` continues the run",
}


def exit_codes() -> str:
    """The exit codes."""
    return table(("code", "meaning"), [(str(int(code)), _EXITS[code]) for code in Exit])


def outcomes() -> str:
    """The outcomes of a target, and what each does to the run."""
    meanings = attribute_docstrings(Outcome)
    rows = [
        (
            f"`{outcome.value}`",
            meanings[outcome.name],
            str(int(exit_code(Ending.COMPLETED, {outcome: 1}, anything_sent=True))),
            "yes" if outcome in COUNTS_AS_FAILURE else "no",
        )
        for outcome in Outcome
    ]
    return table(("outcome", "meaning", "exit code it leads to", "counts towards `max_failures`"), rows)


def skip_reasons() -> str:
    """The codes of CVMs that are left alone."""
    meanings = attribute_docstrings(SkipReason)
    rows = [(f"`{code.value}`", meanings[code.name], f"`{Reason(code, '…').text}`") for code in SkipReason]
    return table(("code", "meaning", "reason"), rows)


def warning_codes() -> str:
    """The codes of a plan's warnings."""
    meanings = attribute_docstrings(WarningCode)
    return table(("code", "meaning"), [(f"`{code.value}`", meanings[code.name]) for code in WarningCode])


_ENDINGS = {
    Ending.COMPLETED: "every target has an outcome",
    Ending.MAX_FAILURES: "more targets failed than `max_failures` allows",
    Ending.STEP_FAILED: "a target of a step with `on_failure: stop` did not end as wanted",
    Ending.CANARY_FAILED: "a CVM of a step's first wave did not end as wanted",
    Ending.NOT_APPROVED: "a question of a `pause` step was refused, or not answered in time",
    Ending.FROZEN: "a freeze (`guards.not_during`, `guards.only_during`) began before a wave, or during a question",
    Ending.KEY_REFUSED: "the API answered 401",
    Ending.LOG_FAILED: "the audit log could not be written",
    Ending.CLOUD_DOWN: "the cloud was down for longer than `settle.cloud_down`",
    Ending.TIMED_OUT: "the run took longer than `settle.whole_run`",
    Ending.SIGINT: "Ctrl-C",
    Ending.SIGTERM: "SIGTERM",
    Ending.CANCELLED: "a person cancelled the run with `cancel`",
    Ending.ABANDONED: "a person ended the unfinished run with `abandon`",
}


def endings() -> str:
    """Why a run ends, and whether it can be resumed."""
    rows = []
    for ending in Ending:
        before, after = (int(exit_code(ending, {}, anything_sent=sent)) for sent in (False, True))
        code = str(after) if before == after else f"{after}; {before} when nothing was sent"
        if ending is Ending.COMPLETED:
            code = "by the outcomes above"
        rows.append((f"`{ending.value}`", _ENDINGS[ending], code, "yes" if ending.resumable else "no"))
    return table(("ending", "why", "exit code", "can be resumed"), rows)


# Billing


def billing_notes() -> str:
    """The note codes."""
    return table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in NOTES.items()])


# JSON documents, made by the code itself from a small fleet


def _cvm(number: int, name: str, status: str) -> Cvm:
    return Cvm(
        ref=CvmRef(
            id=f"cvm_{number:012d}",
            vm_uuid=f"00000000-0000-4000-8000-{number:012d}",
            name=name,
            app_id="3f2a" * 10,
            teepod_id=101,
            teepod="prod-1",
        ),
        status=status,
        disk_gb=Decimal(20),
        gpus=0,
        billing_period="hourly",
        hourly_compute=Decimal("0.058"),
        hourly_disk=Decimal("0.00278"),
    )


def _plan() -> Plan:
    select = Select(name=["worker-*", "kms-*"])
    playbook = Playbook(name="stop-workers", steps=[Step(name="workers", action="stop", select=select)])
    guards = Guards(max_targets=20, max_percent=Decimal(60), protect=Protect(name=["kms-*"]))
    fleet = [_cvm(1, "worker-1", "running"), _cvm(2, "worker-2", "stopped"), _cvm(3, "kms-1", "running")]
    return make_plan(
        playbook,
        fleet,
        guards=guards,
        limits=RunLimits(5.0, 5, 10, 10),
        settle_timeout=600.0,
        price_list={},
        storage_usd_per_gb_hour=Decimal("0.000139"),
        batch_size=500,
    )


def _records() -> list[Record]:
    plan = _plan()
    target = plan.targets[0]
    about = {"step": target.step, "action": target.action, "cvm": target.cvm.ref.document()}
    billing = target.note.document("2026-11-23T08:00:00.120000Z")
    answer = {"attempt": 1, "http_status": 200, "request_id": "req_1", "latency_ms": 41}
    events: list[tuple[str, dict[str, object]]] = [
        ("run.started", {}),
        ("run.planned", planned_fields(plan, 3)),
        ("action.intent", {**about, "attempt": 1}),
        ("action.accepted", {**about, **answer, "observed": False, "status": "stopping", "billing": billing}),
        ("target.status", {**about, "status": "stopped", "in_progress": False}),
        ("target.settled", {**about, "outcome": "settled", "status": "stopped", "seconds": 4.161, "reason": None}),
        ("run.finished", {"ending": "completed", "counts": {"settled": 1}, "exit_code": 0}),
    ]
    chain = Chain("20261123T080000Z-4f2a")
    moment = datetime(2026, 11, 23, 8, tzinfo=UTC)
    return [chain.append(event, fields, moment)[0] for event, fields in events]


def _json(document: object) -> str:
    return f"```json\n{json.dumps(document, indent=2)}\n```\n"


def plan_json() -> str:
    """What `plan --json` prints."""
    return _json(plan_document(_plan()))


def schedule_json() -> str:
    """What `schedule explain --json` prints."""
    keys = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "jitter": "10m", "not_on": "2027-03-29"}
    timetable = Timetable("nightly-cost-stop", Schedule.model_validate(keys))
    start, end = datetime(2027, 3, 27, 23, tzinfo=UTC), datetime(2027, 3, 29, 22, tzinfo=UTC)
    file = "playbooks/nightly-cost-stop.yaml"
    return _json(explain_document(timetable, file, list_firings(timetable, start, end), (start, end)))


def run_json() -> str:
    """What `run --json` prints."""
    path = Path("/home/me/.local/state/orchestrator/runs/20261123T080000Z-4f2a.jsonl")
    return _json(run_document(RunTimeline.from_records(_records()).state, 0, path))


def report_json() -> str:
    """What `report --json` prints."""
    written = [encode_canonical(record) + b"\n" for record in _records()]
    log = LogFile(
        Path("/home/me/.local/state/orchestrator/runs/20261123T080000Z-4f2a.jsonl"),
        sum(map(len, written)),
        hashlib.sha256(b"".join(written)).hexdigest(),
        check_lines(written, ignore_record),
    )
    moment = datetime(2026, 11, 23, 9, tzinfo=UTC)
    return _json(build_report_document(RunTimeline.from_records(_records()), log, made_at=moment, version=__version__))


def report_columns() -> str:
    """The columns of `report --format csv`."""
    return table(("column", "meaning"), [(f"`{column}`", meaning) for column, meaning in COLUMNS.items()])


def error_json() -> str:
    """What a command with `--json` prints when it ends with 2 to 5."""
    return _json(
        error_document(
            GuardError(
                "refused by a guard: max_targets: 240 targets, at most 200 allowed",
                hint="narrow the select, or raise the guard on purpose",
            )
        )
    )


def error_codes() -> str:
    """The `code` of every error."""
    found: dict[str, type[OrchestratorError]] = {}
    todo = [OrchestratorError]
    while todo:
        kind = todo.pop(0)
        found.setdefault(kind.code, kind)
        todo += kind.__subclasses__()
    rows = [
        (f"`{code}`", str(int(kind.exit_code)), (kind.__doc__ or "").split("\n")[0].removeprefix("Raised ").rstrip("."))
        for code, kind in sorted(found.items(), key=lambda item: item[1].exit_code)
        if kind is not OrchestratorError
    ]
    return table(("code", "exit code", "given"), rows)


def accepted_record() -> str:
    """An `action.accepted` record, as an example."""
    return _json(next(record for record in _records() if record["event"] == "action.accepted"))


PARTS: dict[str, Callable[[], str]] = {
    "playbook-keys": playbook_keys,
    "case-keys": case_keys,
    "settings": settings_tables,
    "command-line": command_line,
    "exit-codes": exit_codes,
    "outcomes": outcomes,
    "skip-reasons": skip_reasons,
    "warning-codes": warning_codes,
    "endings": endings,
    "billing-notes": billing_notes,
    "plan-json": plan_json,
    "schedule-json": schedule_json,
    "run-json": run_json,
    "report-json": report_json,
    "report-columns": report_columns,
    "error-json": error_json,
    "error-codes": error_codes,
    "accepted-record": accepted_record,
}


def rewritten(text: str) -> str:
    """A page with its generated parts as the code has them now."""

    def part(match: re.Match[str]) -> str:
        if match.group(2) not in PARTS:
            raise SystemExit(f"there is no generated part {match.group(2)!r}; known: {', '.join(PARTS)}")
        return f"{match.group(1)}\n{PARTS[match.group(2)]()}\n{match.group(3)}"

    return _PART.sub(part, text)


def wanted() -> dict[Path, str]:
    """Every file that this script has a hand in, as it should be."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    files = {page: rewritten(page.read_text(encoding="utf-8")) for page in pages}
    return {**files, EXAMPLE: config_example()}


def main(arguments: list[str]) -> int:
    """Rewrite, or with `--check` say what differs."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    stale = []
    for path, text in wanted().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not arguments:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}: {'differs from the code' if arguments else 'rewritten'}\n")
    return 1 if stale and arguments else 0


_UNEXPLAINED: set[Enum] = (set(Exit) - set(_EXITS)) | (set(Ending) - set(_ENDINGS))
if _UNEXPLAINED:
    raise SystemExit(f"docs/generate.py lacks words for {_UNEXPLAINED}")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
