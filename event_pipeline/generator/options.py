"""The validated options of the generator, and the random streams derived from them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from event_pipeline.rules.hour import Hour, HourRange

MAX_EVENTS_PER_FILE = 10_000_000
MAX_FILES_PER_HOUR = 60
SECONDS_PER_HOUR = 3600
RECENT_HOURS_BEFORE_MIDNIGHT = 4


class GeneratorOptionsError(ValueError):
    """An option has an invalid value; the message has the value and what is allowed."""


class Shape(StrEnum):
    """The kind of events."""

    ORIGINAL = "original"
    """The original generator: everything uniform and independent."""
    REALISTIC = "realistic"
    """User sessions, a daily traffic curve, prices and conversion rates per product."""


def recent_hours(now: datetime) -> HourRange:
    """Return the hours from 20:00 of the day before to the last closed one: 5 to 28, always over a midnight."""
    closed = Hour.containing(now).plus(-1)
    return HourRange(closed.plus(-closed.start.hour - RECENT_HOURS_BEFORE_MIDNIGHT), closed.plus(1))


@dataclass(frozen=True, slots=True)
class GeneratorOptions:
    """Options of synthetic input.

    Shares are relative to all records of an object, 0 to 1, and add up to 1 at most.

    Raises:
        GeneratorOptionsError: a value is not allowed.
    """

    events_per_file: int = 5000
    """Records per object; with the realistic shape, the mean over a day."""
    files_per_hour: int = 12
    seed: int = 7
    shape: Shape = Shape.ORIGINAL
    bad_share: float = 0
    """Share of records that break a rule of the contract, with every quarantine reason in turn."""
    duplicate_share: float = 0
    """Share of records that repeat an earlier accepted one of the same landing hour."""
    late_share: float = 0
    """Share of accepted records of another hour: up to 7 days late, or less than 5 minutes ahead."""
    broken_objects: int = 0
    """Number of objects that cannot be decompressed, with every kind of breakage in turn."""

    def __post_init__(self) -> None:
        _check_integer("events_per_file", self.events_per_file, 1, MAX_EVENTS_PER_FILE)
        _check_integer("files_per_hour", self.files_per_hour, 1, MAX_FILES_PER_HOUR)
        _check_integer("seed", self.seed, None, None)
        _check_integer("broken_objects", self.broken_objects, 0, None)
        try:
            # A plain string becomes the enum member, so that identity comparisons work.
            object.__setattr__(self, "shape", Shape(self.shape))
        except ValueError:
            raise GeneratorOptionsError(f"shape={self.shape!r}: must be one of {', '.join(Shape)}") from None
        for name in ("bad_share", "duplicate_share", "late_share"):
            share = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise GeneratorOptionsError(f"{name}={share!r}: must be a number from 0 to 1")
        total = self.bad_share + self.duplicate_share + self.late_share
        if total > 1 + 1e-9:
            raise GeneratorOptionsError(
                f"bad_share={self.bad_share} + duplicate_share={self.duplicate_share} + "
                f"late_share={self.late_share} is {total:g}: must be at most 1 in total"
            )

    @property
    def has_record_faults(self) -> bool:
        """Return whether any record differs from the plain shape."""
        return self.bad_share > 0 or self.duplicate_share > 0 or self.late_share > 0


def check_interval(seconds: int) -> None:
    """Refuse an interval between two objects that keys cannot represent or that is longer than an hour.

    Raises:
        GeneratorOptionsError: it is not a whole number of seconds from 1 to 3600.
    """
    _check_integer("interval_seconds", seconds, 1, SECONDS_PER_HOUR)


def _check_integer(name: str, value: object, least: int | None, most: int | None) -> None:
    fits = isinstance(value, int) and not isinstance(value, bool)
    if fits and (least is None or value >= least) and (most is None or value <= most):  # type: ignore[operator]
        return
    bounds = f" of at least {least}" if least is not None else ""
    bounds = f" from {least} to {most}" if most is not None else bounds
    raise GeneratorOptionsError(f"{name}={value!r}: must be a whole number{bounds}")


def random_stream(seed: int, *place: object) -> random.Random:
    """Return the random generator for a seed and a place, the same on every machine.

    The place (object key, batch, second, purpose) is hashed: Python's own hash() differs between processes.
    """
    digest = hashlib.sha256("\0".join(map(str, (seed, *place))).encode()).digest()
    return random.Random(int.from_bytes(digest))  # noqa: S311 - sample data, not secrets
