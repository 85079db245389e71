"""`event-pipeline dev` as a separate process: started, queried over HTTP, killed, and never left running."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from event_pipeline.settings import PREFIX

START_TIMEOUT_SECONDS = 300
STOP_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.2

_SELECTOR = {"repositoryLocationName": "event_pipeline", "repositoryName": "__repository__"}
_START_SENSOR = """
mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
  __typename ... on Sensor { sensorState { status } } ... on PythonError { message } } }
"""
_START_SCHEDULE = """
mutation ($selector: ScheduleSelector!) { startSchedule(scheduleSelector: $selector) {
  __typename ... on ScheduleStateResult { scheduleState { status } } ... on PythonError { message } } }
"""


class TimedOutError(AssertionError):
    """What a test waited for did not happen in time."""


def wait_for(what: str, is_so: Callable[[], bool], seconds: float, every: float = POLL_SECONDS) -> None:
    """Poll until a condition holds.

    Raises:
        TimedOutError: it is not, after so many seconds; the message says what was waited for.
    """
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise TimedOutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


@dataclass
class Dev:
    """One data folder whose Dagster is started and killed; all its processes have the folder in their environment."""

    root: Path
    environment: Mapping[str, str]
    """Settings, `EVENT_PIPELINE_...`."""
    log: Path
    port: int = field(default_factory=lambda: free_port())
    peaks_mb: dict[str, float] = field(default_factory=dict)
    """Kind of process -> largest resident set that one process of that kind had, in MB."""
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start webserver, daemon and code server, and wait until the code location is loaded."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "event_pipeline.cli", "dev", "--port", str(self.port)],
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_ignore_interrupts,
            )
        wait_for(f"the Dagster UI (log: {self.log})", self._is_loaded, START_TIMEOUT_SECONDS)

    def switch_on(self, sensor: str, schedule: str) -> None:
        """Turn the sensor and the schedule on, as a user does in the UI."""
        started = self._ask(_START_SENSOR, {"selector": {**_SELECTOR, "sensorName": sensor}})["startSensor"]
        assert started.get("sensorState") == {"status": "RUNNING"}, started
        started = self._ask(_START_SCHEDULE, {"selector": {**_SELECTOR, "scheduleName": schedule}})["startSchedule"]
        assert started.get("scheduleState") == {"status": "RUNNING"}, started

    def kill_daemon(self) -> None:
        """Kill the daemon outright; `dagster dev` then ends what is left of itself."""
        (daemon,) = [pid for pid, kind in self.processes().items() if kind == "daemon"]
        os.kill(daemon, signal.SIGKILL)
        self._join(STOP_TIMEOUT_SECONDS)

    def runs(self) -> list[int]:
        """Return the processes of runs that go on."""
        return [pid for pid, kind in self.processes().items() if kind == "run"]

    def kill_runs(self) -> int:
        """Kill the processes of all runs that go on; return how many."""
        runs = self.runs()
        for pid in runs:
            _kill(pid)
        return len(runs)

    def kill_everything(self) -> None:
        """Kill every process at once, as a power cut does."""
        while processes := self.processes():
            for pid in processes:
                _kill(pid)
            self._join(STOP_TIMEOUT_SECONDS)

    def end(self, by: signal.Signals = signal.SIGINT) -> None:
        """Shut it down cleanly.

        Raises:
            TimeoutExpired: it does not end.
        """
        if self._process and self._process.poll() is None:
            self._process.send_signal(by)
            self._join(STOP_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Shut it down cleanly, then kill whatever is still running."""
        with suppress(subprocess.TimeoutExpired):
            self.end()
        self.kill_everything()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command over the same data folder."""
        return subprocess.run(
            [sys.executable, "-m", "event_pipeline.cli", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def processes(self) -> dict[int, str]:
        """Return the processes over this data folder: process id -> daemon, webserver, code server or run."""
        mark = f"EVENT_PIPELINE_ROOT={self.root}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    if mark in (folder / "environ").read_bytes().split(b"\0"):
                        found[int(folder.name)] = _kind((folder / "cmdline").read_bytes().decode())
                except OSError:
                    continue  # it ended meanwhile
        return found

    def note_memory(self) -> None:
        """Record the resident set of every process once."""
        for pid, kind in self.processes().items():
            try:
                peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            except OSError:
                continue
            if peak:
                self.peaks_mb[kind] = max(self.peaks_mb.get(kind, 0.0), int(peak[1]) / 1024)

    @contextmanager
    def memory_noted(self) -> Iterator[None]:
        """Record the memory of all processes once a second during the block."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1):
                self.note_memory()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DAGSTER_"))}
        return {**outside, **self.environment, f"{PREFIX}ROOT": str(self.root), "PYTHONUNBUFFERED": "1"}

    def _is_loaded(self) -> bool:
        assert self._process
        assert self._process.poll() is None, f"event-pipeline dev ended with {self._process.returncode}: {self.log}"
        try:
            found = self._ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }", {})
        except (OSError, urllib.error.URLError):
            return False
        return bool(found["repositoriesOrError"].get("nodes") == [{"name": "__repository__"}])

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = json.load(answer)
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    def _join(self, seconds: float) -> None:
        if self._process:
            self._process.wait(seconds)


@contextmanager
def dev_running(root: Path, environment: Mapping[str, str], log: Path) -> Iterator[Dev]:
    """Start Dagster over a data folder; none of its processes outlives the block, whatever happens."""
    dev = Dev(root, environment, log)
    try:
        dev.start()
        yield dev
    finally:
        dev.stop()
        assert dev.processes() == {}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ignore_interrupts() -> None:
    """Do what a script's shell does to programs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended meanwhile


def _kind(command: str) -> str:
    if "dagster._daemon" in command:
        return "daemon"
    if "event_pipeline.webserver\0--" in command:
        return "webserver"
    if "multiprocessing" in command:
        return "run"
    return "code server"
