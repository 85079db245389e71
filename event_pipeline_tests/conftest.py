"""Fixtures that all rooms share: a data folder of its own for every test, and an engine over it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from botocore.loaders import JSONFileLoader

from event_pipeline.settings import PREFIX, Settings, load_settings
from event_pipeline_tests.command import Run, run_command

# Deadlines measure the machine, and a failure must come back when it is looked into.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith(PREFIX) or variable == "DAGSTER_HOME":
            monkeypatch.delenv(variable)


@pytest.fixture(scope="session", autouse=True)
def _service_models_are_read_once() -> Iterator[None]:
    """Keep what botocore reads for every new session: the models of a few services are megabytes of JSON."""
    with pytest.MonkeyPatch.context() as patched:
        read = JSONFileLoader().load_file
        patched.setattr(JSONFileLoader, "load_file", staticmethod(functools.cache(read)))
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
