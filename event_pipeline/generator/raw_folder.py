"""Writes objects to a raw folder: for past hours, or one every few seconds; broken ones on request.

An object appears under `events/` by an atomic rename. Until then it is in `.incoming/` next to it, which nothing reads;
a later generator removes what killed ones left there.
"""

from __future__ import annotations

import filecmp
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from event_pipeline.generator.objects import ObjectWriter, RecordCounts
from event_pipeline.generator.options import (
    SECONDS_PER_HOUR,
    GeneratorOptions,
    GeneratorOptionsError,
    check_interval,
)
from event_pipeline.rules.hour import Hour

INCOMING = ".incoming"
LEFTOVER_SECONDS = 3600
"""Age from which a file in `.incoming/` cannot belong to a running generator: objects take seconds."""

BREAKAGES = ("zero_bytes", "truncated_gzip", "not_gzip", "corrupt_gzip")
"""Kinds of broken objects, used in turn: the contract's unreadable reasons."""

_ERROR_PAGE = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code></Error>\n'
_GZIP_TRAILER = 8


class RawFolderError(OSError):
    """The raw folder is not writable; the message has the path and the system's reason."""


@dataclass(frozen=True, slots=True)
class GeneratedObject:
    """One object now in the raw folder."""

    key: str
    landed: datetime
    size: int
    """Stored bytes."""
    written: bool
    """False: a file with the same bytes existed and was kept."""
    counts: RecordCounts
    """Counts of its readable records: all zero if it is broken."""
    broken: str | None = None
    """One of BREAKAGES."""


@dataclass(frozen=True, slots=True)
class GeneratedTotals:
    """Totals of one generation, including unchanged objects."""

    objects: int = 0
    unchanged: int = 0
    broken: int = 0
    size: int = 0
    """Stored bytes."""
    records: int = 0
    """Readable records, including all of the following."""
    bad: int = 0
    duplicates: int = 0
    late: int = 0

    def plus(self, made: GeneratedObject) -> GeneratedTotals:
        """Return the totals with one more object."""
        return GeneratedTotals(
            self.objects + 1,
            self.unchanged + (not made.written),
            self.broken + (made.broken is not None),
            self.size + made.size,
            self.records + made.counts.records,
            self.bad + made.counts.bad,
            self.duplicates + made.counts.duplicates,
            self.late + made.counts.late,
        )


Progress = Callable[[GeneratedObject], None]


def generate(
    raw_folder: Path,
    hours: Iterable[Hour],
    options: GeneratorOptions,
    progress: Progress | None = None,
) -> GeneratedTotals:
    """Write the raw objects of landing hours to `<raw_folder>/events/...`, in chronological order.

    An hour's objects are evenly spaced, the first at minute 00. Existing files with other bytes are replaced, equal
    ones keep their modification time, files with other keys stay.

    Raises:
        GeneratorOptionsError: `broken_objects` exceeds the number of objects.
        RawFolderError: the folder is not writable; objects written so far stay.
    """
    instants = [instant for hour in sorted(set(hours)) for instant in landing_instants(hour, options.files_per_hour)]
    writer = ObjectWriter(options)
    return _write_all(raw_folder, instants, writer, _breakages(len(instants), options.broken_objects), progress)


def generate_live(
    raw_folder: Path,
    interval_seconds: int,
    options: GeneratorOptions,
    count: int | None = None,
    progress: Progress | None = None,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> GeneratedTotals:
    """Write one object now and then one every `interval_seconds`, stamped with the current second (UTC).

    Ends after `count` objects, or never: an interrupt leaves only complete objects. Each object has the events of the
    interval before its stamp; `files_per_hour` is ignored.

    Raises:
        GeneratorOptionsError: the interval is not from 1 to 3600 seconds, the count is below 1, or
            `broken_objects` exceeds the number of objects or has no count.
            RawFolderError: the folder is not writable; objects written so far stay.
    """
    check_interval(interval_seconds)
    if count is not None and count < 1:
        raise GeneratorOptionsError(
            f"count={count!r}: must be a whole number of at least 1, or none to run until stopped"
        )
    if count is None and options.broken_objects:
        raise GeneratorOptionsError(
            f"broken_objects={options.broken_objects} without a count: say how many objects to write, so "
            "that the broken ones can be spread over them"
        )
    return _write_all(
        raw_folder,
        _present_seconds(interval_seconds, count, clock, sleep),
        ObjectWriter(options, interval_seconds),
        _breakages(count or 0, options.broken_objects),
        progress,
    )


def landing_instants(hour: Hour, files_per_hour: int) -> list[datetime]:
    """Return the instants, whole seconds, at which the objects of an hour land."""
    return [
        hour.start + timedelta(seconds=number * SECONDS_PER_HOUR // files_per_hour) for number in range(files_per_hour)
    ]


def _present_seconds(
    interval_seconds: int,
    count: int | None,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
) -> Iterator[datetime]:
    due = clock()
    written = 0
    while count is None or written < count:
        # Keys have a resolution of one second: no object lands before its interval is over, even if sleep ends early.
        while (now := clock()) < due:
            sleep((due - now).total_seconds())
        landed = now.replace(microsecond=0)
        yield landed
        written += 1
        due = landed + timedelta(seconds=interval_seconds)


def _breakages(objects: int, broken: int) -> dict[int, str]:
    """Spread the broken objects evenly: number of the object -> what is wrong with it."""
    if broken > objects:
        raise GeneratorOptionsError(
            f"broken_objects={broken}: this generation writes {objects} objects, so it must be 0 to {objects}"
        )
    return {(2 * number + 1) * objects // (2 * broken): BREAKAGES[number % len(BREAKAGES)] for number in range(broken)}


def _write_all(
    raw_folder: Path,
    instants: Iterable[datetime],
    writer: ObjectWriter,
    breakages: dict[int, str],
    progress: Progress | None,
) -> GeneratedTotals:
    with _storage_errors(raw_folder):
        _remove_leftovers(raw_folder)
    totals = GeneratedTotals()
    previous: datetime | None = None
    for number, landed in enumerate(instants):
        hour = Hour.containing(landed)
        # Duplicates exist only within a landing hour, and nothing is accepted from a broken object.
        known = previous if previous and Hour.containing(previous) == hour else None
        broken = breakages.get(number)
        with _storage_errors(raw_folder / hour.raw_key(landed)):
            made = _write_one(raw_folder, writer, landed, known, broken)
        totals = totals.plus(made)
        previous = None if broken else landed
        if progress:
            progress(made)
    return totals


def _write_one(
    raw_folder: Path, writer: ObjectWriter, landed: datetime, previous: datetime | None, broken: str | None
) -> GeneratedObject:
    key = Hour.containing(landed).raw_key(landed)
    target = raw_folder / key
    temporary = raw_folder / INCOMING / f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb+") as file:
            counts = writer.write(file, landed, previous)
            if broken:
                _break(file, broken)
                counts = RecordCounts()
        made = GeneratedObject(key, landed, temporary.stat().st_size, True, counts, broken)
        if target.exists() and filecmp.cmp(temporary, target, shallow=False):
            return replace(made, written=False)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
        return made
    finally:
        temporary.unlink(missing_ok=True)


def _break(file: BinaryIO, breakage: str) -> None:
    size = file.tell()
    if breakage == "zero_bytes":
        file.truncate(0)
    elif breakage == "truncated_gzip":
        file.truncate(size // 2)
    elif breakage == "not_gzip":
        file.seek(0)
        file.write(_ERROR_PAGE)
        file.truncate()
    else:
        file.seek(size - _GZIP_TRAILER)
        checksum = file.read(4)
        file.seek(size - _GZIP_TRAILER)
        file.write(bytes(byte ^ 0xFF for byte in checksum))


def _remove_leftovers(raw_folder: Path) -> None:
    incoming = raw_folder / INCOMING
    if not incoming.is_dir():
        return
    for leftover in incoming.iterdir():
        try:
            if leftover.stat().st_mtime < time.time() - LEFTOVER_SECONDS:
                leftover.unlink()
        except FileNotFoundError:
            # Another generator published or removed it meanwhile.
            continue


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RawFolderError(
            f"cannot write {error.filename or path}: {error.strerror or error}; "
            "the raw folder must be writable and have space"
        ) from error
