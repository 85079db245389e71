"""The port to the objects of a lake: files in a folder, or objects in a bucket.

Everything that the pipeline publishes goes through these calls, so their guarantees make it safe to kill a build at any
point and to run it concurrently. `event_pipeline_tests/engines/aws/test_ports.py` tests them for every store.
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
    """One object in a listing."""

    key: str
    version: str
    """Two versions of a key are equal only if the bytes are; `list`, `read` and `replace` use the same versions."""
    size: int
    """Bytes."""
    modified: datetime


class Store(Protocol):
    """Objects by key; a key is a path without a leading slash. Safe to use from several threads and processes.

    Writes are atomic, immediately visible to all readers, and durable.
    """

    def url(self, key: str) -> str:
        """Return where an object is, as a readable path or URL."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List the objects whose key begins with a prefix, by key, without objects that are still being written.

        Raises:
            StorageError: they cannot be listed.
        """

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes of an object and their version; None if there is no such object.

        Raises:
            StorageError: it cannot be read.
        """

    def open(self, key: str, size: int) -> BinaryIO:
        """Open an object of `size` bytes to read parts of it.

        Raises:
            StorageError: it cannot be opened; a later read may raise this as well.
        """

    def download(self, key: str, path: Path) -> bool:
        """Copy an object to a local file; return False if there is no such object.

        Raises:
            StorageError: it cannot be read.
            OSError: the file cannot be written.
        """

    def write(self, key: str, body: bytes) -> None:
        """Write an object, overwriting any existing one.

        Raises:
            StorageError: it cannot be written.
        """

    def take(self, key: str, path: Path) -> None:
        """Move a local file into the store, overwriting any existing object; the file may be gone afterwards.

        Raises:
            StorageError: it cannot be written.
        """

    def replace(self, key: str, body: bytes, version: str | None) -> bool:
        """Compare and swap: write an object if its current version is `version` (None: it does not exist).

        Returns False, without changing anything, if the version differs. Of several callers with the same version,
        exactly one gets True.

        Raises:
            StorageError: it cannot be written.
            TransientError: a retry may succeed.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are already gone are not an error.

        Raises:
            StorageError: one cannot be deleted; others may already be gone.
        """

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold a named lock for a block if the place has locks; otherwise do nothing.

        A lock only avoids duplicate work; correctness must not depend on it.

        Raises:
            LockTimeoutError: another process held it for too long.
        """
