"""How much is measured, and the data folders that measurements start from, each made when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path

from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import load_settings
from event_pipeline_tests.benchmark.history import make_history
from event_pipeline_tests.benchmark.inputs import (
    BAD_SHARE,
    CHANGES,
    FIRST_HOUR,
    changed_hour,
    fresh_root,
    generated_hour,
    land_whole_hours,
    land_wide_day,
    link_hours,
)
from event_pipeline_tests.benchmark.spark_jobs import GlueAccount, glue_account
from event_pipeline_tests.pipeline import build

ONE_HOUR = HourRange(FIRST_HOUR, FIRST_HOUR.plus(1))
BEFORE = HourRange(FIRST_HOUR.plus(-1), FIRST_HOUR)
DAY = HourRange(FIRST_HOUR, FIRST_HOUR.plus(24))


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    name: str
    rounds: int
    objects: int
    events: int
    """Events of each object of the hour."""
    changed_objects: int
    """Objects of the hour that producers change."""
    tiny_events: int
    """Events of each object of tiny hours."""
    day_events: int
    """Events of each hour of the day that Gold is measured over."""
    users: int
    sessions: int
    history: tuple[int, ...]
    """Hours that are built before the next one is measured."""
    history_events: int
    backfilled_hours: int
    profiled_events: int


FULL = Size(
    name="full",
    rounds=3,
    objects=12,
    events=625_000,
    changed_objects=2,
    tiny_events=100,
    day_events=100_000,
    users=1_000_000,
    sessions=3_000_000,
    history=(1, 6, 24, 72, 24 * 30, 24 * 365),
    history_events=2_000,
    backfilled_hours=720,
    profiled_events=625_000,
)
QUICK = replace(
    FULL,
    name="quick",
    rounds=2,
    events=100_000,
    changed_objects=4,  # with fewer, the engine starts its processes for some of the changes only
    day_events=5_000,
    users=50_000,
    sessions=150_000,
    history=(1, 6, 24, 72),
    backfilled_hours=24,
)
TINY = replace(
    QUICK,
    name="tiny",
    rounds=1,
    objects=2,
    events=300,
    changed_objects=1,
    tiny_events=10,
    day_events=50,
    users=20,
    sessions=60,
    history=(1, 2),
    history_events=20,
    backfilled_hours=2,
    profiled_events=300,
)
SIZES = {size.name: size for size in (FULL, QUICK, TINY)}


@dataclass
class Bench:
    """A folder with inputs, each made when it is first needed and kept until the end."""

    folder: Path
    size: Size
    _open: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Stop what was started."""
        self._open.close()

    @cached_property
    def hour(self) -> Path:
        """A data folder with the raw objects of an hour."""
        generated_hour(self.folder / "hour", self.size.objects, self.size.events)
        return self.folder / "hour"

    @cached_property
    def fewer_objects(self) -> Path:
        """A data folder with the first objects of the hour."""
        link_hours(self.hour, self.folder / "clean", self.size.changed_objects)
        return self.folder / "clean"

    @cached_property
    def bad(self) -> Path:
        """As many objects with bad events."""
        generated_hour(self.folder / "bad", self.size.changed_objects, self.size.events, BAD_SHARE)
        return self.folder / "bad"

    @cached_property
    def changed(self) -> dict[str, Path]:
        """The first objects as producers may send them otherwise, by the change."""
        for name, change in CHANGES.items():
            changed_hour(self.fewer_objects, self.folder / _folder_of(name), change)
        return {name: self.folder / _folder_of(name) for name in CHANGES}

    @cached_property
    def built_hour(self) -> Path:
        """A data folder in which the hour is built, in the background of no measurement."""
        root = self._open.enter_context(fresh_root(self.hour, "built"))
        build(LocalEngine(load_settings(root=root)), [FIRST_HOUR])
        return root

    @cached_property
    def glue(self) -> GlueAccount:
        """An emulated S3 with the objects of the hour."""
        return self._open.enter_context(glue_account(self.hour, FIRST_HOUR))

    @cached_property
    def tiny_day(self) -> Path:
        """A data folder with a day of tiny hours, and one before it."""
        land_whole_hours(self.folder / "tiny", HourRange(BEFORE.first, DAY.end), self.size.tiny_events)
        return self.folder / "tiny"

    @cached_property
    def one_object(self) -> Path:
        """A data folder with one raw object."""
        generated_hour(self.folder / "one", 1, self.size.profiled_events)
        return self.folder / "one"

    @cached_property
    def gold_hours(self) -> dict[int, Path]:
        """Data folders with the first hours of a day in Silver, by how many: the first one, and all."""
        return {hours: self._silver_of(f"gold-{hours}", hours) for hours in (1, 24)}

    @cached_property
    def wide_day(self) -> Path:
        """A data folder with a day of very many users and sessions, built."""
        root = self.folder / "wide"
        hours = land_wide_day(root, self.size.users, self.size.sessions)
        build(LocalEngine(load_settings(root=root)), list(hours))
        return root

    @cached_property
    def histories(self) -> dict[int, History]:
        """Data folders with so many built hours."""
        return {hours: History(self.folder / f"history-{hours}", hours, self.size) for hours in self.size.history}

    def _silver_of(self, name: str, number: int) -> Path:
        root = self.folder / name
        hours = HourRange(FIRST_HOUR, FIRST_HOUR.plus(number))
        land_whole_hours(root, hours, self.size.day_events)
        build(LocalEngine(load_settings(root=root)), list(hours))
        return root


def _folder_of(change: str) -> str:
    return change.replace(" ", "-")


class History:
    """Built hours, of which there are more with every measurement of the next one."""

    def __init__(self, root: Path, hours: int, size: Size) -> None:
        self.root = root
        self._events = size.history_events
        self._hours = hours

    @cached_property
    def first(self) -> HourRange:
        """The hours that it began with."""
        return make_history(self.root, self._hours, self._events)

    @cached_property
    def _next_hours(self) -> Iterator[Hour]:
        return (self.first.end.plus(number) for number in count())

    def land_next_hour(self) -> HourRange:
        """Let the objects of the hour after the last one land."""
        hour = next(self._next_hours)
        following = HourRange(hour, hour.plus(1))
        land_whole_hours(self.root, following, self._events)
        return following

    @property
    def catalog_mb(self) -> float:
        """Size of the catalog."""
        return sum(path.stat().st_size for path in self.root.glob("catalog.sqlite*")) / 1e6
