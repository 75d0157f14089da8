"""Tables and text at any width: ids and commands stay whole."""

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from orchestrator.report.layout import Column, fact_lines, print_lines, print_table, prose_lines
from tests.logs import RUN_ID
from tests.report.runs import console

WIDTHS = st.integers(1, 200)
COLUMNS = [Column("name", wraps=True), Column("app", rank=2), Column("id"), Column("why", wraps=True, rank=1)]


def printed(width: int, rows: list[list[str | Text]]) -> str:
    target, file = console(width)
    target._color_system = None
    print_table(target, COLUMNS, rows)
    return file.getvalue()


@settings(deadline=None)
@given(WIDTHS, st.integers(1, 60), st.integers(1, 60), st.text("ab ", max_size=90))
def test_an_id_is_whole_or_its_column_is_left_out(width: int, app: int, id_: int, prose: str) -> None:
    text = printed(width, [[prose, "a" * app, "i" * id_, Text(f"why {prose}")]])
    assert any("i" * id_ in line.split() for line in text.splitlines())
    if " app" in text.splitlines()[0]:
        assert any("a" * app in line.split() for line in text.splitlines())


def test_the_column_of_the_highest_rank_goes_first() -> None:
    row: list[str | Text] = ["web-1", "a" * 40, "cvm_1", "no capacity"]
    headers = [printed(width, [row]).split("\n")[0].split() for width in (80, 40, 20, 5)]
    assert headers == [["name", "app", "id", "why"], ["name", "id", "why"], ["name", "id"], ["name", "id"]]


@settings(deadline=None)
@given(WIDTHS, st.text("word ", max_size=200))
def test_prose_breaks_between_words_and_never_within_a_command(width: int, prose: str) -> None:
    commands = [f"orchestrator audit verify {RUN_ID}", "`plan --details`"]
    target, _ = console(width)
    text = f"Type {prose} {commands[0]} {prose} {commands[1]}, {prose}"
    lines = [line.plain for line in prose_lines(target, text)]
    assert " ".join(lines).split() == text.split()
    assert all(any(command in line for line in lines) for command in commands)
    longest = max(len(word) for word in [*text.split(), *commands])
    assert all(len(line) <= max(width, 12, longest) + 1 for line in lines), "a comma may follow a command"


def test_a_long_fact_wraps_below_itself_unless_it_is_whole() -> None:
    target, file = console(30)
    facts: list[tuple[str, str | Text]] = [
        ("label", "one two three four five six"),
        ("next", Text(f"orchestrator resume {RUN_ID}", no_wrap=True)),
    ]
    print_lines(target, fact_lines(target, facts))
    assert [line.plain for line in fact_lines(target, facts)] == [
        "label  one two three four five",
        "       six",
        f"next   orchestrator resume {RUN_ID}",
    ]
    assert f"orchestrator resume {RUN_ID}\n" in file.getvalue()
