"""A new action is one specification: the checker names the place to write it, and everything else follows."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import cast

import pytest

import orchestrator
from orchestrator.simulator.serve import BackgroundSimulator
from tests.billing.meter import Style
from tests.e2e.other_cloud import serving
from tests.e2e.site import Site

PACKAGE = Path(orchestrator.__file__).parent
SPECIFICATION = """_SUSPEND = ActionSpec(
    goal=Goal.DOWN,
    verb="suspend",
    done="suspended",
    endpoint="suspend",
    notes=("compute_ends", "storage_continues"),
    gpu_note="gpu_24h_minimum_on_restart",
    charges=True,
    settle_s=30.0,
    ecs_type="end",
)
"""
PLAYBOOK = """\
name: suspend-all
limits: {requests_per_second: 100}
steps: [{action: suspend, select: {all: true}}]
"""


def with_member(text: str) -> str:
    """The module of actions with a fifth member, and no specification for it."""
    return text.replace('    RESTART = "restart"\n', '    SUSPEND = "suspend"\n    RESTART = "restart"\n', 1)


def with_goal(text: str) -> str:
    """The module of actions with a fourth goal, and no decision about it."""
    return text.replace('    RESTARTED = "restarted"\n', '    PAUSED = "paused"\n    RESTARTED = "restarted"\n', 1)


def with_specification(text: str) -> str:
    """The same with a specification."""
    case = "            case _:\n                assert_never(self)\n"
    assert case in text
    added = f"            case Action.SUSPEND:\n                return _SUSPEND\n{case}"
    return with_member(text).replace(case, added, 1) + SPECIFICATION


def found_by_checker(action: Path, cache: Path, *checked: str) -> list[str]:
    """The errors of mypy in the checked modules, with another module of actions."""
    shadow = ("--shadow-file", str(PACKAGE / "action.py"), str(action))
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), *shadow, *checked]
    out = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=300, check=False).stdout
    return [line for line in out.splitlines() if ": error: " in line]


@pytest.mark.timeout(600)
def test_the_checker_names_all_places_that_decide_about_a_new_action_or_goal(tmp_path: Path) -> None:
    text, action = (PACKAGE / "action.py").read_text(), tmp_path / "action.py"
    cache = PACKAGE.parent / ".mypy_cache" / "new_action"  # kept: a second test takes a third of the time
    action.write_text(with_goal(with_specification(text)))
    errors = found_by_checker(action, cache, "-p", "orchestrator")
    assert Counter(error.split(":")[0] for error in errors if "Literal[Goal.PAUSED]" in error) == {
        "orchestrator/action.py": 5,  # its properties, and the statuses before and after the action
        "orchestrator/engine/watch/evaluate.py": 1,
        "orchestrator/playbook/warnings.py": 1,
    }
    assert len(errors) == 7  # no place but the module of actions decides about an action with a specification
    action.write_text(with_member(text))
    (error,) = found_by_checker(action, cache, "-m", "orchestrator.action")
    assert (error.split(":")[0], "Literal[Action.SUSPEND]" in error) == ("orchestrator/action.py", True)


def test_a_new_action_is_planned_carried_out_and_reported_by_its_specification_alone(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    shutil.copytree(PACKAGE, overlay / "orchestrator")  # with its compiled files
    (overlay / "orchestrator" / "action.py").write_text(with_specification((PACKAGE / "action.py").read_text()))
    playbook = tmp_path / "suspend.yaml"
    playbook.write_text(PLAYBOOK)
    with serving(Style(digits=6, counts_all=True)) as cloud:
        site = Site(tmp_path, cast("BackgroundSimulator", cloud))
        env = {"PYTHONPATH": str(overlay)}

        planned = site.run("plan", str(playbook), env=env)
        assert (planned.code, "3 CVMs of 3 will be suspended" in planned.out) == (0, True)

        ended = site.run("run", str(playbook), "--yes", "--json", env=env)
        assert (ended.code, ended.document["counts"]) == (0, {"settled": 3}), ended.err
        assert cloud.posts == {"suspend": 3}
        (accepted, *_) = [each for each in site.records if each["event"] == "action.accepted"]
        assert (accepted["action"], accepted["billing"]["notes"][:2]) == (
            "suspend",
            ["compute_ends", "storage_continues"],
        )

        for command in (
            ("show", site.log.stem),
            ("report", site.log.stem, "--format", "text"),
            ("report", site.log.stem, "--format", "html"),
            ("audit", "verify", site.log.stem),
            ("audit", "show", site.log.stem),
            ("audit", "export", site.log.stem, "--format", "ecs"),
            ("savings",),
            ("runs",),
            ("resume", site.log.stem),
        ):
            shown = site.run(*command, env=env)
            assert shown.code == 0, (command, shown.err)
        restored = site.run("restore", site.log.stem, "--yes", "--json", env=env)
        assert (restored.code, restored.document["counts"]) == (0, {"settled": 3}), restored.err
