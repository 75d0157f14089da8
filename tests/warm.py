"""Start the command in a fork of a process with all modules imported: a start takes a tenth of the time.

The forked process runs the same `main` as the installed command, with its own arguments, environment, folder, streams
and terminal. Tests of the start itself and of shells start the installed command.
"""

import atexit
import fcntl
import gc
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import termios
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import connection, get_context
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any, NoReturn

from orchestrator.cli.main import main

FORKSERVER = get_context("forkserver")
FORKSERVER.set_forkserver_preload(["tests.warm", "tests.crash.victim"])

_POLLING = threading.Lock()
"""Held to start or poll a process: a start polls all processes, and two polls at once read a wrong exit code, 255."""

_HANDLERS = Path(str(sys.modules["orchestrator"].__file__)).parent / "cli" / "handlers"
if sys.argv[0] == "-c":  # in the process to fork
    gc.disable()
    for handler in _HANDLERS.rglob("[a-z]*.py"):
        name = ".".join(handler.relative_to(_HANDLERS).with_suffix("").parts)
        import_module(f"orchestrator.cli.handlers.{name}")
    for name in ("orchestrator.cloud.aio", "psycopg", "procrastinate"):
        import_module(name)
    gc.freeze()  # no forked process searches the modules for garbage
    gc.enable()


class WarmProcess:
    """A command in a forked process, with the interface of `subprocess.Popen[str]` as far as tests need it."""

    def __init__(
        self,
        args: tuple[str, ...],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: int | IO[str],
        stdout: int | IO[str],
        stderr: int | IO[str],
        terminal: bool = False,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """Start the command.

        Args:
            args: the arguments.
            cwd: the folder.
            env: all variables.
            stdin: as for `subprocess.Popen`.
            stdout: the same.
            stderr: the same.
            terminal: start a session controlled by the terminal among the streams.
            prepare: a function to call in the new process, with a name for pickle: sets limits, or becomes a user.
        """
        self.args = ("orchestrator", *args)
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        theirs = [self._open(stdin, "stdin"), self._open(stdout, "stdout")]
        theirs.append(theirs[1] if stderr == subprocess.STDOUT else self._open(stderr, "stderr"))
        become = Command(theirs, terminal=terminal, prepare=prepare)
        self._process = FORKSERVER.Process(target=become, args=(list(args), str(cwd), dict(env)))
        with _POLLING:
            self._process.start()
        for fd in {*theirs} - {each for each in (stdin, stdout, stderr) if isinstance(each, int)}:
            os.close(fd)

    def _open(self, stream: int | IO[str], name: str) -> int:
        """Return the descriptor for the forked process."""
        if stream == subprocess.DEVNULL:
            return os.open(os.devnull, os.O_RDWR)
        if stream == subprocess.PIPE:
            ours, theirs = os.pipe()
            setattr(self, name, os.fdopen(ours, encoding="utf-8"))
            return theirs
        return stream if isinstance(stream, int) else os.dup(stream.fileno())

    @property
    def pid(self) -> int:
        """Id of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code; minus the signal's number after a death by signal; None before the end."""
        return self.poll()

    def poll(self) -> int | None:
        """Return the exit code, or None before the end."""
        with _POLLING:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises:
            subprocess.TimeoutExpired: when the process lives longer.
        """
        connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read the piped streams to their ends, and wait for the end of the process.

        Raises:
            subprocess.TimeoutExpired: when the process lives longer.
        """
        texts = {"stdout": "", "stderr": ""}

        def read(name: str, stream: IO[str]) -> None:
            with stream:
                texts[name] = stream.read()

        readers = [
            threading.Thread(target=read, args=(name, stream), daemon=True)
            for name, stream in (("stdout", self.stdout), ("stderr", self.stderr))
            if stream is not None and not stream.closed
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return texts["stdout"], texts["stderr"]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


CLIENT = """\
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: server.sendall(bytes([number])))
data = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(data).to_bytes(4, "big")], [0, 1, 2])
server.sendall(data)
code = int(server.recv(16) or b"137")
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""
"""A program that starts the command with the streams of a shell; the first argument is the server's socket."""


class WarmServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A server that starts a warm process for every client, and forwards the client's signals."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _WarmHandler)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve until the end of the block."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class _WarmHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Start the process, forward signals, and answer with the exit code."""
        client: socket.socket = self.request
        size, streams, *_ = socket.recv_fds(client, 4, 3)
        data = bytearray()
        while len(data) < int.from_bytes(size, "big"):
            data += client.recv(65_536)
        args, cwd, env = json.loads(data)
        process = WarmProcess(
            tuple(args),
            cwd=Path(cwd),
            env=env,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
        )
        for fd in streams:
            os.close(fd)
        threading.Thread(target=_forward_signals, args=(client, process), daemon=True).start()
        code = process.wait()
        with suppress(OSError):
            client.sendall(b"%d" % code)
            client.shutdown(socket.SHUT_RDWR)


def _forward_signals(client: socket.socket, process: WarmProcess) -> None:
    with suppress(OSError):
        while numbers := client.recv(16):
            for number in numbers:
                process.send_signal(number)
        process.kill()  # the client was killed


class Command:
    """The main function of the forked process, with the descriptors of its streams."""

    def __init__(
        self, descriptors: list[int], *, terminal: bool = False, prepare: Callable[[], object] | None = None
    ) -> None:
        self._descriptors = descriptors
        self._terminal = terminal
        self._prepare = prepare

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_descriptors": [DupFd(fd) for fd in self._descriptors]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({**state, "_descriptors": [each.detach() for each in state["_descriptors"]]})

    def __call__(self, args: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
        """Become the command."""
        for number, fd in enumerate(self._descriptors):
            os.dup2(fd, number)
        for fd in {*self._descriptors} - {0, 1, 2}:
            os.close(fd)
        if self._terminal:
            os.setsid()
            fcntl.ioctl(next(fd for fd in range(3) if os.isatty(fd)), termios.TIOCSCTTY, 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - they live as long as the process
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        warnings.simplefilter("error")
        sys.argv = ["orchestrator", *args]
        if self._prepare is not None:
            sys.dont_write_bytecode = True  # under a limit of file sizes it would be damaged
            self._prepare()
        os._exit(_exit_code())


def _exit_code() -> int:
    """Run the command to its end, as the interpreter does."""
    code = 0
    try:
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - a bug, printed as the interpreter prints it
        traceback.print_exc()
        code = 1
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 120  # the interpreter's own code for streams that cannot be flushed
    return code
