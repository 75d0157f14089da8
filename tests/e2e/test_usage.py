"""Exit 2: a playbook, settings or a command line that can't be used. Nothing is changed, and the error says where."""

import os
from pathlib import Path

from tests.e2e.conftest import OpenSite
from tests.e2e.site import Site

GOOD = "name: x\nsteps:\n  - action: stop\n    select: {all: true}\n"
WRONG_PLAYBOOKS = {
    "not YAML": ("name: [x\n", None, "not valid YAML"),
    "a tab": ("name: x\nsteps:\n\t- action: stop\n", 3, "tab"),
    "a duplicate key": (GOOD + "name: y\n", 5, "'name' stands twice"),
    "an unknown key": (GOOD.replace("all: true", "all: true, namee: x"), 4, "did you mean 'name'"),
    "a wrong type": (GOOD + "limits: {burst: many}\n", 5, "a whole number"),
    "a rate of 0": (GOOD + "limits:\n  requests_per_second: 0\n", 6, "never 'no limit'"),
    "a share of 0%": (GOOD + 'guards:\n  max_percent: "0%"\n', 6, "never 'no limit'"),
    "no targets allowed": (GOOD + "guards: {max_targets: 0}\n", 5, "never 'no limit'"),
    "an empty select": (GOOD.replace("{all: true}", "{}"), 4, "the select is empty"),
    "an unknown variable": (GOOD.replace("{all: true}", '{name: ["${nope}"]}'), 4, "unknown variable"),
    "a missing variable": (GOOD + "vars:\n  pod: {required: true}\n", 6, "--var pod=VALUE"),
    "another action": (GOOD.replace("stop", "halt"), 3, "must be 'stop', 'shutdown'"),
    "no text": ("\xff", 1, "UTF-8"),
}


def test_a_playbook_that_cannot_be_used_is_refused_by_file_and_line(site: Site) -> None:
    files = [site.folder / f"{name}.yaml" for name in WRONG_PLAYBOOKS]
    for file, (text, _, _) in zip(files, WRONG_PLAYBOOKS.values(), strict=True):
        file.write_bytes(text.encode("latin-1"))
    results = site.run_each(*(("run", str(file), "--yes", "--json") for file in files))
    for file, (_, line, words), ended in zip(files, WRONG_PLAYBOOKS.values(), results, strict=True):
        assert (ended.code, ended.fault["code"], ended.fault["file"]) == (2, "playbook", str(file))
        assert line in {None, ended.fault["line"]}, file
        assert words in f"{ended.fault['message']} {ended.fault['hint']}"
        assert f"{file}:{ended.fault['line']}: " in ended.err
    site.assert_nothing_happened()


WRONG_LINES = {
    "no such playbook": (("nowhere.yaml",), "no such playbook"),
    "no such name": (("nowhere",), "no playbook 'nowhere'"),
    "no such variable": (("PLAYBOOK", "--var", "x=1"), "no variable 'x'"),
    "a variable without a value": (("PLAYBOOK", "--var", "x"), "--var NAME=VALUE"),
    "no such option": (("PLAYBOOK", "--yess"), "--yes"),
    "a number that is none": (("PLAYBOOK", "--expect", "x"), "--expect"),
    "no playbook at all": ((), "PLAYBOOK"),
    "no such settings file": (("PLAYBOOK", "--config", "nowhere.toml"), "no such settings file"),
    "settings that are a folder": (("PLAYBOOK", "--config", "."), "can't be read"),
    "an unknown section": (("PLAYBOOK", "--set", "rat.burst=1"), "did you mean 'rate'"),
    "an unknown setting": (("PLAYBOOK", "--set", "rate.burts=1"), "did you mean 'burst'"),
    "a setting without a value": (("PLAYBOOK", "--set", "rate.burst"), "SECTION.FIELD=VALUE"),
    "a rate of 0": (("PLAYBOOK", "--set", "rate.requests_per_second=0"), "never 'no limit'"),
    "the key for all to see": (
        ("PLAYBOOK", "--set", "cloud.api_key=phak_visible"),
        "can read a key",
    ),
    "the key in the clear": (("PLAYBOOK", "--set", "cloud.base_url=http://cloud.example/api/v1"), "must be https"),
}


def test_a_command_line_that_cannot_be_used_is_refused_with_a_hint(site: Site) -> None:
    file = site.playbook()
    lines = [[file if arg == "PLAYBOOK" else arg for arg in args] for args, _ in WRONG_LINES.values()]
    results = site.run_each(*(("run", *line, "--yes", "--json") for line in lines))
    for (_, words), ended in zip(WRONG_LINES.values(), results, strict=True):
        assert ended.code == 2
        assert words in f"{ended.fault['message']} {ended.fault['hint']}"
        assert "phak_visible" not in ended.out + ended.err
    site.assert_nothing_happened()


WRONG_SETTINGS = (
    ("[rate]\nburst = 2\nburts = 3\n", 3, "did you mean 'burst'"),
    ("[rte]\n", 1, "did you mean 'rate'"),
    ("[rate]\nburst = 0\n", 2, "never 'no limit'"),
    ("[rate\n", 1, "not valid TOML"),
    ("[cloud]\ntimeout = 'soon'\n", 2, "not a duration"),
)


def test_a_settings_file_that_cannot_be_used_is_refused_by_line(site: Site) -> None:
    files = [site.folder / f"{number}.toml" for number in range(len(WRONG_SETTINGS))]
    for file, (text, _, _) in zip(files, WRONG_SETTINGS, strict=True):
        file.write_text(text)
    playbook = site.playbook()
    results = site.run_each(*(("plan", playbook, "--json", "--config", str(file)) for file in files))
    for file, (_, line, words), ended in zip(files, WRONG_SETTINGS, results, strict=True):
        assert (ended.code, ended.fault["code"]) == (2, "settings")
        assert (ended.fault["file"], ended.fault["line"]) == (str(file), line)
        assert words in f"{ended.fault['message']} {ended.fault['hint']}"


WRONG_ENVIRONMENTS: tuple[tuple[dict[str, str | None], str], ...] = (
    ({"PHALA_CLOUD_API_KEY": None}, "there is no API key"),
    ({"PHALA_CLOUD_API_KEY": "phak with spaces"}, "printable ASCII"),
    ({"PHALA_CLOUD_API_PREFIX": "http://cloud.example/api/v1"}, "must be https"),
    ({"ORCHESTRATOR_RATE__BURTS": "1"}, "did you mean 'burst'"),
    ({"ORCHESTRATOR_RATE__BURST": "some"}, "ORCHESTRATOR_RATE__BURST"),
    ({"ORCHESTRATOR_STATE_DIR": "/dev/null/x"}, "ORCHESTRATOR_STATE_DIR"),
    ({"ORCHESTRATOR_STATE_DIR": "/proc/x"}, "ORCHESTRATOR_STATE_DIR"),
)


def test_an_environment_that_cannot_be_used_is_refused(site: Site) -> None:
    command = ("run", site.playbook(), "--yes", "--json")
    results = site.run_each(*[command] * len(WRONG_ENVIRONMENTS), envs=(env for env, _ in WRONG_ENVIRONMENTS))
    for (_, words), ended in zip(WRONG_ENVIRONMENTS, results, strict=True):
        assert ended.code == 2
        assert words in f"{ended.fault['message']} {ended.fault['hint']}"
        assert "phak with spaces" not in ended.out + ended.err
    site.assert_nothing_happened()


def test_a_key_file_must_be_there_and_be_readable_by_its_owner_alone(site: Site) -> None:
    file = site.folder / "key"
    env = {"PHALA_CLOUD_API_KEY": None, "ORCHESTRATOR_CLOUD__API_KEY_FILE": str(file)}
    assert site.run("plan", site.playbook(), "--json", env=env).fault["file"] == str(file)
    file.write_text(site.sim.api_key)
    file.chmod(0o644)
    assert site.run("plan", site.playbook(), "--json", env=env).fault["hint"] == f"chmod 600 {file}"
    file.chmod(0o600)
    assert site.run("plan", site.playbook(), "--json", env=env).code == 0


def test_a_setting_of_the_command_line_wins_over_the_environment_over_the_file(site: Site) -> None:
    (site.folder / "config.toml").write_text("[guards]\nmax_targets = 1\n")

    command = ("plan", site.playbook(), "--json")
    env = {"ORCHESTRATOR_GUARDS__MAX_TARGETS": "2"}
    results = site.run_each(command, command, (*command, "--set", "guards.max_targets=3"), envs=(None, env, env))
    assert [ended.document["guards"][0]["limit"] for ended in results] == [1, 2, 3]


def test_a_run_that_is_not_there_is_a_usage_error_which_names_the_newest(site: Site) -> None:
    assert f"no runs in {site.runs}" in site.run("show", "x", "--json").fault["hint"]
    site.runs.mkdir(parents=True)
    (site.runs / "20260101T000000Z-aaaa.jsonl").touch()
    commands = (("show", "20990101T000000Z-0000"), ("resume", "x"), ("audit", "verify", "x"))
    for ended in site.run_each(*((*command, "--json") for command in commands)):
        assert (ended.code, ended.fault["hint"]) == (2, "the newest are: 20260101T000000Z-aaaa")


def test_an_unknown_command_is_refused_with_the_nearest_known_name(site: Site) -> None:
    ended = site.run("pln")
    assert (ended.code, ended.out) == (2, "")
    assert "Did you mean 'plan'?" in ended.err


def test_a_simulator_configuration_that_cannot_be_used_is_refused(site: Site) -> None:
    config = site.folder / "simulator.toml"
    config.write_text("[fleet]\ncmvs = 3\n")
    ended = site.run("simulate", "--config", str(config))
    assert (ended.code, "fleet.cmvs: unknown key" in ended.err) == (2, True)
    ended = site.run("simulate", "--port", site.sim.url.split(":")[2].split("/")[0])
    assert (ended.code, "can't listen on" in ended.err) == (2, True)


def test_output_that_cannot_be_written_is_said_and_never_hides_what_a_run_did(open_site: OpenSite) -> None:
    site = open_site()
    with Path(os.devnull).with_name("full").open("w") as full:
        for command, code in ((("schema",), 2), (("run", site.playbook(), "--yes"), 0)):
            ended = site.end(site.start(*command, stdout=full))
            assert (ended.code, "No space left on device" in ended.err) == (code, True)
    assert site.events()["run.finished"] == 1


def test_without_a_terminal_only_reading_commands_take_last(site: Site) -> None:
    assert site.run("run", site.playbook(), "--yes").code == 0
    (log,) = site.runs.iterdir()
    before = log.read_bytes()
    changing = (
        ("resume", "last", "--yes"),
        ("abandon", "last", "--reason", "x"),
        ("restore", "last", "--yes"),
        ("approve", "last", "--yes"),
        ("reconcile", "last"),
        ("audit", "seal", "last", "--key", "no.pem"),
    )
    for ended in site.run_each(*((*command, "--json") for command in changing)):
        assert (ended.code, "needs a terminal" in ended.fault["message"]) == (2, True)
        assert "orchestrator runs" in ended.fault["hint"]
    assert log.read_bytes() == before
    reading = (("show", "last"), ("report", "last"), ("audit", "show", "last"), ("resume", "last", "--dry-run"))
    for ended in site.run_each(*((*command, "--json") for command in reading)):
        assert (ended.code, log.stem in ended.out) == (0, True)
