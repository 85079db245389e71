"""The data folder on disk: where everything is, atomic writes, and locks.

<root>/layout.json                             the version of this layout
<root>/raw/events/year=.../...jsonl.gz         raw objects, read-only
<root>/lake/                                   data files and commit records: see `engines/layout.py`
<root>/catalog.sqlite                          what queries see; can be rebuilt from the commit records
<root>/alerts.json                             the state of alerts; if lost, alerts are sent once more
<root>/locks/, <root>/scratch/                 temporary files
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from event_pipeline.engines import layout
from event_pipeline.engines.durability import make_folder, sync_folder
from event_pipeline.errors import LayoutVersionError, LockTimeoutError, StorageError, TransientError
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.stored_json import read_json

LAYOUT_VERSION = 2
HOST_FOLDER = "pool"
"""Folder in the data folder for AWS hours that this host is building; never published from there."""

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and run again, nothing of this step was published",
    errno.EDQUOT: "the disk quota is used up: free some space and run again, nothing of this step was published",
    errno.EFBIG: "the file would be larger than this system allows: nothing of this step was published",
    errno.EROFS: "the file system is read-only: mount it writable or set EVENT_PIPELINE_ROOT elsewhere",
    errno.EACCES: "access is denied: check owner and mode of the folder, or set EVENT_PIPELINE_ROOT elsewhere",
    errno.EPERM: "access is denied: check owner and mode of the folder, or set EVENT_PIPELINE_ROOT elsewhere",
    errno.ENOTDIR: "a file exists where a folder is needed: move it away, or set EVENT_PIPELINE_ROOT elsewhere",
    errno.EEXIST: "a file exists where a folder is needed: move it away, or set EVENT_PIPELINE_ROOT elsewhere",
    errno.EISDIR: "a folder exists where a file is needed: move it away",
    errno.ENOENT: "it does not exist",
    errno.ENAMETOOLONG: "the path is too long for this file system: set EVENT_PIPELINE_ROOT to a shorter one",
    errno.ELOOP: "links form a loop: replace them with a real folder",
    errno.EIO: "the disk failed to read or write: see the system's log for the device; nothing was half published",
    errno.ESTALE: "the network file system has lost the file: check that it is mounted, then run again",
    errno.EMFILE: "this process has too many files open: raise the limit with `ulimit -n`, or lower "
    "EVENT_PIPELINE_WORKERS",
    errno.ENFILE: "this machine has too many files open: end other programs, or raise fs.file-max",
}
"""Cause and remedy of operating system errors."""

_PASSING = frozenset((errno.EIO, errno.ESTALE, errno.ENFILE))
"""Those of them that are transient."""


@contextmanager
def storage_faults(place: Path | str) -> Iterator[None]:
    """Turn an operating system error with a known cause into one with a remedy.

    Raises:
        StorageError: replaces an OSError with a known cause; any other OSError passes through.
        TransientError: replaces a transient OSError.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        kind = TransientError if error.errno in _PASSING else StorageError
        raise kind(f"{error.filename or place}: {remedy} ({os.strerror(error.errno or 0)})") from error


class Layout:
    """Paths in one data folder; only its methods for that access the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.raw = self.root / "raw"
        self.lake = self.root / "lake"
        self.commits = self.lake / "commits"
        self.runs = self.lake / "runs"
        self.catalog = self.root / "catalog.sqlite"
        self.scratch = self.root / "scratch"
        self._marker = self.root / "layout.json"

    def decoded(self, hour: Hour) -> Path:
        """Return the folder of the decoded raw objects of an open landing hour."""
        return self.scratch / "decoded" / hour.hive_path

    def hour_commit(self, hour: Hour) -> Path:
        """Return the path of the commit record of a landing hour."""
        return self.lake / layout.hour_commit(hour)

    def check_version(self) -> None:
        """Check that this version can read the folder; an empty or missing one is fine.

        Raises:
            LayoutVersionError: another version of the pipeline wrote it.
            StorageError: it cannot be read.
        """
        with storage_faults(self.root):
            if self.root.exists() and not self.root.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "", str(self.root))
            try:
                text = self._marker.read_bytes()
            except FileNotFoundError:
                return
        try:
            found = read_json(text)["layout"]
        except (ValueError, KeyError, TypeError):
            found = text[:40].decode("utf-8", "replace")
        if found != LAYOUT_VERSION:
            raise LayoutVersionError(
                f"{self._marker}: the data folder has layout {found!r:.60}, this version reads and writes layout "
                f"{LAYOUT_VERSION}: use the version that wrote it, or set EVENT_PIPELINE_ROOT to another folder"
            )

    def claim(self) -> None:
        """Prepare the folder for writing and mark it with the layout version.

        Raises:
            LayoutVersionError: another version of the pipeline wrote it.
            StorageError: it cannot be written.
        """
        self.check_version()
        if not self._marker.exists():
            publish(self._marker, f"{json.dumps({'layout': LAYOUT_VERSION})}\n".encode())

    @contextmanager
    def lock(self, name: str, timeout_seconds: float) -> Iterator[None]:
        """Hold a named lock; the operating system releases it when the process dies.

        Raises:
            LockTimeoutError: another process held it for longer than the timeout.
        """
        path = self.root / "locks" / f"{name}.lock"
        with storage_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=timeout_seconds)
            try:
                lock.acquire()
            except Timeout:
                raise LockTimeoutError(
                    f"another process has been working on {name} for {timeout_seconds:g} s "
                    f"(lock {path}): wait for it, or raise EVENT_PIPELINE_LOCK_TIMEOUT_SECONDS"
                ) from None
        try:
            yield
        finally:
            lock.release()


def publish(path: Path, content: bytes, *, private: bool = False, modified_ns: int = 0) -> None:
    """Replace a small file atomically: a reader sees the old or the new content, even after a crash.

    `private` makes it readable only for the current user. `modified_ns` is its modification time, 0 for now.
    """
    with storage_faults(path):
        make_folder(path.parent)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with draft.open("wb") as file:
                if private:
                    os.fchmod(file.fileno(), 0o600)
                file.write(content)
                file.flush()
                if modified_ns:
                    os.utime(file.fileno(), ns=(modified_ns, modified_ns))
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
