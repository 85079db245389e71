"""Raw objects on local disk: listing them without reading, and opening one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from event_pipeline.engines.commit import file_digest
from event_pipeline.engines.host.layout import publish, storage_faults
from event_pipeline.engines.isolation import PASSING_ERRNOS
from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import RawObject, UnmatchedKey
from event_pipeline.rules.hour import RAW_ROOT
from event_pipeline.rules.stored_bytes import sha256_of

_LINK = "a link: only regular files and folders under raw/ are read"
_NOT_REGULAR = "it is not a regular file: links, pipes, sockets and devices under raw/ are not read"
_NOT_READABLE = "permission denied: check its owner and mode"


class RawFiles:
    """Implements `engines.raw.RawPlace` over a folder whose relative paths are the keys of raw objects.

    The folder itself may be a link, for example to a mount. In it, only regular files in real folders are read: a link
    may lead anywhere or in a circle, and opening a pipe or a device can block forever.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        """`folder` is raw/ itself; keys do not include the prefix, which names folders in it."""
        self.prefix = prefix
        self._top = folder
        self._folder = folder / prefix

    @property
    def folder(self) -> Path:
        """The folder that keys are relative to."""
        return self._folder

    def check(self) -> None:
        """Check that the raw folder can be read."""
        if self._top.is_symlink() and not self._top.exists():
            raise StorageError(f"{self._top} is a link to {self._top.readlink()}, which does not exist: is it mounted?")
        for folder in (self._folder, self._folder / RAW_ROOT):
            with storage_faults(folder):
                try:
                    os.scandir(folder).close()
                except FileNotFoundError:
                    return  # nothing has ever landed

    def walk(self, prefix: str) -> Iterator[RawObject | UnmatchedKey]:
        """Yield every regular file under a prefix as an object, and everything else as unmatched."""
        top = self._folder
        for part in prefix.rstrip("/").split("/"):
            top = top / part
            if (found := self._looked_at(top)) is None or isinstance(found, UnmatchedKey):
                yield from [found] if found else []
                return
        yield from self._walk_folder(top)

    def whole(self) -> RawFiles:
        """Return the same folder without a prefix."""
        return RawFiles(self._top)

    def beside(self) -> Iterator[str]:
        """Yield files and folders in raw/ itself, but for hidden ones, in which objects are prepared."""
        own = (self.prefix or RAW_ROOT).split("/")[0]
        try:
            names = sorted(os.listdir(self._top))
        except OSError:
            return  # `check` has reported it
        for name in names:
            if name not in (own, RAW_ROOT.rstrip("/")) and not name.startswith("."):
                yield f"{name}/" if (self._top / name).is_dir() else name

    def open(self, key: str) -> BinaryIO:
        """Open the stored bytes of one object.

        Raises:
            StorageError: there is no such object, it is not a regular file, or it cannot be opened.
        """
        path = self._folder / key
        with storage_faults(path):
            return open_regular(path)

    def opener(self) -> Callable[[str], BinaryIO]:
        """Return `open`: this class holds only paths."""
        return self.open

    def rewrite(self, listed: RawObject, content: bytes) -> bool:
        """Replace the file of an object that still has its listed size and time."""
        path = self._folder / listed.key
        with storage_faults(path):
            if describe(listed.key, path.lstat()) != listed:
                return False
            mode = stat.S_IMODE(path.lstat().st_mode)
            publish(path, content)
            path.chmod(mode)
        return True

    def digest(self, listed: RawObject) -> str | None:
        """Return the digest of an object that still has its listed size and time."""
        try:
            with self.open(listed.key) as stored:
                digest = sha256_of(stored)
                now = describe(listed.key, os.fstat(stored.fileno()))
        except (StorageError, OSError):
            return None  # the build that opens it reports the cause
        return digest if now == listed else None

    def source(self, listed: RawObject) -> FileSource:
        """Return the source that reads the stored bytes of one object."""
        return FileSource(self._folder / listed.key, listed)

    def _walk_folder(self, folder: Path) -> Iterator[RawObject | UnmatchedKey]:
        try:
            with os.scandir(folder) as entries:
                names = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            return  # removed since its own folder was read
        except OSError as error:
            yield UnmatchedKey(self._key(folder) + "/", f"the folder cannot be listed: {error.strerror}")
            return
        for entry in names:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk_folder(Path(entry.path))
                continue
            key = self._key(Path(entry.path))
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                yield UnmatchedKey(key, f"it cannot be examined: {error.strerror}")
                continue
            if fault := _file_fault(status.st_mode):
                yield UnmatchedKey(key, fault)
            elif not os.access(entry.path, os.R_OK):
                yield UnmatchedKey(key, _NOT_READABLE)
            else:
                yield describe(key, status)

    def _looked_at(self, path: Path) -> UnmatchedKey | bool | None:
        """Return True for a real folder, an unmatched key for anything else, None if nothing is there."""
        try:
            mode = path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return UnmatchedKey(self._key(path), f"it cannot be examined: {error.strerror}")
        if stat.S_ISDIR(mode):
            return True
        return UnmatchedKey(self._key(path), _file_fault(mode) or "a file where a folder should be")

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


@dataclass(frozen=True, slots=True)
class FileSource:
    """The stored bytes of a raw object in a file; implements `engines.builder.RawSource`."""

    path: Path
    listed: RawObject

    @contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """Open the stored bytes for a block, and check at its end that they still match the listing."""
        try:
            with open_regular(self.path) as stored:
                yield stored
                now = describe(self.listed.key, os.fstat(stored.fileno()))
            replaced = describe(self.listed.key, self.path.stat()) != self.listed or now != self.listed
        except FileNotFoundError:
            replaced = True
        except OSError as error:
            raise unreadable(self.path, self.listed, error) from error
        if replaced:
            raise TransientError(f"{self.listed.key} was replaced or removed while it was read: list the hour again")

    def has_digest(self, sha256: str) -> bool:
        """Return whether the object has these bytes: key, time and size alone do not prove it.

        Computing the digest costs 1 % of decoding the object.
        """
        return file_digest(self.path) == sha256


def unreadable(path: Path, listed: RawObject, error: OSError) -> PipelineError:
    """Return the error that says which object cannot be read, why, and the remedy."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in PASSING_ERRNOS:
        return TransientError(
            f"{listed.key}: cannot be read at the moment ({cause}): the disk or network under {path} failed; if this "
            "persists, copy the object again or move it away. Nothing of this hour was published"
        )
    remedies = {
        errno.EACCES: "let the user of the pipeline read it (owner and mode of the file and its folders)",
        errno.EPERM: "let the user of the pipeline read it (owner and mode of the file and its folders)",
        errno.ELOOP: "the links form a loop: replace them with the object itself",
    }
    remedy = remedies.get(error.errno or 0, "make it readable")
    return StorageError(
        f"{listed.key}: cannot be opened ({cause}): {remedy}, or move it away. Nothing of this hour was published"
    )


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; never blocks on a pipe and never follows a link.

    Raises:
        StorageError: it is not a regular file, so it was replaced since it was listed.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise StorageError(f"{path}: {_NOT_REGULAR}") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{path}: {_NOT_REGULAR}")
    return os.fdopen(descriptor, "rb")


def _file_fault(mode: int) -> str | None:
    """Return what a path is if it is not a regular file."""
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISLNK(mode):
        return _LINK
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISBLK: "a device", stat.S_ISCHR: "a device"}
    return next((f"{name}, no regular file" for is_kind, name in kinds.items() if is_kind(mode)), "no regular file")


def describe(key: str, status: os.stat_result) -> RawObject:
    """Return an object from its file's status: the etag is the modification time in nanoseconds.

    The inode is not part of it, so a data folder that is moved or restored with its times keeps its fingerprints.
    """
    return RawObject(key, f"{status.st_mtime_ns:x}", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
