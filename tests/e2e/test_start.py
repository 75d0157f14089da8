"""What a command loads before it does something: nothing that takes long, and is not for what was asked."""

from pathlib import Path

import pytest

from tests.e2e.site import Ended, Site
from tests.playbook.loading import SHIPPED

LISTED = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has Python name on stderr each module that it imports."""

WEB_SERVERS = frozenset({"starlette", "uvicorn", "orchestrator.simulator"})
FOR_PEOPLE = frozenset({"rich", "pygments", "structlog", "orchestrator.report.run.live"})
NETWORK = frozenset({"httpx", "httpcore", "aiohttp", "anyio", "trio", "asyncio", "ssl"})
MODELS = frozenset({"pydantic", "yaml", "platformdirs"})

HELP = {
    "": "--help",
    "version": "--version",
    "validate": "validate --help",
    "schema": "schema --help",
    "plan": "plan --help",
    "run": "run --help",
    "resume": "resume --help",
    "restore": "restore --help",
    "runs": "runs --help",
    "show": "show --help",
    "savings": "savings --help",
    "report": "report --help",
    "schedule explain": "schedule explain --help",
    "audit verify": "audit verify --help",
    "simulate": "simulate --help",
    "completion": "completion --help",
}


def loaded(ended: Ended) -> set[str]:
    """Every module that was imported, or tried to be, and every package around one."""
    names = [line.rsplit("|", 1)[1].strip() for line in ended.err.splitlines() if line.startswith("import time:")]
    return {
        ".".join(parts[:length]) for name in names if (parts := name.split(".")) for length in range(1, 1 + len(parts))
    }


def test_help_and_version_load_the_command_line_alone(site: Site) -> None:
    results = site.run_each(*(tuple(words.split()) for words in HELP.values()), envs=[LISTED] * len(HELP))
    for name, ended in zip(HELP, results, strict=True):
        assert ended.code == 0
        modules = loaded(ended)
        assert "click" in modules
        assert modules & (WEB_SERVERS | FOR_PEOPLE | NETWORK | MODELS) == set(), name


@pytest.mark.parametrize(
    "typed",
    [
        "orchestrator re",
        "orchestrator plan ti",
        "orchestrator run --y",
        "orchestrator show 2026",
        "orchestrator run nightly-cost-stop --var x",
    ],
)
def test_completion_loads_the_command_line_alone(site: Site, typed: str) -> None:
    env = {"_ORCHESTRATOR_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    modules = loaded(site.run(env={**env, **LISTED}))
    assert "click.shell_completion" in modules
    assert modules & (WEB_SERVERS | FOR_PEOPLE | NETWORK | MODELS) == set()


def test_validate_loads_neither_the_network_nor_what_shows_runs(site: Site) -> None:
    ended = site.run("validate", *map(str, SHIPPED), env=LISTED)
    assert ended.code == 0
    modules = loaded(ended)
    assert "pydantic" in modules
    assert modules & (WEB_SERVERS | FOR_PEOPLE | NETWORK | {"platformdirs"}) == set()


@pytest.mark.parametrize("command", [("plan",), ("run", "--yes")], ids=lambda command: command[0])
def test_until_the_first_answer_nothing_is_loaded_that_only_shows_what_was_found(
    site: Site, command: tuple[str, ...]
) -> None:
    """A key that is refused ends the command at the first answer."""
    ended = site.run(*command, site.playbook(rate=20), env={"PHALA_CLOUD_API_KEY": "not-this-one", **LISTED})
    assert (ended.code, len(site.sim.requests)) == (5, 1)
    modules = loaded(ended)
    assert "orchestrator.cloud.client" in modules
    assert modules & (WEB_SERVERS | FOR_PEOPLE | {"aiohttp", "trio._core", "orchestrator.engine.run"}) == set()


def test_a_plan_is_for_few_requests_however_fast_its_run_may_be(site: Site) -> None:
    ended = site.run("plan", site.playbook(rate=1000), "--json", env=LISTED)
    assert ended.code == 0
    assert "aiohttp" not in loaded(ended)


def test_a_warning_before_the_plan_goes_to_stderr(site: Site) -> None:
    """Logging is loaded for it, and set up first: stdout stays the document's."""
    site.state.mkdir()
    (site.state / "learnt.json").write_text("{")
    ended = site.run("plan", site.playbook(rate=20), "--json")
    assert (ended.code, len(ended.document["targets"])) == (0, 8)
    assert [each["event"] for each in ended.logged] == ["learnt.left_out"]


def test_rich_is_loaded_to_show_a_plan_to_people_and_not_to_programs(site: Site) -> None:
    playbook = site.playbook()
    people, programs = site.run_each(("plan", playbook), ("plan", playbook, "--json"), envs=[LISTED] * 2)
    assert (people.code, programs.code) == (0, 0)
    assert "rich" in loaded(people)
    assert "rich" not in loaded(programs)


def test_plugins_of_pydantic_are_not_looked_for(site: Site, tmp_path: Path) -> None:
    """One that is installed beside the program is not loaded: it would see the API key."""
    about = tmp_path / "nosy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nosy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pydantic]\nnosy = nosy:plugin\n")
    (tmp_path / "nosy.py").write_text("raise SystemExit(99)\n")
    ended = site.run("plan", site.playbook(), env={"PYTHONPATH": str(tmp_path)})
    assert ended.code == 0
