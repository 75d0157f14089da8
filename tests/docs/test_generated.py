"""What the code knows stands in the docs as the code has it now."""

import json
import re
import subprocess
import sys

from tests.docs.pages import ROOT


def test_generated_parts_are_current() -> None:
    """`docs/generate.py --check` finds nothing to rewrite; if it does, run `python docs/generate.py`."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_event_that_the_code_writes_is_explained() -> None:
    """Each name of an audit event in the source stands in the reference of the audit log, in code letters."""
    names = set()
    for source in (ROOT / "orchestrator").rglob("*.py"):
        if "simulator" not in source.parts:
            names |= set(re.findall(r'"((?:run|action|target)\.[a-z_]+)"', source.read_text(encoding="utf-8")))
    reference = (ROOT / "docs/reference/audit-log.md").read_text(encoding="utf-8")
    assert names
    assert {name for name in names if f"`{name}`" not in reference} == set()


def test_the_picture_is_of_a_run_that_went_well_and_loads_nothing() -> None:
    """The recorded picture shows the whole run, and refers to no address but that of the SVG format."""
    picture = (ROOT / "docs/images/run.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    assert "run emergency-stop-teepod" in picture
    assert "succeeded: 32 of 32 CVMs stopped (exit 0)" in picture
    assert "url(" not in picture.replace("url(#", "")
    assert "@font-face" not in picture


def test_json_examples_are_json() -> None:
    """Every JSON block that is more than a line parses."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for text in re.findall(r"^```json\n(\{\n.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            json.loads(text)


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to every page below docs/."""
    pages_folder = ROOT / "docs"
    index = (pages_folder / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(pages_folder).as_posix() for page in pages_folder.rglob("*.md")]
    assert [page for page in pages if page != "README.md" and f"]({page})" not in index] == []
