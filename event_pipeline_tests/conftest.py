"""Fixtures that all rooms share: a data folder of its own for every test, and an engine over it."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from event_pipeline.engines.aws import athena, glue_job
from event_pipeline.infrastructure import stack
from event_pipeline.settings import PREFIX, Settings, load_settings
from event_pipeline_tests.command import Run, run_command
from event_pipeline_tests.emulator.service_models import share_service_models

# Else numpy, which pyarrow imports where it is installed, starts a thread for each core in every process of the tests.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - pytest makes folders there that only their owner reads
_ROOM_BYTES = 4 << 30
_M_ARENA_MAX = -8
"""Number of the option in glibc's malloc.h."""

# Deadlines measure the machine, and a failure must come back when it is looked into.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


class ModulesThatShare(LoadScopeScheduling):  # type: ignore[misc]
    """Gives tests to workers one by one, those of a module with a fixture for all of them together.

    xdist's own `--dist loadgroup` groups nothing under pytest 9.2 (pytest-xdist's issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        module, _, _ = nodeid.partition("::")
        return module if self._shares(self.config.rootpath / module) else nodeid

    @staticmethod
    @functools.cache
    def _shares(module: Path) -> bool:
        return 'scope="module"' in module.read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModulesThatShare | None:
    """Have a costly fixture of a module made by one worker, not by each."""
    return ModulesThatShare(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Have a worker more than there are cores: tests wait for services, polls and processes a part of their time."""
    return len(os.sched_getaffinity(0)) + 1


def _work_in_memory() -> None:
    """Keep what tests write in memory, where there is room for it: most of what they wait for is a disk's fsync."""
    try:
        roomy = shutil.disk_usage(_MEMORY_FOLDER).free >= _ROOM_BYTES
    except OSError:
        return
    if roomy and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = str(_MEMORY_FOLDER)
        tempfile.tempdir = None


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the process: where tests write, Ctrl-C, and how threads allocate memory."""
    _work_in_memory()
    # A shell that starts tests in the background has Ctrl-C ignored, by the commands under test as well.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # The emulated account has a thread for each request and each query. glibc would give them 8 arenas a core and empty
    # none of them: a worker grew to 2.3 GB.
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option:
        set_option(_M_ARENA_MAX, 2)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith(PREFIX) or variable == "DAGSTER_HOME":
            monkeypatch.delenv(variable)


@pytest.fixture(scope="session", autouse=True)
def _service_models_are_read_once() -> Iterator[None]:
    """Read the models of AWS's services once for all tests of the process."""
    with pytest.MonkeyPatch.context() as patched:
        share_service_models(patched)
        yield


@pytest.fixture(scope="session", autouse=True)
def _emulated_aws_is_asked_often() -> Iterator[None]:
    """Ask an emulated AWS, which is done in a moment, more often than AWS, where a job takes a minute to start."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (athena, glue_job, stack):
            patched.setattr(module, "_FIRST_POLL_SECONDS", 0.05)
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The data folder of one test."""
    return tmp_path / "data"


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings over that folder; one worker, because test data is small."""
    return load_settings(root=root, workers=1, lock_timeout_seconds=20)


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs one command over the test's data folder, in this process."""
    monkeypatch.setenv(f"{PREFIX}ROOT", str(root))
    monkeypatch.setenv(f"{PREFIX}WORKERS", "1")
    return lambda *arguments: run_command(arguments, capsysbinary)


@pytest.fixture
def real_samples() -> list[Path]:
    """The real sample files of the original producer, where they stand beside the checkout."""
    folder = Path(__file__).parents[2] / "shared" / "real-input"
    samples = sorted(folder.glob("events-*.jsonl.gz"))
    if not samples:
        pytest.skip("the real sample files are not beside this checkout")
    return samples
