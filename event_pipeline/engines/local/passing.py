"""Temporary files in a data folder, which killed steps leave behind: scratch files, drafts and locks."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from event_pipeline.engines.base import Leftover, LeftoverKind
from event_pipeline.engines.host.database import DUCKDB_SCRATCH
from event_pipeline.engines.host.layout import Layout, storage_faults
from event_pipeline.engines.leftovers import PASSING_GRACE
from event_pipeline.engines.local.files import remove_empty_folders

_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}(-wal|-shm|-journal)?$")
"""Name of the files that `publish` and the catalog's rebuild write before renaming them."""


class PassingFolders:
    """Implements `engines.housekeeping.PassingFiles` over one data folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def leftovers(self, until: datetime) -> Iterator[Leftover]:
        """Yield the files that have not changed since `until`."""
        with storage_faults(self._layout.root):
            yield from self._leftovers(until)

    def _leftovers(self, until: datetime) -> Iterator[Leftover]:
        """Yield what killed steps left in folders of temporary files."""
        root, why = self._layout.root, f"older than {PASSING_GRACE.total_seconds() / 3600:.0f} hours"
        for entry in sorted(self._layout.scratch.iterdir()) if self._layout.scratch.is_dir() else ():
            found, place = list(_walk(entry)), entry.relative_to(root).as_posix()
            if entry.name == DUCKDB_SCRATCH:
                # Shared by all processes, so the folder stays: only files of dead processes may be removed.
                old = [(path.relative_to(root).as_posix(), size) for path, size, modified in found if modified <= until]
                if old:
                    paths, sizes = zip(*old, strict=True)
                    yield Leftover(LeftoverKind.SCRATCH, place, paths, sum(sizes), why)
            elif (newest := _newest([entry, *(path for path, _, _ in found)])) and newest <= until:
                yield Leftover(LeftoverKind.SCRATCH, place, (place,), sum(size for _, size, _ in found), why)
        for path, size, modified in _walk(self._layout.lake, _is_hidden):
            if modified <= until:
                place = path.relative_to(root).as_posix()
                yield Leftover(LeftoverKind.DRAFT, place, (place,), size, why)
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            # Drafts of small documents in the data folder itself, and of a catalog that was being rebuilt.
            for draft, size, modified in _walk(path) if _DRAFT.match(path.name) and path.is_file() else ():
                if modified <= until:
                    yield Leftover(LeftoverKind.DRAFT, draft.name, (draft.name,), size, why)
        for path, size, modified in _walk(root / "locks"):
            if modified <= until:
                place = path.relative_to(root).as_posix()
                yield Leftover(LeftoverKind.LOCK, place, (place,), size, why)

    def remove(self, leftover: Leftover) -> None:
        """Remove a leftover; a lock only if no process holds it."""
        for name in leftover.paths:
            path = self._layout.root / name
            with storage_faults(path):
                if leftover.kind is LeftoverKind.LOCK:
                    _remove_lock(path)
                elif path.is_dir():
                    shutil.rmtree(path, ignore_errors=False)
                else:
                    path.unlink(missing_ok=True)
                    if path.is_relative_to(self._layout.runs):
                        # The other files of its build have gone before, but not the folder.
                        remove_empty_folders(path.parent, self._layout.lake)


def _remove_lock(path: Path) -> None:
    """Remove a lock file while holding it: a waiting process notices and creates it again."""
    lock = FileLock(path, timeout=0)
    try:
        with storage_faults(path), lock:
            path.unlink(missing_ok=True)
    except Timeout:
        return  # held: not a leftover after all


def _is_hidden(name: str) -> bool:
    """Return whether a name in the lake is that of an unfinished write, which no listing of the lake shows."""
    return name.startswith(".")


def _walk(top: Path, wanted: Callable[[str], bool] = bool) -> Iterator[tuple[Path, int, datetime]]:
    """Yield path, size and modification time of files with wanted names; those that vanish meanwhile are left out."""
    walked = os.walk(top, onerror=_unless_vanished)
    found = (Path(folder, name) for folder, _, names in walked for name in names if wanted(name))
    for path in [top] if top.is_file() else sorted(found):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        yield path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)


def _unless_vanished(error: OSError) -> None:
    """Ignore folders that builds and queries removed during the walk."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _newest(paths: list[Path]) -> datetime | None:
    """Return the latest modification time; None if all paths vanished meanwhile."""
    times = []
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return datetime.fromtimestamp(max(times), UTC) if times else None
