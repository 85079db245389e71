"""The wheel alone is the whole program: built from the checkout, installed elsewhere, and run far from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from event_pipeline.shipped import SHIPPED_FILES, SHIPPED_PAGES, missing_files, shipped_file

pytestmark = pytest.mark.long

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built by the project's own build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*build, "--no-build-isolation", "--wheel-dir", str(folder), str(CHECKOUT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_every_file_that_the_package_needs_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for name in (*SHIPPED_FILES, *SHIPPED_PAGES):
            assert archive.read(f"event_pipeline/_shipped/{name}") == (CHECKOUT / name).read_bytes()
    sources = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "event_pipeline").rglob("*.py")}
    gold = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "event_pipeline" / "rules").rglob("*.sql")}
    assert len(gold) == 5
    report = {
        path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "event_pipeline" / "report" / "web").iterdir()
    }
    assert any(name.endswith("uplot.LICENSE") for name in report)
    assert sources | gold | report <= names
    assert not [name for name in names if not name.startswith(("event_pipeline/", "event_pipeline-"))]


def test_in_the_checkout_the_files_are_those_at_its_top_level() -> None:
    assert [shipped_file(name) for name in SHIPPED_FILES] == [CHECKOUT / name for name in SHIPPED_FILES]
    assert missing_files() == []


def test_an_installed_wheel_builds_its_first_day(wheel: Path, tmp_path: Path) -> None:
    _build_a_first_day(_unpacked(wheel, tmp_path), tmp_path)


def test_doctor_names_a_file_that_an_installation_lacks(wheel: Path, tmp_path: Path) -> None:
    python = _unpacked(wheel, tmp_path)
    (_site_packages(python) / "event_pipeline" / "_shipped" / "dagster.yaml").unlink()
    examined = _run(python, tmp_path, "doctor")
    assert examined.returncode == 1
    assert "1 files of the program are missing" in examined.stdout
    assert "dagster.yaml" in examined.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pip_installs_the_wheel_into_an_empty_environment_where_it_builds_its_first_day(
    wheel: Path, tmp_path: Path
) -> None:
    python = _empty_environment(tmp_path)
    install = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*install, "--constraint", str(CHECKOUT / "constraints.txt"), str(wheel)], check=True)
    _build_a_first_day(python, tmp_path)
    workspace = _site_packages(python) / "event_pipeline" / "_shipped" / "workspace.yaml"
    loaded = subprocess.run(
        [str(python), "-m", "dagster", "definitions", "validate", "-w", str(workspace)],
        cwd=tmp_path,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert "Validation successful for code location event_pipeline" in loaded.stderr + loaded.stdout


def _unpacked(wheel: Path, folder: Path) -> Path:
    """Unpack the wheel into an environment that has this one's dependencies, but not the checkout's package."""
    python = _empty_environment(folder, "--without-pip")
    site = _site_packages(python)
    site.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _empty_environment(folder: Path, *options: str) -> Path:
    """Make a virtual environment without any package and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", *options, str(folder / "venv")], check=True)
    return folder / "venv" / "bin" / "python"


def _site_packages(python: Path) -> Path:
    return python.parents[1] / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"EVENT_PIPELINE_ROOT": str(folder / "data"), "EVENT_PIPELINE_WORKERS": "1", "COLUMNS": "200"}


def _run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "event_pipeline.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False, timeout=200
    )


def _build_a_first_day(python: Path, folder: Path) -> None:
    hours = ("--start", "2025-12-07T00", "--hours", "24", "--files-per-hour", "2", "--events-per-file", "50")
    generated = _run(python, folder, "generate", *hours)
    assert generated.returncode == 0, generated.stderr
    built = _run(python, folder, "run")
    assert built.returncode == 0, built.stdout + built.stderr
    assert "24 built" in built.stderr + built.stdout
    asked = _run(python, folder, "query", "SELECT sum(total_events) AS n FROM gold.user_activity", "--format", "json")
    # What is stamped into an hour may have happened in the hour before, so in the day before.
    assert json.loads(asked.stdout) == [{"n": 24 * 2 * 50}], asked.stderr
    verified = _run(python, folder, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    examined = _run(python, folder, "doctor")
    assert examined.returncode == 0, examined.stdout + examined.stderr
    assert "program files" in examined.stdout
