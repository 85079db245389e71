"""The port to the objects of a lake: files below a folder, or objects of a bucket.

Everything that the pipeline publishes goes through these calls, so what they promise is what makes a build safe to
kill anywhere and to run beside itself. `event_pipeline_tests/engines/test_stores.py` holds every store to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it."""

    key: str
    version: str
    """Two of one key are the same only if the bytes are; `list`, `read` and `replace` know the same one."""
    size: int
    """Bytes."""
    modified: datetime


class Store(Protocol):
    """Objects by key; a key is a path without a leading slash. Safe to use from several threads and processes.

    A write is seen whole or not at all, at once by everybody, and is still there after a crash.
    """

    def url(self, key: str) -> str:
        """Return where an object is, for people: a path or a URL."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List the objects whose key begins with a prefix, by key; one that is being written is not among them.

        Raises:
            StorageError: they cannot be listed.
        """

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes of an object and the version that they are of; None when there is no such object.

        Raises:
            StorageError: it cannot be read.
        """

    def open(self, key: str, size: int) -> BinaryIO:
        """Open an object of a size in bytes to read parts of it.

        Raises:
            StorageError: it cannot be opened; a later read may raise it, too.
        """

    def download(self, key: str, path: Path) -> bool:
        """Copy an object to a file of this machine; False when there is no such object.

        Raises:
            StorageError: it cannot be read.
            OSError: the file cannot be written.
        """

    def write(self, key: str, body: bytes) -> None:
        """Write an object, whatever was there.

        Raises:
            StorageError: it cannot be written.
        """

    def take(self, key: str, path: Path) -> None:
        """Make a file of this machine an object, whatever was there; the file may be gone afterwards.

        Raises:
            StorageError: it cannot be written.
        """

    def replace(self, key: str, body: bytes, version: str | None) -> bool:
        """Write an object if the present one has a version, or, for None, if there is none: compare and swap.

        Returns False, having changed nothing, when something else is there. Of several callers that name one version
        exactly one is told True.

        Raises:
            StorageError: it cannot be written.
            TransientError: it may work in a moment.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no fault.

        Raises:
            StorageError: one cannot be deleted; others may be gone by then.
        """

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of a name for a block, where the place has locks; where it has none, do nothing.

        A lock saves work that would be done twice. Nothing may depend on it to be right.

        Raises:
            LockTimeoutError: another process held it for too long.
        """
