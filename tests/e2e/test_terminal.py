"""People at a terminal: the question, the live view, Ctrl-C; and readers that go away."""

import fcntl
import os
import re
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

import pytest

from tests.e2e.conftest import OpenSite
from tests.e2e.site import COMMAND, NAMES, Process, Site, until
from tests.warm import WarmProcess


class Terminal:
    """A command on a pseudo-terminal: what it shows, and keys to press."""

    def __init__(self, master: int, process: Process) -> None:
        self.process = process
        self.shown = ""
        self._master = master
        os.set_blocking(master, False)

    def shows(self, pattern: str) -> bool:
        """Whether it has shown this by now, or stopped showing anything."""
        try:
            while data := os.read(self._master, 65536):
                self.shown += data.decode("utf-8", "replace")
        except BlockingIOError:
            pass
        except OSError:
            self.process.wait(60)
        return re.search(pattern, self.shown) is not None

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def close(self) -> None:
        """Close the window."""
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDONLY)

    def ends_with(self, code: int) -> bool:
        """Wait for the end, reading on; whether it is this one."""
        until(lambda: self.shows("(?!)") or self.process.poll() is not None)
        self.shows("(?!)")
        assert "Traceback" not in self.shown, self.shown
        return self.process.wait(60) == code


@contextmanager
def terminal(
    site: Site,
    *args: str,
    rate: float = 200,
    playbook: str | None = None,
    command: Sequence[str] | None = None,
    typed: str = "",
    columns: int = 100,
    elsewhere: Mapping[str, int | IO[str]] | None = None,
    program: str | None = None,
) -> Iterator[Terminal]:
    """A command on a pseudo-terminal of its own: `run` where no other is given.

    Args:
        site: where it is started.
        *args: more of its arguments.
        rate: the limit of the playbook.
        playbook: a playbook of another file.
        command: another command.
        typed: keys that are pressed before it starts.
        columns: how wide the terminal is.
        elsewhere: those of stdin, stdout and stderr that do not lead to the terminal.
        program: the program to start; a forked process of the command by default.
    """
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (40, columns))
    os.write(master, typed.encode())
    arguments = (*(command or ("run", playbook or site.playbook(rate=rate, burst=1, timeout="60s"))), *args)
    environment = {"TERM": "xterm-256color", **site.environment}
    streams = {"stdin": slave, "stdout": slave, "stderr": slave, **(elsewhere or {})}
    process: Process
    if program is None:
        process = WarmProcess(arguments, cwd=site.folder, env=environment, terminal=True, **streams)  # type: ignore[arg-type] # by name
    else:
        process = subprocess.Popen(
            [program, *arguments],
            cwd=site.folder,
            env=environment,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - makes it the controlling terminal
            **streams,  # type: ignore[call-overload] # by name
        )
    os.close(slave)
    user = Terminal(master, process)
    try:
        yield user
    finally:
        process.kill()
        process.wait()
        user.close()


def test_on_a_terminal_it_asks_for_the_number_of_cvms_and_shows_the_run_live(open_site: OpenSite) -> None:
    site = open_site(timing={"stop_seconds": [0.5, 1]})
    with terminal(site, program=COMMAND) as user:
        until(lambda: user.shows(r"Type the number of CVMs to stop \(8\)"))
        assert site.stops == []
        user.type("8\n")
        until(lambda: user.shows(r"\d settling"))
        assert user.ends_with(0)
        assert "8 CVMs of 8 will be stopped" in user.shown
        assert "succeeded: " in user.shown
        assert site.sim.api_key not in user.shown
    assert site.effective == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize(
    ("typed", "exit_code", "why"),
    [("7\n", 3, "not confirmed"), ("\x04", 3, "not confirmed"), ("\x03", 130, "interrupted")],
    ids=["wrong number", "end of input", "Ctrl-C"],
)
def test_any_other_answer_is_no_yes_and_stdout_ends_with_what_happened(
    site: Site, typed: str, exit_code: int, why: str
) -> None:
    file = site.folder / "out"
    with file.open("w") as out, terminal(site, elsewhere={"stdout": out}) as user:
        until(lambda: user.shows("Type the number"))
        user.type(typed)
        assert user.ends_with(exit_code)
        assert ("nothing was changed" in user.shown) is (why == "interrupted")
    assert file.read_text().endswith(f"\nNothing was sent: {why}.\n")
    site.assert_nothing_happened()


def test_what_was_typed_before_the_question_is_no_answer(site: Site) -> None:
    with terminal(site, typed="8\n8\n8") as user:
        until(lambda: user.shows(r"Type the number"))
        user.type("\n")
        assert user.ends_with(3)
    site.assert_nothing_happened()


def test_keys_that_are_no_text_are_no_yes_and_no_crash(site: Site) -> None:
    with terminal(site) as user:
        until(lambda: user.shows("Type the number"))
        os.write(user._master, b"\xff8\n")
        assert user.ends_with(3)
    site.assert_nothing_happened()


REDIRECTED = [("stdout",), ("stderr",), ("stdout", "stderr")]


@pytest.mark.parametrize("streams", REDIRECTED, ids="+".join)
def test_output_that_leads_elsewhere_does_not_keep_a_person_at_the_terminal_from_being_asked(
    site: Site, streams: tuple[str, ...]
) -> None:
    """The terminal shows the plan as well where stdout does not."""
    with (site.folder / "elsewhere").open("w") as file, terminal(site, elsewhere=dict.fromkeys(streams, file)) as user:
        until(lambda: user.shows(r"Type the number of CVMs to stop \(8\)"))
        assert "8 CVMs of 8 will be stopped" in user.shown
        user.type("8\n")
        assert user.ends_with(0)
    assert site.effective == dict.fromkeys(NAMES, 1)
    if "stdout" in streams:
        assert "succeeded: " in (site.folder / "elsewhere").read_text()


def test_where_stdin_leads_elsewhere_nobody_is_asked(site: Site) -> None:
    with terminal(site, elsewhere={"stdin": subprocess.DEVNULL}) as user:
        assert user.ends_with(3)
        assert "Type the number" not in user.shown
        assert "Nothing was sent: not confirmed." in user.shown
    site.assert_nothing_happened()


def test_ctrl_c_during_the_run_sends_nothing_more_and_says_how_to_go_on(site: Site) -> None:
    with terminal(site, "--yes", rate=5) as user:
        until(lambda: len(site.stops) >= 3)
        user.type("\x03")
        assert user.ends_with(130)
        assert f"orchestrator resume {site.log.stem}" in user.shown
    assert 3 <= sum(site.effective.values()) < 8
    show, report = site.run_each(("show", site.log.stem), ("report", site.log.stem, "--format", "text"))
    for told in (show.out, report.out):
        assert "not finished: interrupted (ctrl-c)" in told.lower()
        assert re.search(r"\d\s+settled", told)
        assert re.search(r"\d\s+waiting", told)
        assert f"orchestrator resume {site.log.stem}" in told
    with terminal(site, command=("runs",), columns=60) as user:
        assert user.ends_with(0)
        assert re.search(rf"^next commands:\s*^orchestrator resume {site.log.stem}\s*$", user.shown, re.MULTILINE)
        assert re.search(rf"{site.log.stem}.*unfinished", user.shown)


def test_a_terminal_that_is_closed_loses_nothing(site: Site) -> None:
    with terminal(site, "--yes", rate=5) as user:
        until(lambda: len(site.stops) >= 2)
        user.close()
        until(lambda: site.events()["run.finished"])
    assert site.effective == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_loses_nothing(site: Site, stream: str) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        process = site.start("run", site.playbook(rate=20, burst=1), "--yes", **{stream: pipe})  # type: ignore[arg-type] # by name
    os.read(reader, 1)
    os.close(reader)
    assert site.end(process).code == 0
    assert site.events()["run.finished"] == 1
    assert site.effective == dict.fromkeys(NAMES, 1)


def test_without_any_open_stream_it_still_does_its_work(site: Site) -> None:
    script = f"exec orchestrator run {site.playbook()} --yes <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], cwd=site.folder, env=site.environment, check=False).returncode == 0  # noqa: S607 - the shell of the system
    assert site.effective == dict.fromkeys(NAMES, 1)
    assert site.events()["run.finished"] == 1


def test_names_of_others_cannot_steer_the_terminal(open_site: OpenSite) -> None:
    evil = "web\x1b]0;owned\x07\u202e"
    site = open_site(fleet={"cvms": 1, "names": [evil], "stopped_share": 0}, behaviour=[{"kind": "errors", "count": 1}])
    ended = site.run("run", site.playbook(), "--yes", env={"ORCHESTRATOR_LOG__FORMAT": "console"})
    assert ended.code == 6
    shown = site.run("plan", site.playbook(), "--details").out + ended.out + ended.err
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_a_yes_that_comes_late_is_carried_out_on_fresh_statuses(open_site: OpenSite) -> None:
    """Whoever went down while the question stood is left alone, and no stop of it is billed."""
    site = open_site()
    site.environment["ORCHESTRATOR_GUARDS__RECHECK_AFTER"] = "0.1"
    with terminal(site) as user:
        until(lambda: user.shows(r"Type the number"))
        asked_at = site.sim.now()
        name = next(cvm.name for cvm in site.sim.world.cvms if cvm.phase_at(site.sim.now()).status == "running")
        site.sim.world.set_status(site.sim.world.find_by_name(name), "stopped", site.sim.now())
        until(lambda: site.sim.now() > asked_at + 0.2)
        user.type(f"{len(NAMES)}\n")
        assert user.ends_with(0), user.shown
    skipped = [record["cvm"]["name"] for record in site.records if record.get("outcome") == "skipped"]
    assert skipped == [name]
    assert len(site.stops) == len(NAMES) - 1, [record for record in site.records if "intent" in record["event"]]


@pytest.mark.parametrize(("option", "cvms", "teepods"), [((), 0, 2), (("-v",), 8, 0), (("-q",), 0, 0)])
def test_a_terminal_shows_a_line_for_each_teepod_and_with_verbose_for_each_cvm(
    site: Site, option: tuple[str, ...], cvms: int, teepods: int
) -> None:
    with terminal(site, "--yes", *option) as user:
        assert user.ends_with(0)
        assert (user.shown.count("cvm.settled"), user.shown.count("teepod.done")) == (cvms, teepods)
        assert "succeeded: " in user.shown


SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    ("args", "environment", "is_coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"TERM": "dumb"}, False),
        (("--color", "never"), {}, False),
        (("--color=always",), {"NO_COLOR": "1"}, True),
    ],
)
def test_plans_errors_and_logs_are_coloured_as_the_environment_and_the_option_say(
    site: Site, args: tuple[str, ...], environment: dict[str, str], is_coloured: bool
) -> None:
    site.environment |= environment
    with terminal(site, *args) as user:
        until(lambda: user.shows("Type the number"))
        user.type("no\n")
        assert user.ends_with(3)
        assert bool(SGR.search(user.shown)) is is_coloured
        assert bool(re.search(r"\x1b\[[0-9;]*mError", user.shown)) is is_coloured
    with terminal(site, "--yes", *args) as user:
        assert user.ends_with(0)
        assert bool(SGR.search(user.shown)) is is_coloured
        assert ("\x1b" in user.shown) is (environment != {"TERM": "dumb"}), "nor are lines of a dumb one drawn anew"


def test_bash_completes_run_ids_and_variables(site: Site) -> None:
    site.runs.mkdir(parents=True)
    (site.runs / "20261123T080000Z-4f2a.jsonl").touch()
    (site.folder / "mine.yaml").write_text("vars:\n  teepod: {required: true}\n")
    with terminal(site, command=("--norc", "--noprofile"), program="bash") as user:
        user.type('PS1="> "; eval "$(orchestrator completion bash)"; echo re""ady\n')
        until(lambda: user.shows("ready"))
        user.type("orchestrator show 2\t")
        until(lambda: user.shows("show 20261123T080000Z-4f2a "))
        user.type("\x15orchestrator run mine.yaml --var teep\t")
        until(lambda: user.shows("--var teepod="))
        user.type("alpha --var \t--dry")
        until(lambda: user.shows("--var teepod=alpha --var \x07--dry"))
        user.type("\x15exit\n")
        assert user.ends_with(0)
