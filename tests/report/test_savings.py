"""Savings as text, JSON, CSV, page and chart."""

import csv
import io
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from xml.etree.ElementTree import fromstring

import pytest

from orchestrator.billing.savings import By, ChargedStop, add_up, clip_periods, split_into_days, spread_over_time
from orchestrator.billing.stopped_period import Power, find_stopped_periods
from orchestrator.history.saved import SavingsReport
from orchestrator.report.savings.document import savings_csv, savings_document
from orchestrator.report.savings.page import savings_page, savings_svg
from orchestrator.report.savings.text import savings_lines
from tests.billing.stops import at, down, ref, seen, started
from tests.billing.test_savings import charged
from tests.docs.pages import ROOT

EVIL = '=cmd|"x"!A1\x1b[31m<script>alert(1)</script>\n\u202e' + "x" * 80
SVG = "{http://www.w3.org/2000/svg}"


def made(by: By = "playbook", until: float = 24 * 40) -> SavingsReport:
    """Build savings with unknown rates, open and ended periods, and charges."""
    until_at = at(until)
    story: list[Power] = [
        *(down(0, 1, rate="0.1234567"), started(10, 1), down(20, 1, rate="0.1234567", playbook=EVIL), seen(31.5, 1)),
        *(down(3, 2, rate=None, storage=None), started(0, 3), down(5, 3, rate="2.5", has_gpus=True)),
        *(down(24 * day, 4, playbook="+weekend") for day in range(0, 40, 2)),
        *(started(24 * day + 12, 4) for day in range(0, 40, 2)),
    ]
    found = list(clip_periods(find_stopped_periods(story, until_at), at(0), until_at))
    stops = [charged("0.0204"), charged("0.0013"), charged(None, 3, "pending"), ChargedStop(ref(4), at(1), "r", EVIL)]
    rows, together = add_up(found, stops, by, at(0))
    edges = split_into_days(at(0), until_at)
    left_out = Counter({"altered": 2, "simulated": 1})
    asked = [f"2026110{day}T080000Z-0000" for day in range(1, 6)]
    return SavingsReport(at(0), until_at, by, rows, together, edges, spread_over_time(found, edges), asked, 7, left_out)


@pytest.mark.parametrize("by", ["playbook", "app", "teepod"])
def test_the_text_fits_sixty_columns_without_control_characters(by: By) -> None:
    lines = list(savings_lines(made(by), 60))
    assert max(map(len, lines)) <= 60
    assert all(line.isprintable() for line in lines)
    text = " ".join(" ".join(lines).split())
    for said in (
        "Savings from 2026-11-01 00:00Z to",
        "Saved compute: an estimate",
        "upper bound. $1.42 of the saved compute belongs to such periods, and may be less.",
        "1 have no known compute rate and 1 no known storage rate",
        "of 24-hour minimums were paid for hours after the stops",
        "The charges of 2 stops are not known yet",
        "2 altered logs excluded",
        "+ after an amount: parts are unknown.",
        "orchestrator reconcile 20261101T080000Z-0000",
        "and 2 more",
    ):
        assert said in text


def test_an_amount_with_an_unknown_part_has_a_mark() -> None:
    nightly = next(line for line in savings_lines(made(), 100) if line.startswith("nightly"))
    assert nightly.split()[2].endswith("+")
    assert nightly.split()[4] == "$0.02+"
    evil = next(line for line in savings_lines(made(), 100) if line.startswith("=cmd"))
    assert evil.split()[-1] == "?"


def test_an_unknown_charge_has_a_mark_and_a_sentence() -> None:
    stops = [charged("0.0204"), charged(None, 2, "unknown")]
    rows, together = add_up([], stops, "teepod", at(0))
    edges = split_into_days(at(0), at(24))
    text = " ".join(savings_lines(SavingsReport(at(0), at(24), "teepod", rows, together, edges, [Decimal(0)]), 100))
    assert "$0.02+" in text
    assert "The charges of 1 stop can't be found out: these amounts are not in the totals." in text
    assert "+ after an amount: parts are unknown." in text
    rows, together = add_up([], stops[1:], "teepod", at(0))
    lines = savings_lines(SavingsReport(at(0), at(24), "teepod", rows, together, edges, [Decimal(0)]), 100)
    assert any(line.endswith(" ?") for line in lines)


def test_a_rounding_note_appears_only_where_rounded_rows_differ() -> None:
    thirds = [down(0, number, rate="0.004", storage="0", playbook=f"p{number}") for number in (1, 2, 3)]

    def said(hours: float) -> bool:
        found = list(clip_periods(find_stopped_periods(thirds, at(hours)), at(0), at(hours)))
        rows, together = add_up(found, [], "playbook", at(0))
        saved = replace(made(), rows=rows, together=together, savings=[Decimal(0)], edges=[at(0), at(hours)])
        words = "Figures are rounded one by one"
        in_text = any(words in line for line in savings_lines(saved, 200))
        assert (words in savings_page(saved).decode()) is in_text
        return in_text

    assert (said(1), said(2.5)) == (True, False)


def test_without_anything_to_tell_it_says_so() -> None:
    rows, together = add_up([], [], "playbook", at(0))
    empty = SavingsReport(at(0), at(24), "playbook", rows, together, [at(0), at(24)], [Decimal(0)])
    assert "No CVM was stopped in this time range" in "\n".join(savings_lines(empty, 80))
    excluded = replace(empty, left_out=Counter(simulated=3))
    assert "3 simulated runs not counted; --simulated counts only simulated runs." in savings_lines(excluded, 80)
    assert b"<svg" in savings_page(empty)
    assert savings_document(empty)["total"]["compute_usd"] == "0"


def test_the_document_is_json_and_its_rows_add_up_to_its_total() -> None:
    document = json.loads(json.dumps(savings_document(made())))
    for key in ("known_compute_usd", "known_storage_usd", "known_gpu_minimums_usd"):
        assert sum(Decimal(row[key]) for row in document["rows"]) == Decimal(document["total"][key])
    assert sum(Decimal(row["charges"]["charged_usd"]) for row in document["rows"]) == Decimal("0.0217")
    assert (document["total"]["compute_usd"], document["total"]["compute_unknown"]) == (None, 1)
    assert document["total"]["charges"]["charged_usd"] == "0.0217"
    assert sum(Decimal(piece["known_compute_usd"]) for piece in document["over_time"]) == pytest.approx(
        Decimal(document["total"]["known_compute_usd"]), abs=Decimal("0.001")
    )
    assert len(document["assumptions"]) >= 8


def test_the_example_in_the_docs_has_every_field() -> None:
    page = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
    example = json.loads(page.split("## savings")[1].split("```json")[1].split("```")[0])
    document = savings_document(made())
    assert example.keys() == document.keys()
    assert example["rows"][0].keys() == document["rows"][0].keys()
    assert example["rows"][0]["charges"].keys() == document["rows"][0]["charges"].keys()
    assert example["over_time"][0].keys() == document["over_time"][0].keys()


def test_csv_is_rows_that_add_up_and_none_of_its_cells_is_a_formula() -> None:
    saved = made()
    lines = list(csv.DictReader(io.StringIO(savings_csv(saved))))
    assert {line["playbook"][:2] for line in lines} == {"ni", "'+", "'="}
    assert all("\x1b" not in line["playbook"] and "\n" not in line["playbook"] for line in lines)
    assert sum(Decimal(line["known_compute_usd"]) for line in lines) == saved.together.compute.usd
    assert sum(int(line["stops"]) for line in lines) == 4


def test_the_page_loads_nothing_and_no_name_becomes_markup() -> None:
    page = savings_page(made()).decode()
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "src=" not in page
    assert page.count("<svg") == 2


@pytest.mark.parametrize("length", [0.001, 5, 24 * 30, 24 * 800])
def test_the_chart_is_an_svg_file_with_a_column_per_day_of_savings(length: float) -> None:
    saved = made(until=length)
    svg = fromstring(savings_svg(saved))  # noqa: S314 - made here
    bars = svg.findall(f".//{SVG}rect")
    assert len(bars) == sum(usd > 0 for usd in saved.savings)
    assert all(float(bar.get("y", "")) >= 0 and float(bar.get("x", "")) >= 0 for bar in bars)
    assert all(float(bar.get("x", "")) + float(bar.get("width", "")) <= 1000 for bar in bars)
    assert all(float(bar.get("y", "")) + float(bar.get("height", "")) <= 260 for bar in bars)
    names = svg.findall(f".//{SVG}g[@class='axis x']/{SVG}text")
    assert 1 <= len(names) <= 11


def test_columns_are_days_or_as_many_days_as_fit() -> None:
    assert len(split_into_days(at(3), at(3) + timedelta(days=30))) == 32
    assert len(split_into_days(at(0), at(0) + timedelta(days=3650))) <= 62


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_id_of_an_app_is_never_cut(width: int) -> None:
    saved = made("app")
    saved = replace(saved, rows=[replace(row, key=f"{n:040x}") for n, row in enumerate(saved.rows)])
    lines = list(savings_lines(saved, width))
    rows = [line for line in lines if line.startswith("0" * 30)]
    assert [line.split()[0] for line in rows] == [f"{n:040x}" for n in range(len(saved.rows))]
    assert all(re.search(r" +(\$[\d.,]+\+?|\?)( |$)", line) for line in rows)
