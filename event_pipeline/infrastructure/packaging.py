"""Packages what is shipped to AWS: the Glue job's script, modules and missing wheels, and the generator's function.

Equal sources give equal bytes on every machine, and their digest is part of the key. So an upload of unchanged code
changes nothing, and a running job keeps the code that it was started with.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import event_pipeline
from event_pipeline import shipped
from event_pipeline.shipped import shipped_file

PACKAGE = Path(event_pipeline.__file__).parent
SCRIPT = shipped_file(shipped.GLUE_SCRIPT)
SHIPPED = ("__init__.py", "rules/*.py", "engines/__init__.py", "engines/commit.py")
"""Validation, the file writer and the commit record: modules that need only pyarrow and the standard library."""
GENERATOR = (
    "__init__.py",
    "generator/*.py",
    *(f"rules/{name}.py" for name in ("__init__", "code_digest", "contract", "hour", "json_object", "kinds")),
)
"""The generator and the rules that it imports: only the standard library and Lambda's own boto3."""

WHEELS = ("dagster-pipes", "numpy", "pyarrow")
"""Packages that the job imports and that Glue does not have, or only in older versions."""
_NOT_INSTALLED_HERE = {"numpy": "2.4.6"}
"""pyarrow works without numpy, as here, but cannot be imported with numpy 1 ("pyarrow requires NumPy 2.0 or newer",
since 26), which Glue's runtime has. So the job ships its own."""
WHEEL_DIGESTS = {
    "dagster_pipes-1.13.27-py3-none-any.whl": "8e33fd710c3654cca93ba4b0063f69173bd0d63fcd8d882a563580f45b02702d",
    "numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl": (
        "89cd468399cfd2504718f0ba50e410dca55a170b61a02ad92bb18c8a65186e93"
    ),
    "pyarrow-26.0.1-cp311-cp311-manylinux_2_28_x86_64.whl": (
        "39cb0f2418282c24bea6ceda77b03e5a8f0a5766b63a8bf194d4e2a2c423548c"
    ),
}
"""SHA-256 of the published wheels of the versions in constraints.txt. The job runs a wheel's code with its role, so a
local wheel must not be trusted by its name."""
GLUE_PYTHON = "3.11"
"""Python version of Glue 5.1."""
GLUE_PLATFORM = "manylinux_2_28_x86_64"
"""Platform of Glue 5.1 (Amazon Linux 2023, glibc 2.34)."""

_FIRST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_READABLE_FILE = 0o100644 << 16


class MissingSourceError(Exception):
    """The sources of the Glue job are missing from the installation."""


class ForeignWheelError(Exception):
    """A wheel for the Glue job differs from the published one."""


class MissingWheelError(Exception):
    """A wheel for the Glue job is neither in the folder nor available from the package index."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file for the artifacts bucket."""

    key: str
    """`artifacts/<digest of the content>/<name>`."""
    content: bytes


def package_artifact() -> Artifact:
    """Return the zip file for `--extra-py-files`."""
    return _artifact("event_pipeline.zip", _zip(SHIPPED))


def generator_artifact() -> Artifact:
    """Return the zip file with the code of the generator's Lambda function."""
    return _artifact("generator.zip", _zip(GENERATOR))


def _zip(patterns: Sequence[str]) -> bytes:
    paths = sorted(path for pattern in patterns for path in PACKAGE.glob(pattern))
    stored = io.BytesIO()
    # Stored, not deflated: other versions of zlib give other bytes.
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(path.relative_to(PACKAGE.parent).as_posix(), _FIRST_ZIP_TIME)
            entry.create_system = _UNIX
            entry.external_attr = _READABLE_FILE
            archive.writestr(entry, path.read_bytes())
    return stored.getvalue()


def script_artifact() -> Artifact:
    """Return the script for the Glue job's `ScriptLocation`.

    Raises:
        MissingSourceError: the installation is incomplete.
    """
    if not SCRIPT.is_file():
        raise MissingSourceError(f"{SCRIPT} does not exist: the installation is incomplete, reinstall event-pipeline")
    return _artifact(SCRIPT.name, SCRIPT.read_bytes())


def wheel_artifacts(folder: Path) -> tuple[Artifact, ...]:
    """Return the wheels for `--additional-python-modules`, in the shipped versions.

    They are fetched with pip once and kept in `folder`. So the same pyarrow validates on both engines, and a Glue run
    fetches nothing from a package index. Every wheel is checked against WHEEL_DIGESTS.

    Raises:
        MissingWheelError: a wheel cannot be fetched.
        ForeignWheelError: a wheel differs from the published one, or its digest is not in WHEEL_DIGESTS.
    """
    return tuple(_wheel_artifact(_wheel(name, folder)) for name in WHEELS)


def _wheel_artifact(path: Path) -> Artifact:
    content = path.read_bytes()
    found, published = hashlib.sha256(content).hexdigest(), WHEEL_DIGESTS.get(path.name)
    if published is None:
        raise ForeignWheelError(
            f"{path}: the digest of this wheel is unknown: install the versions of constraints.txt, or add the digest "
            f"from the package index to WHEEL_DIGESTS in {__name__}"
        )
    if found != published:
        raise ForeignWheelError(
            f"{path}: its SHA-256 is {found}, the published wheel's is {published}: delete the file to fetch it again"
        )
    return _artifact(path.name, content)


def shipped_version(name: str) -> str:
    """Return the version of a package for the job: the installed one, if the package is needed here, too."""
    return _NOT_INSTALLED_HERE.get(name) or version(name)


def wheel_prefix(name: str) -> str:
    """Return the beginning of a wheel's file name, with the shipped version."""
    return f"{name.replace('-', '_')}-{shipped_version(name)}-"


def _wheel(name: str, folder: Path) -> Path:
    wanted = shipped_version(name)
    pattern = f"{wheel_prefix(name)}*.whl"
    if kept := sorted(folder.glob(pattern)):
        return kept[0]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", GLUE_PYTHON]
    command += ["--platform", GLUE_PLATFORM, "--dest", str(folder), f"{name}=={wanted}"]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    if fetched.returncode or not (kept := sorted(folder.glob(pattern))):
        raise MissingWheelError(
            f"the wheel of {name} {wanted} for Python {GLUE_PYTHON} on {GLUE_PLATFORM} cannot be fetched: put it into "
            f"{folder}, or fix pip's access to a package index. pip said: {fetched.stderr.strip()[-500:]}"
        )
    return kept[0]


def _artifact(name: str, content: bytes) -> Artifact:
    return Artifact(f"artifacts/{hashlib.sha256(content).hexdigest()}/{name}", content)
