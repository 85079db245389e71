"""Runs real commands as forks of a warm process; each system call below the data folder can be refused or be the last.

Starting Python with Dagster takes three seconds, a fork some milliseconds. A library that is preloaded into the warm
process (`calls.c`) asks here before each call, so what happens at the n-th call is decided in Python, and always the
same. Without a C compiler commands still run, but their calls are not seen.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from event_pipeline.settings import PREFIX
from event_pipeline_tests.command import Ended
from event_pipeline_tests.emulator.warm_python import WarmPython
from event_pipeline_tests.reliability import watched_command

DIES = -1
"""Answer to a call: the process ends by SIGKILL before it."""
GOES_ON = 0
"""Answer to a call: it happens. Any other answer is the errno with which it fails."""

PROJECT = Path(__file__).parents[2]
_SOURCE = Path(__file__).with_name("calls.c")
_PACKET_BYTES = 16_384
_PATIENCE_SECONDS = 300
_IMPORTS = (
    "dagster._cli",
    "duckdb",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "upath.implementations.local",
    "event_pipeline.cli",
    "event_pipeline.definitions",
    "event_pipeline.dagster_instance.prepare",
    "event_pipeline.engines.local",
    "event_pipeline.generator.raw_folder",
    "event_pipeline.operations.building",
    "event_pipeline.operations.runs",
    "event_pipeline.operations.housekeeping",
    "event_pipeline.reporting.build_summary",
    "event_pipeline.reporting.housekeeping",
    "event_pipeline.reporting.repair",
    # pyarrow imports it where it is installed, which takes a second.
    *(name for name in ("pandas",) if importlib.util.find_spec(name)),
)
"""What the commands import when they run, so that a fork has it."""


class NoCompilerError(Exception):
    """System calls cannot be watched on this machine; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that is about to happen below the data folder."""

    number: int
    """From 1, in the order of the process."""
    name: str
    """The function of libc; `create` for an open that may create or empty the file, `open` for any other."""
    path: str
    """Relative to the data folder."""
    other: str = ""
    """The new name in a rename or link."""

    def __str__(self) -> str:
        return f"call {self.number}, {self.name} {self.path}{f' -> {self.other}' if self.other else ''}"


Answer = Callable[[Call], int]
"""Decides what happens at a call: GOES_ON, DIES, or the errno with which it fails."""


class Command:
    """A command that runs over a data folder."""

    def __init__(
        self,
        root: Path,
        *arguments: str,
        program: str = "event-pipeline",
        answer: Answer | None = None,
        left_out: str = "dagster",
        reads: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it. With `answer` its calls below the data folder are watched, but for those below `left_out` in it."""
        self._root, self._answer = os.path.realpath(root), answer
        passed = {
            **{name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DAGSTER_"))},
            "PYTHONPATH": str(PROJECT),
            f"{PREFIX}ROOT": self._root,
            f"{PREFIX}WORKERS": "1",
            **(environment or {}),
        }
        listener = None
        if answer is not None:
            library()
            address = f"event-pipeline-{uuid.uuid4().hex}"
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(f"\0{address}")
            listener.listen(1)
            listener.settimeout(_PATIENCE_SECONDS)
            passed |= {
                watched_command.WATCHER: address,
                watched_command.WATCHED: self._root,
                watched_command.LEFT_OUT: os.path.join(self._root, left_out) if left_out else "",
                watched_command.READS: str(int(reads)),
            }
        self._process = _warm().start([watched_command.__file__, program, *arguments], PROJECT, passed)
        self.pid = self._process.pid
        self._said: dict[str, bytes] = {}
        self._threads = [
            threading.Thread(target=self._read, args=("out", self._process.stdout), daemon=True),
            threading.Thread(target=self._read, args=("err", self._process.stderr), daemon=True),
        ]
        if listener is not None:
            self._threads.append(threading.Thread(target=self._watch, args=(listener,), daemon=True))
        for thread in self._threads:
            thread.start()

    def kill(self) -> None:
        """Kill it with its children, if it still runs."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children, if it still runs."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def wait(self, seconds: float = _PATIENCE_SECONDS) -> Ended:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._process.wait(seconds)
        # Children that it left behind would hold its pipes open.
        self.kill()
        for thread in self._threads:
            thread.join(seconds)
        return Ended(code, self._said.get("out", b"").decode(), self._said.get("err", b"").decode())

    def _read(self, stream: str, pipe: IO[bytes]) -> None:
        with pipe:
            self._said[stream] = pipe.readall()  # type: ignore[attr-defined]

    def _watch(self, listener: socket.socket) -> None:
        assert self._answer
        with listener:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                return
        number = 0
        with connection:
            while packet := _received(connection):
                number += 1
                name, path, other = packet.decode("utf-8", "surrogateescape").split("\0")
                call = Call(number, name, self._relative(path), self._relative(other))
                try:
                    connection.send(str(self._answer(call)).encode())
                except BrokenPipeError:
                    return  # killed meanwhile

    def _relative(self, path: str) -> str:
        return path.removeprefix(self._root).removeprefix("/")


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_PACKET_BYTES)
    except ConnectionResetError:
        return b""


def run(root: Path, *arguments: str, answer: Answer | None = None, reads: bool = False, left_out: str = "dagster",
        environment: Mapping[str, str] | None = None) -> Ended:  # fmt: skip
    """Run `event-pipeline` over a data folder to its end."""
    command = Command(root, *arguments, answer=answer, reads=reads, left_out=left_out, environment=environment)
    return command.wait()


@functools.cache
def library() -> Path:
    """Build the library that asks before each call.

    Raises:
        NoCompilerError: there is no C compiler, or it is not for this kind of system.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompilerError("system calls are watched by a small C library: cc, gcc and clang are missing")
    folder = Path(tempfile.mkdtemp(prefix="calls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = folder / "calls.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(built), str(_SOURCE), "-ldl", "-pthread"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise NoCompilerError(f"the C compiler cannot build {_SOURCE.name}: {made.stderr.strip()[:300]}")
    return built


@functools.cache
def _warm() -> WarmPython:
    """Return the process that commands are forked from, with the library where it can be built."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    try:
        environment["LD_PRELOAD"] = str(library())
    except NoCompilerError:
        pass
    return WarmPython(_IMPORTS, environment)
