"""A store of files in one folder: keys are relative paths, versions are modification times."""

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

from event_pipeline.engines.durability import make_folder, sync_file
from event_pipeline.engines.host.layout import Layout, publish, storage_faults
from event_pipeline.engines.store import StoredObject

_REPLACING = "replacing"
"""Name of the lock for compare and swap of a file, held for one small write."""


class FileStore:
    """Implements `engines.store.Store` over a local folder.

    A file is written under a hidden name in the same folder and renamed, so the write is atomic; file and folder are
    synced, so it survives a power cut. `replace` compares under an operating system lock, which is released when its
    process dies.
    """

    def __init__(self, folder: Path, layout: Layout, lock_timeout_seconds: float, *, private: bool = False) -> None:
        """`private` makes files readable only for the current user."""
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
        """List the files whose key begins with a prefix, by key, without hidden files, which are unfinished writes."""
        folder = self._folder / prefix.rpartition("/")[0]
        with storage_faults(folder):
            for path, status in _files_below(folder):
                key = path.relative_to(self._folder).as_posix()
                if key.startswith(prefix):
                    yield _stored(key, status)

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes of a file and their version; None if there is no such file."""
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
        """Copy a file; return False if there is no such file."""
        source = self._folder / key
        if not source.is_file():
            return False
        with storage_faults(source):
            shutil.copyfile(source, path)
        return True

    def write(self, key: str, body: bytes) -> None:
        """Write a file atomically, overwriting any existing one."""
        self._put(key, body, 0)

    def take(self, key: str, path: Path) -> None:
        """Move a file into the store."""
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
        """Compare and swap: write a file if its current version is `version` (None: it does not exist)."""
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
            # A file system's clock may advance only every few milliseconds: two writes must not share a version.
            self._put(key, body, max(time.time_ns(), present.st_mtime_ns + 1) if present else 0)
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, and the folders of builds without any files left."""
        for key in keys:
            path = self._folder / key
            with storage_faults(path):
                path.unlink(missing_ok=True)
            remove_empty_folders(path.parent, self._folder)

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold a named lock; the operating system releases it when the process dies."""
        return self._layout.lock(name, self._lock_timeout_seconds)

    def _put(self, key: str, body: bytes, modified_ns: int) -> None:
        publish(self._folder / key, body, private=self._private, modified_ns=modified_ns)


def _stored(key: str, status: os.stat_result) -> StoredObject:
    return StoredObject(key, _version(status), status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}"


def _files_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files under a folder by path, as of when each folder was read; files that vanish are left out."""
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
    """Return a sort key by which complete paths are in order: `a-b` before `a/b`."""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def remove_empty_folders(folder: Path, top: Path) -> None:
    """Remove a build's empty folders; those of hours and days stay, because other processes create builds there."""
    parts = folder.relative_to(top).parts
    depth = next((n for n, part in enumerate(parts, 1) if part.startswith(("hour=", "event_date="))), len(parts))
    for _ in parts[depth:]:
        try:
            folder.rmdir()
        except OSError:
            return  # not empty, or already gone
        folder = folder.parent
