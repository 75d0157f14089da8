"""Root works in the state folder of another user, and that user can go on with all that root leaves there."""

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
from tests.e2e.desk import COMMAND, QUICK, STILL, Desk, Process, until
from tests.e2e.test_approve import approve, is_asked, playbook
from tests.e2e.test_serve import serving

if os.geteuid() != 0 and not os.environ.get("CI"):
    pytest.skip("only root can act as another user", allow_module_level=True)

USER = pwd.getpwnam("nobody")


def become_user() -> None:
    os.setgroups([])
    os.setgid(USER.pw_gid)
    os.setuid(USER.pw_uid)


def user_command() -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The command that the other user can start: an interpreter below /root is out of reach."""
    script = "import sys; sys.argv[0] = 'orchestrator'; from orchestrator.cli.main import main; main()"
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path.startswith("/") and Path(path).is_dir())}
    for command, env in (((COMMAND,), {}), (("/usr/bin/python3", "-c", script), paths)):
        with suppress(OSError):
            tried = subprocess.run(
                [*command, "--version"], env=env, preexec_fn=become_user, capture_output=True, check=False
            )
            if tried.returncode == 0:
                return command, env
    pytest.skip("the other user can start no interpreter of this version")


class UserDesk(Desk):
    """A desk whose folder belongs to another user."""

    def __init__(self, folder: Path, sim: BackgroundSimulator) -> None:
        super().__init__(folder, sim)
        self.user_command, self._user_env = user_command()
        os.chown(folder, USER.pw_uid, USER.pw_gid)

    def start_as_user(
        self, *args: str, env: Mapping[str, str | None] | None = None, become: Callable[[], None] = become_user
    ) -> Process:
        return self.start(*args, command=self.user_command, env={**self._user_env, **(env or {})}, prepare=become)

    def assert_all_is_the_users(self) -> None:
        found = [self.state, *self.state.rglob("*")]
        assert [str(path) for path in found if path.lstat().st_uid != USER.pw_uid] == []


@pytest.fixture
def desk() -> Iterator[UserDesk]:
    folder = Path(mkdtemp(prefix="desk-"))
    folder.chmod(0o755)
    with BackgroundSimulator(parse_settings({**STILL, "timing": QUICK})) as sim:
        try:
            yield UserDesk(folder, sim)
        finally:
            rmtree(folder)


def test_an_answer_by_root_reaches_the_run_of_another_user(desk: UserDesk) -> None:
    process = desk.start_as_user("run", playbook(desk), "--yes", "--json")
    until(lambda: is_asked(desk))
    answered = approve(desk, "--yes", "--json")
    assert (answered.code, answered.document["on_record"]) == (0, True)
    assert desk.end(process).code == 0
    desk.assert_all_is_the_users()


def test_an_answer_that_the_run_cannot_read_is_an_error_and_is_taken_back(desk: UserDesk) -> None:
    process = desk.start_as_user("run", playbook(desk), "--yes", "--json")
    until(lambda: is_asked(desk))
    folder = desk.state / "answers"
    folder.mkdir(mode=0o700)  # root's own, as earlier versions made it
    answered = approve(desk, "--yes", "--json")
    assert (answered.code, answered.fault["message"]) == (2, "the run can't read answers in this folder")
    assert f"chown -R --reference={desk.log} {folder}" in answered.fault["hint"]
    assert list(folder.iterdir()) == []
    os.chown(folder, USER.pw_uid, USER.pw_gid)
    assert approve(desk, "--yes").code == 0
    assert desk.end(process).code == 0


def test_whatever_root_creates_belongs_to_the_owner_of_the_folder_whose_service_starts(desk: UserDesk) -> None:
    folder = desk.folder / "playbooks"
    folder.mkdir()
    (folder / "nightly.yaml").write_text(
        "name: nightly\nschedule: {cron: '0 3 * * *', timezone: UTC}\n"
        "steps: [{name: all, action: stop, select: {all: true}}]\n"
    )
    desk.state.mkdir()
    os.chown(desk.state, USER.pw_uid, USER.pw_gid)
    key = desk.folder / "seal.pem"
    assert desk.run("runs").code == 0
    assert desk.run("snooze", "nightly", "--until", "1h").code == 0
    assert desk.run("run", desk.playbook(), "--yes", "--set", "rate.requests_per_second=auto").code == 0
    assert desk.run("audit", "keygen", "--out", str(key)).code == 0
    assert desk.run("audit", "seal", desk.log.stem, "--key", str(key)).code == 0
    assert desk.run("savings").code == 0
    assert desk.run("restore", desk.log.stem, "--yes").code == 0
    with serving(desk) as served:
        until(lambda: served.get("/readyz").status_code == 200)
        assert served.end(signal.SIGTERM) in {0, 143}
    assert {"journal.jsonl", "lock", "snoozes.json", "snoozes.lock"} <= {
        each.name for each in (desk.state / "service").iterdir()
    }
    desk.assert_all_is_the_users()
    process = desk.start_as_user("snooze", "nightly", "--clear")
    assert desk.end(process).code == 0
    process = desk.start_as_user("serve", "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    line = next(line for line in process.stderr if "service." in line)
    assert "service.started" in line, line
    process.terminate()
    desk.end(process)


@pytest.mark.parametrize("name", ["service", "answers", "runs"])
def test_root_creates_nothing_behind_a_link_of_another_user(desk: UserDesk, name: str) -> None:
    target = desk.folder / "roots"
    target.mkdir(mode=0o700)
    desk.state.mkdir()
    (desk.state / name).symlink_to(target)
    for each in (desk.state, desk.state / name):
        os.chown(each, USER.pw_uid, USER.pw_gid, follow_symlinks=False)
    if name == "answers":
        process = desk.start_as_user("run", playbook(desk), "--yes", "--json")
        until(lambda: is_asked(desk))
        assert approve(desk, "--yes").code == 2
        process.terminate()
        desk.end(process)
    elif name == "service":
        (desk.folder / "playbooks").mkdir()
        (desk.folder / "playbooks" / "nightly.yaml").write_text(
            "name: nightly\nschedule: {cron: '0 3 * * *', timezone: UTC}\n"
            "steps: [{name: all, action: stop, select: {all: true}}]\n"
        )
        assert desk.run("snooze", "nightly", "--until", "1h").code == 2
    else:
        assert desk.run("run", desk.playbook(), "--yes").code == 2
        assert desk.stops == []
    assert list(target.iterdir()) == []


def test_root_gives_away_no_file_behind_a_link(desk: UserDesk) -> None:
    precious = desk.folder / "precious"
    precious.write_text("root's")
    folder = desk.state / "service"
    folder.mkdir(parents=True)
    for name in ("snoozes.lock", "lock", "journal.jsonl.new"):
        (folder / name).symlink_to(precious)
    for each in (desk.state, folder):
        os.chown(each, USER.pw_uid, USER.pw_gid)
    (desk.folder / "playbooks").mkdir()
    desk.run("snooze", "nightly", "--until", "1h")
    assert desk.run("serve", "--listen", "127.0.0.1:0").code == 2
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


def test_a_log_that_its_user_cannot_read_is_named_by_every_command(desk: UserDesk) -> None:
    process = desk.start_as_user("run", desk.playbook(), "--yes")
    assert desk.end(process).code == 0
    run_id = desk.log.stem
    desk.log.chmod(0)
    for first, *more in READING:
        command = [first, *more[:1], run_id, *more[1:]] if first == "audit" else [first, run_id, *more]
        ended = desk.end(desk.start_as_user(*command))
        assert (ended.code, "ermission denied" in ended.err) == (2, True), (command, ended)
        assert str(desk.log) in ended.err, command
    for command in (["savings"], ["runs"], ["runs", "--unfinished"], ["runs", "--unfinished", "--json"]):
        ended = desk.end(desk.start_as_user(*command))
        assert (ended.code, "1 log can't be read (permission denied)" in ended.err) == (0, True), (command, ended)
    desk.runs.chmod(0)
    for command in (["show", run_id], ["audit", "verify", "--all"], ["runs"], ["savings"]):
        ended = desk.end(desk.start_as_user(*command))
        assert (ended.code, "ermission denied" in ended.err) == (2, True), (command, ended)


def become_unknown() -> None:
    """Become a user that has no entry in the list of users."""
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)


def test_a_user_without_a_home_folder_can_work_where_the_state_folder_is_named(desk: UserDesk) -> None:
    desk.state.mkdir()
    os.chown(desk.state, 54321, 54321)
    nowhere: dict[str, str | None] = {"HOME": None}
    process = desk.start_as_user("run", desk.playbook(), "--yes", env=nowhere, become=become_unknown)
    assert desk.end(process).code == 0
    assert desk.records[0]["actor"].startswith("54321@")
    process = desk.start_as_user("runs", env=nowhere | {"ORCHESTRATOR_STATE_DIR": None}, become=become_unknown)
    ended = desk.end(process)
    assert (ended.code, "ORCHESTRATOR_STATE_DIR" in ended.err) == (2, True)
