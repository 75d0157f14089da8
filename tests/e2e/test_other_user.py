"""Root works in the state folder of another user, and that user can go on with all that root leaves there."""

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.e2e.site import COMMAND, QUICK, STILL, Ended, Process, Site, until
from tests.e2e.test_approve import approve, is_asked, playbook
from tests.e2e.test_serve import serving

if os.geteuid() != 0 and not os.environ.get("CI"):
    pytest.skip("only root can act as another user", allow_module_level=True)

USER = pwd.getpwnam("nobody")


def become_user() -> None:
    os.setgroups([])
    os.setgid(USER.pw_gid)
    os.setuid(USER.pw_uid)


def user_paths() -> dict[str, str]:
    """Return the variable with the folders of modules."""
    return {"PYTHONPATH": ":".join(path for path in sys.path if path.startswith("/") and Path(path).is_dir())}


IN_TURN = """\
import json, os, sys
from tests.warm import Command
codes = []
for number, args in enumerate(json.loads(os.environ["IN_TURN"])):
    pid = os.fork()
    if pid == 0:
        files = [os.open(f"{number}.{name}", os.O_CREAT | os.O_TRUNC | os.O_RDWR) for name in ("in", "out", "err")]
        Command(files)(args, os.getcwd(), dict(os.environ))
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(json.dumps(codes))
"""
"""A program to start several commands one after another, forked, in a tenth of the time."""


def user_command() -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Find a start of the command for the other user: an interpreter below /root is out of reach."""
    script = "import sys; sys.argv[0] = 'orchestrator'; from orchestrator.cli.main import main; main()"
    for command, env in (((COMMAND,), {}), (("/usr/bin/python3", "-c", script), user_paths())):
        with suppress(OSError):
            tried = subprocess.run(
                [*command, "--version"], env=env, preexec_fn=become_user, capture_output=True, check=False
            )
            if tried.returncode == 0:
                return command, env
    pytest.skip("the other user can start no interpreter of this version")


class UserSite(Site):
    """A site whose folder belongs to another user."""

    def __init__(self, folder: Path, sim: BackgroundSimulator) -> None:
        super().__init__(folder, sim)
        self.user_command, self._user_env = user_command()
        os.chown(folder, USER.pw_uid, USER.pw_gid)

    def start_as_user(
        self, *args: str, env: Mapping[str, str | None] | None = None, become: Callable[[], None] = become_user
    ) -> Process:
        return self.start(*args, command=self.user_command, env={**self._user_env, **(env or {})}, prepare=become)

    def run_in_turn_as_user(self, *commands: list[str]) -> list[Ended]:
        """Run several commands, with the same variables."""
        interpreter = self.user_command[0] if self.user_command[1:] else sys.executable
        env = {**user_paths(), "IN_TURN": json.dumps(commands)}
        process = self.start(command=(interpreter, "-c", IN_TURN), env=env, prepare=become_user)
        codes = json.loads(self.end(process).out)
        texts = [
            [(self.folder / f"{number}.{name}").read_text() for name in ("out", "err")] for number in range(len(codes))
        ]
        ends = [Ended(code, *text) for code, text in zip(codes, texts, strict=True)]
        assert "Traceback" not in "".join(ended.err for ended in ends), ends
        return ends

    def assert_all_is_the_users(self) -> None:
        found = [self.state, *self.state.rglob("*")]
        assert [str(path) for path in found if path.lstat().st_uid != USER.pw_uid] == []


@pytest.fixture
def site() -> Iterator[UserSite]:
    folder = Path(mkdtemp(prefix="site-"))
    folder.chmod(0o755)
    with BackgroundSimulator(parse_settings({**STILL, "timing": {**QUICK, "start_seconds": [0.05, 0.2]}})) as sim:
        try:
            yield UserSite(folder, sim)
        finally:
            rmtree(folder)


def test_an_answer_by_root_reaches_the_run_of_another_user(site: UserSite) -> None:
    process = site.start_as_user("run", playbook(site), "--yes", "--json")
    until(lambda: is_asked(site))
    answered = approve(site, "--yes", "--json")
    assert (answered.code, answered.document["on_record"]) == (0, True)
    assert site.end(process).code == 0
    site.assert_all_is_the_users()


def test_an_answer_that_the_run_cannot_read_is_an_error_and_is_taken_back(site: UserSite) -> None:
    process = site.start_as_user("run", playbook(site), "--yes", "--json")
    until(lambda: is_asked(site))
    folder = site.state / "answers"
    folder.mkdir(mode=0o700)  # root's own, as earlier versions made it
    answered = approve(site, "--yes", "--json")
    assert (answered.code, answered.fault["message"]) == (2, "the run can't read answers in this folder")
    assert f"chown -R --reference={site.log} {folder}" in answered.fault["hint"]
    assert list(folder.iterdir()) == []
    os.chown(folder, USER.pw_uid, USER.pw_gid)
    assert approve(site, "--yes").code == 0
    assert site.end(process).code == 0


def test_whatever_root_creates_belongs_to_the_owner_of_the_folder_whose_service_starts(site: UserSite) -> None:
    folder = site.folder / "playbooks"
    folder.mkdir()
    (folder / "nightly.yaml").write_text(
        "name: nightly\nschedule: {cron: '0 3 * * *', timezone: UTC}\n"
        "steps: [{name: all, action: stop, select: {all: true}}]\n"
    )
    site.state.mkdir()
    os.chown(site.state, USER.pw_uid, USER.pw_gid)
    key = site.folder / "seal.pem"
    assert site.run("runs").code == 0
    assert site.run("snooze", "nightly", "--until", "1h").code == 0
    assert site.run("run", site.playbook(), "--yes", "--set", "rate.requests_per_second=auto").code == 0
    assert site.run("audit", "keygen", "--out", str(key)).code == 0
    assert site.run("audit", "seal", site.log.stem, "--key", str(key)).code == 0
    assert site.run("savings").code == 0
    assert site.run("restore", site.log.stem, "--yes").code == 0
    with serving(site) as served:
        until(lambda: served.get("/readyz").status_code == 200)
        assert served.end(signal.SIGTERM) in {0, 143}
    assert {"journal.jsonl", "lock", "snoozes.json", "snoozes.lock"} <= {
        each.name for each in (site.state / "service").iterdir()
    }
    site.assert_all_is_the_users()
    process = site.start_as_user("snooze", "nightly", "--clear")
    assert site.end(process).code == 0
    process = site.start_as_user("serve", "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    line = next(line for line in process.stderr if "service." in line)
    assert "service.started" in line, line
    process.terminate()
    site.end(process)


@pytest.mark.parametrize("name", ["service", "answers", "runs"])
def test_root_creates_nothing_behind_a_link_of_another_user(site: UserSite, name: str) -> None:
    target = site.folder / "roots"
    target.mkdir(mode=0o700)
    site.state.mkdir()
    (site.state / name).symlink_to(target)
    for each in (site.state, site.state / name):
        os.chown(each, USER.pw_uid, USER.pw_gid, follow_symlinks=False)
    if name == "answers":
        process = site.start_as_user("run", playbook(site), "--yes", "--json")
        until(lambda: is_asked(site))
        assert approve(site, "--yes").code == 2
        process.terminate()
        site.end(process)
    elif name == "service":
        (site.folder / "playbooks").mkdir()
        (site.folder / "playbooks" / "nightly.yaml").write_text(
            "name: nightly\nschedule: {cron: '0 3 * * *', timezone: UTC}\n"
            "steps: [{name: all, action: stop, select: {all: true}}]\n"
        )
        assert site.run("snooze", "nightly", "--until", "1h").code == 2
    else:
        assert site.run("run", site.playbook(), "--yes").code == 2
        assert site.stops == []
    assert list(target.iterdir()) == []


def test_root_gives_away_no_file_behind_a_link(site: UserSite) -> None:
    precious = site.folder / "precious"
    precious.write_text("root's")
    folder = site.state / "service"
    folder.mkdir(parents=True)
    for name in ("snoozes.lock", "lock", "journal.jsonl.new"):
        (folder / name).symlink_to(precious)
    for each in (site.state, folder):
        os.chown(each, USER.pw_uid, USER.pw_gid)
    (site.folder / "playbooks").mkdir()
    site.run("snooze", "nightly", "--until", "1h")
    assert site.run("serve", "--listen", "127.0.0.1:0").code == 2
    assert (precious.read_text(), precious.stat().st_uid) == ("root's", 0)


READING = [
    ("show",),
    ("restore", "--yes"),
    ("resume", "--yes"),
    ("approve", "--yes"),
    ("abandon", "--reason", "why"),
    ("report", "--format", "text"),
    ("reconcile",),
    ("audit", "show"),
    ("audit", "verify"),
    ("audit", "export", "--format", "jsonl"),
]


def test_a_log_that_its_user_cannot_read_is_named_by_every_command(site: UserSite) -> None:
    process = site.start_as_user("run", site.playbook(), "--yes")
    assert site.end(process).code == 0
    run_id = site.log.stem
    site.log.chmod(0)
    of_a_run = [
        [first, *more[:1], run_id, *more[1:]] if first == "audit" else [first, run_id, *more]
        for first, *more in READING
    ]
    of_all = [["savings"], ["runs"], ["runs", "--unfinished"], ["runs", "--unfinished", "--json"]]
    ends = site.run_in_turn_as_user(*of_a_run, *of_all)
    for command, ended in zip(of_a_run, ends[: len(of_a_run)], strict=True):
        assert (ended.code, "ermission denied" in ended.err) == (2, True), (command, ended)
        assert str(site.log) in ended.err, command
    for command, ended in zip(of_all, ends[len(of_a_run) :], strict=True):
        assert (ended.code, "1 log can't be read (permission denied)" in ended.err) == (0, True), (command, ended)
    site.runs.chmod(0)
    commands = [["show", run_id], ["audit", "verify", "--all"], ["runs"], ["savings"]]
    for command, ended in zip(commands, site.run_in_turn_as_user(*commands), strict=True):
        assert (ended.code, "ermission denied" in ended.err) == (2, True), (command, ended)


def become_unknown() -> None:
    """Become a user that has no entry in the list of users."""
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)


def test_a_user_without_a_home_folder_can_work_where_the_state_folder_is_named(site: UserSite) -> None:
    site.state.mkdir()
    os.chown(site.state, 54321, 54321)
    nowhere: dict[str, str | None] = {"HOME": None}
    process = site.start_as_user("run", site.playbook(), "--yes", env=nowhere, become=become_unknown)
    assert site.end(process).code == 0
    assert site.records[0]["actor"].startswith("54321@")
    process = site.start_as_user("runs", env=nowhere | {"ORCHESTRATOR_STATE_DIR": None}, become=become_unknown)
    ended = site.end(process)
    assert (ended.code, "ORCHESTRATOR_STATE_DIR" in ended.err) == (2, True)
