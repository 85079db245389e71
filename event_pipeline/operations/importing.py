"""Places flat files of raw events into the hours of the raw folder, by the UTC time in their names.

A file is never changed, only moved if it is in the raw folder itself, and an object that exists is never replaced. Not
here: reading what is in the files.
"""

from __future__ import annotations

import filecmp
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from event_pipeline.engines.durability import make_folder, sync_folder
from event_pipeline.rules.hour import RAW_ROOT, Hour, implausible
from event_pipeline.rules.raw_object import GZIP_MAGIC

INCOMING = ".incoming"
"""Folder in raw/ in which copies are made: nothing reads it."""

_TIME = re.compile(
    r"(?<!\d)(?P<year>\d{4})[-_.]?(?P<month>\d\d)[-_.]?(?P<day>\d\d)[-_.T ]?"
    r"(?P<hour>\d\d)(?:[-_.:h]?(?P<minute>\d\d)(?:[-_.:m]?(?P<second>\d\d))?)?(?!\d)",
    re.ASCII,
)


class Placing(StrEnum):
    """What becomes of a file."""

    NEW = "placed"
    SAME = "already there"
    NAME = "name"
    """Its name or content does not allow it."""
    CONFLICT = "conflict"
    """Another file is where it belongs."""


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """One file, and what becomes of it."""

    file: Path
    placing: Placing
    size: int = 0
    hour: Hour | None = None
    key: str = ""
    """Key of the raw object that it is, or would be."""
    reason: str = ""
    """Why it is not placed."""


def plan_import(paths: Iterable[Path], raw_folder: Path, first_partition: Hour, now: datetime) -> list[PlacedFile]:
    """Decide for every file, and every file in the folders, where it belongs; changes nothing."""
    planned = list[PlacedFile]()
    taken = dict[str, Path]()
    # A file may be named, and be in a folder that is named as well.
    for file in dict.fromkeys(_files(paths)):
        each = _judged(file, raw_folder, first_partition, now)
        if each.placing is Placing.NEW:
            other = taken.setdefault(each.key, file)
            if other != file:
                same = filecmp.cmp(file, other, shallow=False)
                reason = f"{other} has the same time in its name and other content"
                each = replace(each, placing=Placing.SAME if same else Placing.CONFLICT, reason="" if same else reason)
        planned.append(each)
    return planned


def import_files(
    planned: Sequence[PlacedFile], raw_folder: Path, progress: Callable[[str, int], None]
) -> list[PlacedFile]:
    """Copy the new files of a plan to where they belong, each whole or not at all; return what became of all files.

    Where another import was faster, its object stays. A file in the raw folder itself, where it is not read, is removed
    from there once it is placed.

    Raises:
        OSError: a file cannot be read or written; those copied so far stay.
    """
    done, number = list[PlacedFile](), 0
    for each in planned:
        if each.placing is not Placing.NEW:
            done.append(each)
            continue
        number += 1
        progress(f"copying {each.file.name} to {each.hour}", number)
        target = raw_folder / each.key
        copy = raw_folder / INCOMING / f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(each.file, copy)
            with copy.open("rb") as written:
                os.fsync(written.fileno())
            make_folder(target.parent)
            done.append(each if _created(copy, target) else _compared(each, target))
            # Before the only other copy may go: a power cut must leave one of them.
            sync_folder(target.parent)
        finally:
            copy.unlink(missing_ok=True)
        if raw_folder in each.file.absolute().parents and done[-1].placing is not Placing.CONFLICT:
            each.file.unlink()
    return done


def landing_time(name: str) -> datetime | str:
    """Return the time in a file's name, UTC, down to the hour at least; or why it has none.

    Year, month, day, hour, and minute and second if they are there, with or without `-`, `_`, `.`, `:` or `T` between:
    events-20251119-174454.jsonl.gz, clicks_2025-11-19T17-44.json.gz, shop-2025-11-19-17-44-54-3f1c.gz, 2025111917.gz.
    """
    found = set[datetime]()
    for match in _TIME.finditer(name):
        try:
            found.add(datetime(*(int(part or 0) for part in match.groups()), tzinfo=UTC))  # type: ignore[misc, arg-type]
        except ValueError:
            continue
    if len(found) > 1:
        return f"{len(found)} times in its name: leave one, such as events-20251119-174454.jsonl.gz"
    return found.pop() if found else "no time in its name: rename it, for example to events-20251119-174454.jsonl.gz"


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for place, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _judged(file: Path, raw_folder: Path, first_partition: Hour, now: datetime) -> PlacedFile:
    refused = PlacedFile(file, Placing.NAME)
    try:
        if not file.is_file():
            return replace(refused, reason="no regular file")
        with file.open("rb") as stored:
            start = stored.read(len(GZIP_MAGIC))
    except OSError as error:
        return replace(refused, reason=f"cannot be read: {error.strerror}")
    key = _key_in(file)
    if key is None:
        landed = landing_time(file.name)
        if isinstance(landed, str):
            return replace(refused, reason=landed)
        key = Hour.containing(landed).raw_key(landed)
    hour = Hour.of_raw_key(key)
    assert hour is not None
    refused = replace(refused, hour=hour, key=key, size=file.stat().st_size)
    if reason := implausible(hour, first_partition, now):
        return replace(refused, reason=reason)
    if start != GZIP_MAGIC:
        return replace(refused, reason="not gzip: raw objects are gzipped JSON Lines (gzip FILE)")
    target = raw_folder / key
    return _compared(refused, target) if target.exists() else replace(refused, placing=Placing.NEW)


def _compared(of: PlacedFile, target: Path) -> PlacedFile:
    """Return what becomes of a file whose place is taken: the object there stays."""
    if filecmp.cmp(of.file, target, shallow=False):
        return replace(of, placing=Placing.SAME)
    return replace(of, placing=Placing.CONFLICT, reason=f"{of.key} exists and has other content")


def _created(copy: Path, target: Path) -> bool:
    """Give a finished copy its place, unless another import was faster: a link, unlike a rename, replaces nothing."""
    try:
        os.link(copy, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without links, such as a memory card's
        if target.exists():
            return False
        copy.replace(target)
    return True


def _key_in(file: Path) -> str | None:
    """Return the key of a file that is already in the raw layout: its landing hour is that of its folders."""
    _, events, rest = file.absolute().as_posix().rpartition(f"/{RAW_ROOT}")
    key = f"{RAW_ROOT}{rest}"
    return key if events and Hour.of_raw_key(key) else None
