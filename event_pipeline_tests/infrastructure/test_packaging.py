"""What is shipped to the Glue job runs there by itself, and is the same file for the same sources."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pyarrow
import pytest

import event_pipeline
from event_pipeline.infrastructure import packaging
from event_pipeline.infrastructure.packaging import (
    ForeignWheelError,
    MissingSourceError,
    MissingWheelError,
    generator_artifact,
    package_artifact,
    script_artifact,
    wheel_artifacts,
)

JUDGE = """
import gzip, importlib.util, io, sys
from event_pipeline.engines.commit import HourCommit
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.silver_files import EventsFile
from event_pipeline.rules.validation import validate_object

hour, limits = Hour.parse("2025-12-07T22"), Limits()
stored = io.BytesIO(gzip.compress(b"{}"))
result = validate_object(stored, key="k", etag="e", size=1, hour=hour, limits=limits)
assert result.account.quarantined_by_reason == {"missing_timestamp": 1}
assert sys.modules["event_pipeline"].__file__.startswith(sys.argv[1]), sys.modules["event_pipeline"].__file__
assert not any(importlib.util.find_spec(name) for name in ("boto3", "dagster", "duckdb", "isal", "pydantic"))
"""


def test_the_zip_alone_judges_records_where_only_pyarrow_is_installed(tmp_path: Path) -> None:
    """In an isolated interpreter: no site-packages but pyarrow, no checkout."""
    archive = tmp_path / "event_pipeline.zip"
    archive.write_bytes(package_artifact().content)
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "pyarrow").symlink_to(Path(pyarrow.__file__).parent)
    for libraries in Path(pyarrow.__file__).parents[1].glob("pyarrow.libs"):
        (modules / libraries.name).symlink_to(libraries)
    run = subprocess.run(
        [sys.executable, "-S", "-c", JUDGE, str(archive)],
        env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        | {"PYTHONPATH": os.pathsep.join((str(archive), str(modules)))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_equal_sources_give_equal_bytes_whatever_their_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "event_pipeline"
    for pattern in packaging.SHIPPED:
        for path in sorted(packaging.PACKAGE.glob(pattern), reverse=True):
            target = copy / path.relative_to(packaging.PACKAGE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o600)
            os.utime(target, (1, 1))
    shipped = package_artifact()
    monkeypatch.setattr(packaging, "PACKAGE", copy)
    assert package_artifact() == shipped
    with (copy / "rules" / "record.py").open("a") as source:
        source.write("\n")
    assert package_artifact().key != shipped.key


def test_artifacts_lie_under_the_digest_of_their_bytes() -> None:
    for artifact, name in (
        (package_artifact(), "event_pipeline.zip"),
        (script_artifact(), "silver_events.py"),
        (generator_artifact(), "generator.zip"),
    ):
        assert artifact.key == f"artifacts/{hashlib.sha256(artifact.content).hexdigest()}/{name}"


def test_the_zip_holds_the_rules_and_the_commit_record_and_no_engine() -> None:
    names = zipfile.ZipFile(io.BytesIO(package_artifact().content)).namelist()
    assert names == sorted(names)
    assert {"event_pipeline/rules/validation.py", "event_pipeline/engines/commit.py"} <= set(names)
    assert not [name for name in names if not name.startswith(("event_pipeline/rules/", "event_pipeline/engines/"))][1:]
    assert [name for name in names if name.startswith("event_pipeline/engines/")] == [
        "event_pipeline/engines/__init__.py",
        "event_pipeline/engines/commit.py",
    ]


def test_an_installation_without_the_script_cannot_ship_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packaging, "SCRIPT", tmp_path / "silver_events.py")
    with pytest.raises(MissingSourceError, match="installation is incomplete"):
        script_artifact()


@pytest.mark.long
def test_wheels_are_fetched_once_and_are_of_the_installed_versions_where_there_is_one(tmp_path: Path) -> None:
    shipped = wheel_artifacts(tmp_path)
    names = [each.key.rpartition("/")[2].split("-")[:2] for each in shipped]
    installed = [["dagster_pipes", version("dagster-pipes")], ["pyarrow", pyarrow.__version__]]
    assert [each for each in names if each[0] != "numpy"] == installed
    for wheel in shipped:
        assert wheel.key.startswith(f"artifacts/{hashlib.sha256(wheel.content).hexdigest()}/")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert wheel_artifacts(tmp_path) == shipped
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a wheel of each package that is shipped, whose digests are known."""
    digests: dict[str, str] = {}
    for name in packaging.WHEELS:
        path = tmp_path / f"{packaging.wheel_prefix(name)}py3-none-any.whl"
        path.write_bytes(name.encode())
        digests[path.name] = hashlib.sha256(name.encode()).hexdigest()
    monkeypatch.setattr(packaging, "WHEEL_DIGESTS", digests)
    return tmp_path


def test_a_wheel_is_shipped_when_it_is_the_published_one(stand_in: Path) -> None:
    assert [each.content for each in wheel_artifacts(stand_in)] == [b"dagster-pipes", b"numpy", b"pyarrow"]


def test_a_wheel_that_somebody_changed_is_not_shipped(stand_in: Path) -> None:
    next(stand_in.glob("pyarrow*")).write_bytes(b"pyarrow and more")
    with pytest.raises(ForeignWheelError, match="the published wheel's is .*: delete the file"):
        wheel_artifacts(stand_in)


def test_a_wheel_of_which_no_digest_is_known_is_not_shipped(stand_in: Path) -> None:
    packaging.WHEEL_DIGESTS.popitem()
    with pytest.raises(ForeignWheelError, match="the digest of this wheel is unknown"):
        wheel_artifacts(stand_in)


def test_digests_are_known_of_the_versions_that_are_shipped() -> None:
    for name in packaging.WHEELS:
        assert any(wheel.startswith(packaging.wheel_prefix(name)) for wheel in packaging.WHEEL_DIGESTS), name


def test_a_wheel_that_cannot_be_fetched_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packaging, "version", lambda name: "0.0.0.dev404")
    with pytest.raises(MissingWheelError, match=r"dagster-pipes 0\.0\.0\.dev404 .* put it into"):
        wheel_artifacts(tmp_path)


def test_the_version_in_the_code_is_the_projects() -> None:
    project = tomllib.loads((packaging.PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert event_pipeline.__version__ == project["project"]["version"]
