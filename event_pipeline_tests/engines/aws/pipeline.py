"""Steps of the AWS tests: landing raw objects as a producer does, and one world for every engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.base import Engine, SilverBuild
from event_pipeline.engines.engine import PortEngine
from event_pipeline.generator import GeneratorOptions, Shape
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings
from event_pipeline_tests import oracle
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.pipeline import (
    ALL_GOLD,
    HOUR,
    assert_agrees_with_oracle,
    build,
    event,
    purchase,
    write_object,
)

AROUND_MIDNIGHT = HourRange(Hour.parse("2025-12-07T23"), Hour.parse("2025-12-08T01"))
DIRTY = GeneratorOptions(
    events_per_file=150,
    files_per_hour=4,
    seed=11,
    shape=Shape.REALISTIC,
    bad_share=0.2,
    duplicate_share=0.15,
    late_share=0.2,
    broken_objects=3,
)
"""Hours of two days with everything that can be wrong with records and objects."""


@dataclass
class World:
    """An engine, the folder in which a test writes raw objects, and the bucket they go to where there is one."""

    engine: Engine
    root: Path
    bucket: tuple[EmulatedAws, str] | None
    tables: Sequence[GoldTable] = ALL_GOLD
    _landed: dict[str, bytes] = field(default_factory=dict)

    def build(self, hours: Sequence[Hour], **options: bool) -> list[SilverBuild]:
        """Land what the folder holds and take hours the whole way."""
        self.land()
        return build(self.engine, hours, self.tables, **options)

    def land(self) -> None:
        """Make the bucket hold what the raw folder holds; an object whose bytes are the same is left alone."""
        if self.bucket is None:
            return
        aws, bucket = self.bucket
        raw = self.root / "raw"
        there = {path.relative_to(raw).as_posix(): path.read_bytes() for path in raw.rglob("*") if path.is_file()}
        for key in self._landed.keys() - there.keys():
            aws.client("s3").delete_object(Bucket=bucket, Key=key)
        for key, stored in there.items():
            if self._landed.get(key) != stored:
                aws.client("s3").put_object(Bucket=bucket, Key=key, Body=stored, ContentEncoding="gzip")
        self._landed = there

    def assert_agrees_with_oracle(self) -> oracle.Expected:
        """Hold all tables of this world to what the oracle makes of the raw folder."""
        return assert_agrees_with_oracle(self.engine, self.root, tables=self.tables)


def change_settings(world: World, patch: pytest.MonkeyPatch, **changed: int) -> None:
    """Change settings of an engine that is there, as a restart does."""
    engine = world.engine
    assert isinstance(engine, PortEngine)
    settings = engine._settings.model_copy(update=changed)
    for owner in (engine, getattr(engine, "_job", engine)):
        patch.setattr(owner, "_settings", settings)


def landed(world: World, *minutes: int) -> None:
    """Let objects of two events each land in the first hour."""
    for minute in minutes:
        write_object(world.root, HOUR, minute, [event(second=60 * minute), purchase(second=60 * minute + 1)])
    world.land()


def land(
    aws: EmulatedAws, settings: Settings, hour: Hour, minute: int, lines: Iterable[Any] | bytes, second: int = 0
) -> str:
    """Put one raw object (dicts become JSON lines; bytes are stored as they are) and return its key."""
    key = write_object(settings.root, hour, minute, lines, second)
    stored = (settings.root / "raw" / key).read_bytes()
    aws.client("s3").put_object(Bucket=settings.raw_bucket, Key=key, Body=stored, ContentEncoding="gzip")
    return key


def silver(engine: Engine, *hours: Hour, **options: bool) -> list[SilverBuild]:
    """Build and register hours, without Gold."""
    builds = list(engine.build_silver(hours, progress=lambda _: None, **options))
    engine.register_hours(hours)
    return builds


def seen(engine: Engine) -> int:
    """Return how many Silver rows queries see."""
    return int(engine.query("SELECT count(*) AS n FROM silver.events").to_pylist()[0]["n"])
