"""A store of files below one folder: keys are relative paths, versions are times of the last write."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from event_pipeline.engines.host.layout import Layout, make_folder, publish, storage_faults, sync_file
from event_pipeline.engines.store import StoredObject

_REPLACING = "replacing"
"""Name of the lock under which a file is compared and replaced: it is held for one small write."""


class FileStore:
    """Speaks `engines.store.Store` over a folder of one machine.

    A file is written beside its place under a hidden name and renamed, so it is seen whole or not at all; file and
    folder are synced, so it is still there after a power cut. `replace` compares under a lock of the operating
    system, which a process that dies gives back.
    """

    def __init__(self, folder: Path, layout: Layout, lock_timeout_seconds: float, *, private: bool = False) -> None:
        """`private` lets nobody read what is written but the user who writes it."""
        self._folder = folder
        self._layout = layout
        self._lock_timeout_seconds = lock_timeout_seconds
        self._private = private

    def url(self, key: str) -> str:
        """Return the path of a file."""
        return str(self._folder / key)

    def path(self, key: str) -> Path:
        """Return the path of a file."""
        return self._folder / key

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List the files whose key begins with a prefix, by key; hidden ones are drafts of a write."""
        folder = self._folder / prefix.rpartition("/")[0]
        with storage_faults(folder):
            for path, status in _files_below(folder):
                key = path.relative_to(self._folder).as_posix()
                if key.startswith(prefix):
                    yield _stored(key, status)

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes of a file and their version; None when there is no such file."""
        path = self._folder / key
        with storage_faults(path):
            try:
                with path.open("rb") as file:
                    return file.read(), _version(os.fstat(file.fileno()))
            except FileNotFoundError:
                return None

    def open(self, key: str, size: int) -> BinaryIO:
        """Open a file to read parts of it."""
        path = self._folder / key
        with storage_faults(path):
            return path.open("rb")

    def download(self, key: str, path: Path) -> bool:
        """Copy a file; False when there is no such file."""
        source = self._folder / key
        if not source.is_file():
            return False
        with storage_faults(source):
            shutil.copyfile(source, path)
        return True

    def write(self, key: str, body: bytes) -> None:
        """Write a file in one step, whatever was there."""
        self._put(key, body, 0)

    def take(self, key: str, path: Path) -> None:
        """Move a file to its place."""
        target = self._folder / key
        with storage_faults(target):
            make_folder(target.parent)
            try:
                path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # The folder of all builds may be a link to another disk.
                draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
                try:
                    shutil.copyfile(path, draft)
                    draft.replace(target)
                finally:
                    draft.unlink(missing_ok=True)
            sync_file(target)

    def replace(self, key: str, body: bytes, version: str | None) -> bool:
        """Write a file if the present one has a version, or, for None, if there is none."""
        path = self._folder / key
        self._layout.claim()
        with self._layout.lock(_REPLACING, self._lock_timeout_seconds):
            with storage_faults(path):
                try:
                    present: os.stat_result | None = path.stat()
                except FileNotFoundError:
                    present = None
            if (_version(present) if present else None) != version:
                return False
            # The clock of a file system stands still for milliseconds: two writes must not have one version.
            self._put(key, body, max(time.time_ns(), present.st_mtime_ns + 1) if present else 0)
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, and the folder of a build that has none left."""
        for key in keys:
            path = self._folder / key
            with storage_faults(path):
                path.unlink(missing_ok=True)
            _remove_empty_folders(path.parent, self._folder)

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of a name; the operating system releases it when the process dies."""
        return self._layout.lock(name, self._lock_timeout_seconds)

    def _put(self, key: str, body: bytes, modified_ns: int) -> None:
        publish(self._folder / key, body, private=self._private, modified_ns=modified_ns)


def _stored(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, _version(status), status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}"


def _files_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below a folder by path, as they were when its own folder was read; what vanishes is left out."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=_whole_name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for each in found:
        if each.name.startswith("."):
            continue
        if each.is_dir(follow_symlinks=False):
            yield from _files_below(Path(each.path))
            continue
        try:
            status = each.stat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield Path(each.path), status


def _whole_name(entry: os.DirEntry[str]) -> str:
    """Return a name by which whole paths are in order: `a-b` is before `a/b`."""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def _remove_empty_folders(folder: Path, top: Path) -> None:
    """Remove folders of one build that are empty now; those of hours and days stay, where others make new ones."""
    parts = folder.relative_to(top).parts
    depth = next((n for n, part in enumerate(parts, 1) if part.startswith(("hour=", "event_date="))), len(parts))
    for _ in parts[depth:]:
        try:
            folder.rmdir()
        except OSError:
            return  # something else is in it, or it is gone already
        folder = folder.parent
