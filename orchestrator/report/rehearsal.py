"""A rehearsal for people: the foretold end, its times and its costs; or a table of many seeds."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.outcome import Exit
from orchestrator.report.layout import (
    Column,
    fact_lines,
    moment,
    print_lines,
    print_table,
    prose_lines,
    warning_lines,
)
from orchestrator.report.phrases import ENDINGS, meaning_of
from orchestrator.report.run.text import STYLES, describe_money
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

_Document = Mapping[str, Any]
_MOST_WAVES = 40
_MOST_TROUBLES = 20
FOOT = "This was a rehearsal: no CVM was changed, and no run was recorded."
"""The last line of every rehearsal."""


def print_rehearsal(console: Console, document: _Document) -> None:
    """Print the result of a rehearsal.

    Args:
        console: the console to print on.
        document: the document of `rehearse --json`.
    """
    name = safe_text(document["playbook"])
    head = Text.assemble(("Rehearsal of ", "dim"), (name, "bold"), f"  {describe_end(document)}")
    print_lines(console, prose_lines(console, head))
    if document["seconds"] is not None:
        counts = document["counts"].items()
        tally = Text("  ").join(Text(f"{number} {outcome}", STYLES.get(outcome, "")) for outcome, number in counts)
        console.print(tally if counts else Text("nothing to do: no targets"))
    console.print()
    print_lines(console, fact_lines(console, list_facts(document)))
    waves = document["waves"]
    if len(waves) > 1:
        console.print()
        _print_waves(console, waves)
    if document["troubles"]:
        console.print()
        _print_troubles(console, document["troubles"])
    for each in document["warnings"]:
        print_lines(console, warning_lines(console, each["message"]))
    console.print()
    print_lines(console, prose_lines(console, FOOT))


def describe_end(result: _Document) -> str:
    """Describe the foretold end of a run, with its exit code."""
    code = result["exit_code"]
    return f"{'refused' if code == Exit.GUARD and result['seconds'] is None else meaning_of(code)} (exit {code})"


def list_facts(document: _Document) -> Iterator[tuple[str, str | Text]]:
    """List the facts of a rehearsal, as pairs of label and text."""
    inventory, cause = document["inventory"], document["ended_by"]
    read_at = moment(inventory["read_at"])
    yield "fleet", Text(f"{plural(inventory['cvms'], 'CVM')} of {safe_text(inventory['source'], 300)}, read {read_at}")
    for name, basis in document["assumed"].items():
        yield name, Text(basis)
    if document["faults"] is not None:
        yield "faults", Text(safe_text(document["faults"], 300))
    if cause is not None:
        why = cause["message"] or ENDINGS.get(document["ending"] or "", "")
        yield "ended by", Text.assemble((safe_text(cause["name"]), "yellow"), f"  {safe_text(why, 300)}")
    if document["seconds"] is None:
        return
    yield "took", format_duration(document["seconds"])
    yield "requests", _describe_requests(document["requests"])
    yield "done", _describe_shares(document["down"])
    if document["deadline"] is not None:
        yield "deadline", _describe_deadline(document["deadline"])
    for each in document["questions"]:
        asked = _format_seconds(each["asked_s"])
        yield "question", Text(f"{safe_text(each['step'])}, asked after {asked}: {safe_text(each['answer'])}")
    if document["escalated"]:
        yield "escalated", f"{plural(document['escalated'], 'CVM')} force-stopped: not shut down in time"
    if document["kills"]:
        yield "kills", f"the process was killed and resumed {plural(document['kills'], 'time')}"
    money = document["billing"]
    if money.get("triggered") or "starts" in money:
        yield "billing", describe_money(money)


def _describe_requests(requests: _Document) -> str:
    changing = f"{requests['total']:,}, of which {requests['changing']:,} change something"
    if requests["first_s"] is None:
        return changing
    first, last = _format_seconds(requests["first_s"]), _format_seconds(requests["last_s"])
    return f"{changing}; first after {first}, last after {last}"


def _describe_shares(shares: _Document) -> str:
    words = {"p50": "50 %", "p90": "90 %", "p100": "100 %"}
    return ", ".join(
        f"{word} never" if shares[key] is None else f"{word} after {_format_seconds(shares[key])}"
        for key, word in words.items()
    )


def _describe_deadline(deadline: _Document) -> Text:
    limit = format_duration(deadline["seconds"])
    if deadline["met"]:
        return Text.assemble(("met  ", "green"), limit)
    late = "" if deadline["late"] is None else f"{plural(deadline['late'], 'CVM')} without a request within {limit}"
    over = f"; the last request is {_format_seconds(deadline['over_s'])} late" if deadline["over_s"] else ""
    return Text.assemble(("NOT MET  ", "bold yellow"), late, over)


def _format_seconds(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


def _print_waves(console: Console, waves: Sequence[_Document]) -> None:
    columns = [Column("step", wraps=True), Column("wave", right=True), Column("CVMs", right=True)]
    columns += [Column("first request", right=True), Column("settled", right=True)]
    rows = [
        [
            safe_text(each["step"], 64),
            str(each["wave"]),
            f"{each['targets']:,}",
            _format_seconds(each["first_s"]),
            _format_seconds(each["settled_s"]),
        ]
        for each in waves[:_MOST_WAVES]
    ]
    print_table(console, columns, rows)
    if len(waves) > _MOST_WAVES:
        console.print(f"and {len(waves) - _MOST_WAVES} more waves: add --json")


def _print_troubles(console: Console, troubles: Sequence[_Document]) -> None:
    columns = [Column("CVM", wraps=True), Column("teepod", rank=1), Column("outcome"), Column("why", wraps=True)]
    rows: list[list[str | Text]] = [
        [
            safe_text(each["cvm"]["name"], 64),
            safe_text(each["cvm"]["teepod"] or "-", 64),
            Text(each["outcome"], STYLES.get(each["outcome"], "")),
            safe_text(each["reason"] or "-", 300),
        ]
        for each in troubles[:_MOST_TROUBLES]
    ]
    print_table(console, columns, rows)
    if len(troubles) > _MOST_TROUBLES:
        console.print(f"and {len(troubles) - _MOST_TROUBLES:,} more: add --json")


def print_seeds(console: Console, playbook: str, document: _Document) -> None:
    """Print the results of many seeds.

    Args:
        console: the console to print on.
        playbook: the name of the playbook.
        document: the document of `rehearse --seeds N --json`.
    """
    seeds = document["seeds"]
    head = Text.assemble(("Rehearsal of ", "dim"), (safe_text(playbook), "bold"), f"  {plural(len(seeds), 'seed')}")
    print_lines(console, prose_lines(console, head))
    columns = [Column(""), Column("seed", right=True), Column("exit", right=True), Column("took", right=True)]
    columns += [Column("outcomes", wraps=True), Column("ended by", wraps=True)]
    rows = [_seed_row(name, document[name]) for name in ("worst", "median", "best")]
    print_table(console, columns, rows)
    console.print()
    ends = Counter((each["exit_code"], describe_end(each)) for each in seeds)
    facts = [(plural(number, "seed"), end) for (_, end), number in sorted(ends.items())]
    causes = Counter(each["ended_by"]["name"] for each in seeds if each["ended_by"] is not None)
    facts += [("ended by", f"{safe_text(name)}: {plural(number, 'seed')}") for name, number in causes.most_common()]
    print_lines(console, fact_lines(console, facts))
    worst = document["worst"]["seed"]
    console.print()
    print_lines(console, prose_lines(console, f"The worst seed in full: add --seed {worst}. {FOOT}"))


def _seed_row(name: str, result: _Document) -> list[str | Text]:
    counts = ", ".join(f"{number} {outcome}" for outcome, number in result["counts"].items()) or "-"
    cause = result["ended_by"]
    took = _format_seconds(result["seconds"])
    return [name, str(result["seed"]), str(result["exit_code"]), took, counts, cause["name"] if cause else "-"]
