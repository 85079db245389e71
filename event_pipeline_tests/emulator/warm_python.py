"""Starts Python scripts as forks of a process that has imported what they need, so that each start costs a fork.

A Glue run of the tests takes a tenth of a second; starting Python and importing boto3 and pyarrow takes five times as
long. Each script still is a process of its own, with its own environment, folder, pipes and exit code.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import boto3
import pytest

from event_pipeline_tests.emulator.service_models import share_service_models
from event_pipeline_tests.forks import leave

_HEADER_BYTES = 8


class WarmProcess:
    """A forked script, seen as `subprocess.Popen` shows a process."""

    def __init__(self, status: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.pid = int(status.readline())
        self._code: int | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._await, args=(status,), daemon=True).start()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: the time is over first.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        assert self._code is not None
        return self._code

    def _await(self, status: IO[bytes]) -> None:
        with status:
            # Nothing comes when the process that waits for the script was killed itself.
            self._code = int(status.readline() or -signal.SIGKILL)
        self._ended.set()


class WarmPython:
    """The process that scripts are forked from; one for all accounts of a test process."""

    def __init__(self, imports: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start it, with this process's environment if no other is given; each script gets its own."""
        own, theirs = socket.socketpair()
        self._socket = own
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()", str(theirs.fileno()), *imports],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        theirs.close()
        atexit.register(self.close)

    def start(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> WarmProcess:
        """Start a script: its path and arguments."""
        pipes = [os.pipe() for _ in range(3)]
        request = json.dumps({"command": list(command), "folder": str(folder), "environment": dict(environment)})
        body, handles = request.encode(), array.array("i", [write for _, write in pipes])
        with self._lock:
            header = len(body).to_bytes(_HEADER_BYTES, "big")
            self._socket.sendmsg([header], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)])
            self._socket.sendall(body)
        for _, write in pipes:
            os.close(write)
        status, stdout, stderr = (os.fdopen(read, "rb", buffering=0) for read, _ in pipes)
        return WarmProcess(status, stdout, stderr)

    def close(self) -> None:
        """End it; scripts that run go on."""
        self._socket.close()
        self._process.wait()


def _fork_for_each(requests: socket.socket) -> None:
    """Fork for each request until nobody can send any; in the fork that became a script, return at its end."""
    # The processes that wait for a script end by themselves, and nobody asks for their exit codes.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        header, handles = _received(requests, _HEADER_BYTES, 3)
        if not header:
            return
        body, _ = _received(requests, int.from_bytes(header, "big"), 0)
        if os.fork() == 0:
            requests.close()
            if _supervise(json.loads(body), *handles):
                return
            os._exit(0)
        for handle in handles:
            os.close(handle)


def _received(requests: socket.socket, size: int, most_handles: int) -> tuple[bytes, list[int]]:
    found, handles = b"", array.array("i")
    while len(found) < size:
        part, ancillary, _, _ = requests.recvmsg(size - len(found), socket.CMSG_SPACE(most_handles * handles.itemsize))
        if not part:
            return b"", []
        for _, _, content in ancillary:
            handles.frombytes(content)
        found += part
    return found, list(handles)


def _supervise(request: dict[str, Any], status: int, stdout: int, stderr: int) -> bool:
    """Fork the script, and report its process id and then its exit code; true in the script, at its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    script = os.fork()
    if script == 0:
        os.close(status)
        _run(request, stdout, stderr)
        return True
    for handle in (stdout, stderr):
        os.close(handle)
    try:
        os.setpgid(script, script)
    except OSError:
        pass  # it has done so itself
    os.write(status, b"%d\n" % script)
    _, code = os.waitpid(script, 0)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(code))
    return False


def _run(request: dict[str, Any], stdout: int, stderr: int) -> None:
    """Become the script; what it raises ends this process as it ends `python script arguments`."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, max(stdout, stderr) + 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    script, *arguments = request["command"]
    sys.argv = [script, *arguments]
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [str(Path(script).parent), *paths]
    for path in paths:
        if (Path(path) / "sitecustomize.py").is_file():
            runpy.run_path(str(Path(path) / "sitecustomize.py"))
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        leave(end.code or 0)
    except Exception:
        sys.excepthook(*sys.exc_info())
        leave(1)
    leave(0)


def serve() -> None:
    """Import the modules that the arguments name, then fork a script for each request."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        __import__(module)
    with pytest.MonkeyPatch.context() as patched:
        share_service_models(patched)
        boto3.Session("nobody", "nothing", region_name="us-east-1").client("s3")
        _fork_for_each(requests)
