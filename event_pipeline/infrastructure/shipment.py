"""The artifacts that this checkout ships to the bucket, with content-based keys, and the parameters for these keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.errors import StackError
from event_pipeline.infrastructure.packaging import (
    WHEELS,
    Artifact,
    ForeignWheelError,
    MissingSourceError,
    MissingWheelError,
    generator_artifact,
    package_artifact,
    script_artifact,
    wheel_artifacts,
    wheel_prefix,
)

SCRIPT_KEY = "GlueScriptKey"
PACKAGE_KEY = "GluePackageKey"
WHEEL_KEYS = "GlueWheelKeys"
GENERATOR_KEY = "GeneratorCodeKey"
KEY_PARAMETERS = (SCRIPT_KEY, PACKAGE_KEY, WHEEL_KEYS, GENERATOR_KEY)
"""Parameters of the template that `stack deploy` sets itself."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """All artifacts of one deployment."""

    script: Artifact
    package: Artifact
    wheels: tuple[Artifact, ...]
    generator: Artifact | None
    """None if the generator is off."""

    def parameters(self) -> dict[str, str]:
        """Return the parameters with the artifacts' keys; without a generator its key is empty."""
        return {
            SCRIPT_KEY: self.script.key,
            PACKAGE_KEY: self.package.key,
            WHEEL_KEYS: ",".join(wheel.key for wheel in self.wheels),
            GENERATOR_KEY: self.generator.key if self.generator else "",
        }

    def upload(self, aws: Aws, bucket: str, progress: Callable[[str], None]) -> int:
        """Upload what is not in the bucket yet; return the number of uploaded files."""
        there, uploaded = Bucket(aws, bucket), 0
        for artifact in (self.script, self.package, *self.wheels, *((self.generator,) if self.generator else ())):
            if there.size(artifact.key) != len(artifact.content):
                progress(f"uploading {there.url(artifact.key)} ({len(artifact.content) / 1e6:,.1f} MB)")
                there.write(artifact.key, artifact.content)
                uploaded += 1
        return uploaded


def pack(wheel_folder: Path, *, generator: bool) -> Shipment:
    """Package this checkout; the wheels of the Glue job are fetched once and kept in a folder.

    Raises:
        StackError: a source is missing, or a wheel cannot be fetched.
    """
    try:
        wheel_folder.mkdir(parents=True, exist_ok=True)
        return Shipment(
            script_artifact(),
            package_artifact(),
            wheel_artifacts(wheel_folder),
            generator_artifact() if generator else None,
        )
    except (MissingSourceError, MissingWheelError, ForeignWheelError) as error:
        raise StackError(str(error)) from error


def stale_keys(deployed: Mapping[str, str]) -> dict[str, str]:
    """Compare deployed artifacts with this checkout: parameter -> what it should be, for those that differ.

    For wheels only names and versions are compared, because only a deployment fetches them. A disabled generator does
    not differ.

    Raises:
        StackError: the sources are missing.
    """
    try:
        expected = {SCRIPT_KEY: script_artifact().key, PACKAGE_KEY: package_artifact().key}
    except MissingSourceError as error:
        raise StackError(str(error)) from error
    if deployed.get(GENERATOR_KEY):
        expected[GENERATOR_KEY] = generator_artifact().key
    stale = {name: key for name, key in expected.items() if deployed.get(name, "") != key}
    names = [key.rpartition("/")[2] for key in deployed.get(WHEEL_KEYS, "").split(",")]
    missing = [prefix for prefix in map(wheel_prefix, WHEELS) if not any(name.startswith(prefix) for name in names)]
    if missing:
        stale[WHEEL_KEYS] = ", ".join(f"{prefix}*.whl" for prefix in missing)
    return stale
