"""A store whose objects are in a dictionary: the least that a new place for a lake has to bring."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from event_pipeline.engines.store import StoredObject
from event_pipeline.errors import StorageError


class MemoryStore:
    """Objects in a dictionary, without locks; `engines.store.Store`."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, StoredObject]] = {}
        self._writes = 0
        self._changing = threading.Lock()

    def url(self, key: str) -> str:
        return f"memory:{key}"

    def list(self, prefix: str) -> Iterator[StoredObject]:
        found = [stored for key, (_, stored) in self._objects.copy().items() if key.startswith(prefix)]
        return iter(sorted(found, key=lambda each: each.key))

    def read(self, key: str) -> tuple[bytes, str] | None:
        found = self._objects.get(key)
        return (found[0], found[1].version) if found else None

    def open(self, key: str, size: int) -> BinaryIO:
        if (found := self._objects.get(key)) is None:
            raise StorageError(f"{self.url(key)}: there is no such object")
        return io.BytesIO(found[0])

    def download(self, key: str, path: Path) -> bool:
        found = self._objects.get(key)
        return found is not None and path.write_bytes(found[0]) >= 0

    def write(self, key: str, body: bytes) -> None:
        with self._changing:
            self._put(key, body)

    def take(self, key: str, path: Path) -> None:
        self.write(key, path.read_bytes())

    def replace(self, key: str, body: bytes, version: str | None) -> bool:
        with self._changing:
            present = self._objects.get(key)
            if (present[1].version if present else None) != version:
                return False
            self._put(key, body)
            return True

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self._objects.pop(key, None)

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def _put(self, key: str, body: bytes) -> None:
        self._writes += 1
        self._objects[key] = body, StoredObject(key, str(self._writes), len(body), datetime.now(UTC))
