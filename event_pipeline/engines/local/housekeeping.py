"""Housekeeping of one data folder: finds what nobody needs by the shared rule, and removes it piece by piece.

Each removal can be killed at any moment: a commit record is replaced before the catalog follows, and files go last.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from event_pipeline.engines.base import Leftover, LeftoverKind
from event_pipeline.engines.decisions import gold_table
from event_pipeline.engines.leftovers import (
    PASSING_GRACE,
    StoredFile,
    day_of_leftover,
    days_to_retire,
    hours_to_retire,
    is_retired_day,
    old_builds,
    retired,
    retired_day,
)
from event_pipeline.engines.local.catalog import Catalog, day_of_partition, hour_of_partition
from event_pipeline.engines.local.commits import Commit, CommitStore
from event_pipeline.engines.local.database import DUCKDB_SCRATCH
from event_pipeline.engines.local.layout import Layout, day_lock, storage_faults
from event_pipeline.engines.local.repair import PartitionRepair
from event_pipeline.errors import TransientError
from event_pipeline.rules.contract import SILVER_EVENTS
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings

_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}(-wal|-shm|-journal)?$")
"""Name of what `publish` and the catalog's rebuild write before they rename it."""


class Housekeeper:
    """Finds and removes the leftovers of one data folder."""

    def __init__(
        self, layout: Layout, catalog: Catalog, commits: CommitStore, repair: PartitionRepair, settings: Settings
    ) -> None:
        self._layout = layout
        self._catalog = catalog
        self._commits = commits
        self._repair = repair
        self._settings = settings

    def leftovers(self, behind: Set[Hour], now: datetime) -> list[Leftover]:
        """List what may go; `behind` are the hours that Gold does not show yet."""
        with storage_faults(self._layout.root):
            return list(self._leftovers(behind, now))

    def _leftovers(self, behind: Set[Hour], now: datetime) -> Iterator[Leftover]:
        settings = self._settings
        hours = {commit.hour: commit for commit in self._commits.hours(None)}
        partials, days = list(self._commits.partials()), list(self._commits.days())
        silver = self._catalog.entries(SILVER_EVENTS.full_name)
        registered = {hour: entry.run_id for entry in silver if (hour := hour_of_partition(entry.partition))}
        yield from hours_to_retire(hours, registered, behind, settings.silver_retention_days, now)
        shown = {
            (table, day): entry.run_id
            for table in sorted({commit.table for commit in days})
            for entry in self._catalog.entries(gold_table(table))
            if (day := day_of_partition(entry.partition))
        }
        yield from days_to_retire(days, hours, shown, settings.gold_retention_days, now)
        commits: list[Commit] = [*hours.values(), *partials, *days]
        needed = {file.path for commit in commits for file in commit.files}
        needed |= {path for _, _, path in self._catalog.data_files()}
        yield from old_builds(self._files(), needed, commits, now, timedelta(days=settings.run_grace_days))
        yield from self._passing(now - PASSING_GRACE)

    def _files(self) -> Iterator[StoredFile]:
        for path, size, modified in _walk(self._layout.runs):
            yield StoredFile(path.relative_to(self._layout.lake).as_posix(), size, modified)

    def _passing(self, until: datetime) -> Iterator[Leftover]:
        """List what killed steps left in folders that hold nothing of value."""
        root, why = self._layout.root, f"older than {PASSING_GRACE.total_seconds() / 3600:.0f} hours"
        for entry in sorted(self._layout.scratch.iterdir()) if self._layout.scratch.is_dir() else ():
            found, place = list(_walk(entry)), entry.relative_to(root).as_posix()
            if entry.name == DUCKDB_SCRATCH:
                # Shared by all processes, so the folder stays: only the files of those that died may go.
                old = [(path.relative_to(root).as_posix(), size) for path, size, modified in found if modified <= until]
                if old:
                    paths, sizes = zip(*old, strict=True)
                    yield Leftover(LeftoverKind.SCRATCH, place, paths, sum(sizes), why)
            elif (newest := _newest([entry, *(path for path, _, _ in found)])) and newest <= until:
                yield Leftover(LeftoverKind.SCRATCH, place, (place,), sum(size for _, size, _ in found), why)
        for path, size, modified in _walk(self._layout.commits):
            if path.name.startswith(".") and modified <= until:
                place = path.relative_to(root).as_posix()
                yield Leftover(LeftoverKind.DRAFT, place, (place,), size, why)
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            # Of small documents that lie in the data folder itself, and of a catalog that was being rebuilt.
            for draft, size, modified in _walk(path) if _DRAFT.match(path.name) and path.is_file() else ():
                if modified <= until:
                    yield Leftover(LeftoverKind.DRAFT, draft.name, (draft.name,), size, why)
        for path, size, modified in _walk(root / "locks"):
            if modified <= until:
                place = path.relative_to(root).as_posix()
                yield Leftover(LeftoverKind.LOCK, place, (place,), size, why)

    def remove(self, leftover: Leftover) -> None:
        """Remove one leftover."""
        match leftover.kind:
            case LeftoverKind.RETIRED_HOUR:
                self._retire_hour(Hour.parse(leftover.place))
            case LeftoverKind.RETIRED_DAY:
                self._retire_day(leftover)
            case LeftoverKind.LOCK:
                for path in leftover.paths:
                    _remove_lock(self._layout.root / path)
            case LeftoverKind.SCRATCH | LeftoverKind.DRAFT:
                self._delete(self._layout.root, leftover)
            case LeftoverKind.REPLACED | LeftoverKind.ABANDONED | LeftoverKind.RETIRED_FILES:
                self._delete(self._layout.lake, leftover)

    def _retire_hour(self, hour: Hour) -> None:
        with self._layout.lock(f"hours/{hour}", self._settings.lock_timeout_seconds):
            commit = self._commits.hour(hour)
            if commit is not None and commit.retired_at is None:
                self._commits.publish(retired(commit, datetime.now(UTC)))
        self._repair.register_hours([hour])

    def _retire_day(self, leftover: Leftover) -> None:
        table, day = day_of_leftover(leftover)
        with self._layout.lock(day_lock(table, day), self._settings.lock_timeout_seconds):
            commit = self._commits.day(table, day)
            if commit is None:
                raise TransientError(f"{leftover.place}: its commit record vanished meanwhile: look again")
            if not is_retired_day(commit):
                commit = retired_day(commit)
                self._commits.publish(commit)
            self._catalog.register_day(commit)

    def _delete(self, top: Path, leftover: Leftover) -> None:
        for name in leftover.paths:
            path = top / name
            with storage_faults(path):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=False)
                else:
                    path.unlink(missing_ok=True)
                _remove_empty_folders(path.parent, top)


def _remove_lock(path: Path) -> None:
    """Remove a lock file while holding it: who waits for it sees that it was removed, and makes it anew."""
    lock = FileLock(path, timeout=0)
    try:
        with storage_faults(path), lock:
            path.unlink(missing_ok=True)
    except Timeout:
        return  # held: it is no leftover after all


def _remove_empty_folders(folder: Path, top: Path) -> None:
    """Remove the folder of a build when it is empty now; folders of hours stay, where builds make new ones."""
    if folder != top and folder.parent.name.startswith(("hour=", "event_date=")):
        try:
            folder.rmdir()
        except OSError:
            return  # something else lies in it


def _walk(top: Path) -> Iterator[tuple[Path, int, datetime]]:
    """Yield path, size and time of the last change of every file; those that vanish meanwhile are left out."""
    walked = os.walk(top, onerror=_unless_vanished)
    for path in [top] if top.is_file() else sorted(Path(folder, name) for folder, _, names in walked for name in names):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        yield path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)


def _unless_vanished(error: OSError) -> None:
    """Let go of folders that builds and queries removed while they were walked through."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _newest(paths: list[Path]) -> datetime | None:
    """Return when the youngest of them was changed; None when all of them vanished meanwhile."""
    times = []
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return datetime.fromtimestamp(max(times), UTC) if times else None
