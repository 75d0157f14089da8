"""`orchestrator report`, from the shell: every form, where it is written, and what it refuses."""

import csv
import json
import os
import re
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSite, RunAll
from tests.e2e.site import Ended, Site
from tests.e2e.test_start import LISTED, loaded
from tests.report.documents import hostile, report_html

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REFUSING = [{"kind": "refuses", "names": ["web-3"]}]


def _stop(open_site: OpenSite) -> tuple[Site, Ended]:
    site = open_site(behaviour=REFUSING)
    return site, site.run("run", site.playbook(), "--yes")


@pytest.fixture(scope="module")
def site(run_all: RunAll) -> Site:
    """A site at which a run ended with 7 CVMs stopped and one refused."""
    found, ended = run_all({"stop": _stop})["stop"]
    assert ended.code == 6
    return found


def test_every_form_tells_the_same_counts(site: Site) -> None:
    run_id = site.log.stem
    text, document, page, table, markdown = site.run_each(
        ("report", run_id),
        ("report", run_id, "--json"),
        ("report", run_id, "--format", "html"),
        ("report", run_id, "--format", "csv"),
        ("report", run_id, "--format", "md", "--out", "-"),
    )
    assert [each.code for each in (text, document, page, table, markdown)] == [0] * 5
    assert document.document["counts"] == {"settled": 7, "refused": 1}
    assert re.search(r"7 ✓ settled", text.out)
    assert ">7</strong>✓ settled<" in page.out
    assert sorted(row["outcome"] for row in csv.DictReader(StringIO(table.out))) == ["refused", *["settled"] * 7]
    assert "| settled | as wanted, and still so at the end | 7 |" in markdown.out


def test_the_bill_is_that_of_show(site: Site) -> None:
    report, show = site.run_each(("report", site.log.stem, "--json"), ("show", site.log.stem, "--json"))
    ended = report.document["billing"]["total"]["ended"]
    for key in ("compute_usd_per_hour", "storage_usd_per_hour"):
        assert float(ended[key]) == float(show.document["billing"][key])


def test_the_suffix_says_the_form_and_the_file_is_its_owners_alone(site: Site) -> None:
    out = site.folder / "report.html"
    for _ in range(2):  # the second takes the first one's place
        ended = site.run("report", site.log.stem, "--out", str(out))
        assert (ended.code, ended.out) == (0, "")
    assert out.read_bytes().startswith(b"<!DOCTYPE html>")
    assert out.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in site.folder.glob(".report*")] == []


def test_a_report_never_takes_the_place_of_a_log(site: Site) -> None:
    before = site.log.read_bytes()
    other = site.folder / "copy.txt"
    other.write_bytes(before)
    for out in (site.log, other):
        ended = site.run("report", site.log.stem, "--out", str(out), "--format", "text")
        assert (ended.code, out.read_bytes()) == (2, before)
        assert "is named like, an audit log or a seal" in ended.err


def test_nothing_is_told_of_an_altered_log_unless_asked(site: Site) -> None:
    altered = site.folder / "altered.jsonl"
    altered.write_text(site.log.read_text().replace("web-5", "web-6"))
    plain, asked = site.run_each(
        ("report", str(altered), "--json"), ("report", str(altered), "--json", "--even-if-altered")
    )
    assert (plain.code, plain.fault["code"], plain.fault["line"]) == (6, "altered", 2)
    assert (asked.code, asked.document["run"]["state"]) == (6, "altered")


def test_an_error_is_a_document_where_one_was_asked_for(site: Site) -> None:
    ended = site.run("report", "20261123T080000Z-0000", "--format", "json")
    assert (ended.code, ended.fault["code"]) == (2, "usage")


def test_the_head_of_a_report_can_be_read(site: Site) -> None:
    """A reader that goes away is no error."""
    shell = ["sh", "-c", f"orchestrator report {site.log.stem} --format html | head -c 20"]
    done = subprocess.run(shell, env=site.environment, capture_output=True, text=True, check=True)
    assert done.stdout == "<!DOCTYPE html>\n<htm"
    assert done.stderr == ""


def test_charts_are_loaded_for_a_page_alone(site: Site) -> None:
    run = ("report", site.log.stem, "--format")
    page, document, shown = site.run_each((*run, "html"), (*run, "json"), ("show", site.log.stem), envs=[LISTED] * 3)
    assert "pygal" in loaded(page)
    assert "pygal" not in loaded(document) | loaded(shown)


@pytest.mark.skipif(BROWSER is None and not os.environ.get("CI"), reason="there is no Chromium")
def test_nothing_that_others_wrote_runs_in_a_browser(tmp_path: Path) -> None:
    """Names that would change the page's title leave it as it is; one of them in a page without care changes it."""
    told = hostile(name="tame")
    (tmp_path / "report.html").write_bytes(report_html(told))
    careless = f"<!DOCTYPE html><title>tame</title>{told['targets'][0]['cvm']['name']}"
    (tmp_path / "careless.html").write_text(careless)
    assert "<title>pwned</title>" in _seen(tmp_path / "careless.html", tmp_path)
    seen = _seen(tmp_path / "report.html", tmp_path)
    assert "<title>tame, run 20261123T080000Z-4f2a</title>" in seen
    assert not re.search(r"<(script|img|iframe|object)\b", seen)


def _seen(page: Path, folder: Path) -> str:
    """A page as a browser has it once its scripts ran."""
    assert BROWSER is not None
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'browser'}", "--dump-dom")
    done = subprocess.run([BROWSER, *options, page.as_uri()], capture_output=True, text=True, timeout=50, check=True)
    return done.stdout


def test_the_document_is_one_line_of_json_away_from_its_figures(site: Site) -> None:
    """What `jq` would do: the outcome of each CVM by name."""
    document = json.loads(site.run("report", site.log.stem, "--json").out)
    outcomes = {target["cvm"]["name"]: target["outcome"] for target in document["targets"]}
    assert outcomes["web-3"] == "refused"
    assert document["requests"]["answers"] == {"accepted": 7, "refused": 1}
