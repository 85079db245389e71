"""The catalog file: created if it is missing, and rebuilt from the commit records if it is damaged."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from event_pipeline.engines.base import PartitionChange
from event_pipeline.engines.commit import Commit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.durability import sync_file
from event_pipeline.engines.host.layout import Layout, storage_faults
from event_pipeline.engines.local.catalog import SqliteCatalog
from event_pipeline.engines.names import new_build_id
from event_pipeline.engines.repair import compare_entry
from event_pipeline.errors import StorageError


class CatalogFile:
    """Ensures that a complete catalog exists before it is used."""

    def __init__(
        self, layout: Layout, catalog: SqliteCatalog, commits: CommitStore, lock_timeout_seconds: float
    ) -> None:
        self._layout = layout
        self._catalog = catalog
        self._commits = commits
        self._lock_timeout_seconds = lock_timeout_seconds

    def ensure(self) -> None:
        """Create the catalog if it or one of its tables is missing, and fill it from the commit records.

        Raises:
            StorageError: the catalog is damaged; only an explicit repair replaces it.
        """
        self._layout.claim()
        if self._catalog.is_complete():
            return
        with self._layout.lock("catalog", self._lock_timeout_seconds):
            if not self._catalog.is_complete():
                self._rebuild()

    def restore(self) -> list[PartitionChange]:
        """Replace a damaged or lost catalog; return what the new one shows, or nothing if the catalog is sound."""
        self._layout.claim()
        with self._layout.lock("catalog", self._lock_timeout_seconds):
            if self._is_damaged():
                self._set_aside(f".damaged-{new_build_id()}")
            if not self._catalog.is_complete():
                return self._rebuild()
        return []

    def _is_damaged(self) -> bool:
        try:
            if self._catalog.is_complete():
                self._catalog.check()
        except StorageError:
            return True
        return False

    def _rebuild(self) -> list[PartitionChange]:
        """Replace a lost catalog with one filled from the commit records, under the catalog's lock.

        Concurrent readers and publishers find no catalog and wait for the lock. The old catalog is removed before the
        records are read: everything registered in it had been committed before.
        """
        path = self._catalog.path
        self._set_aside(None)
        draft = SqliteCatalog(path.with_name(f".{path.name}.{uuid.uuid4().hex}"))
        with storage_faults(path):
            try:
                draft.create()
                shown = draft.fill(commit for commit in self._records() if not self._commits.missing_files(commit))
                sync_file(draft.path)
                draft.path.replace(path)
                sync_file(path)
            finally:
                for part in _parts(draft):
                    part.unlink(missing_ok=True)
        return [compare_entry(*place, None, "", "") for place in shown]

    def _set_aside(self, suffix: str | None) -> None:
        """Rename or remove the catalog's files, the main file first, because it is wrong without its log."""
        with storage_faults(self._catalog.path):
            for path in _parts(self._catalog):
                if suffix is None:
                    path.unlink(missing_ok=True)
                elif path.exists():
                    path.rename(path.with_name(path.name + suffix))

    def _records(self) -> Iterator[Commit]:
        yield from self._commits.hours(None)
        yield from self._commits.partials()
        yield from self._commits.days()


def _parts(catalog: SqliteCatalog) -> list[Path]:
    return [catalog.path.with_name(f"{catalog.path.name}{part}") for part in ("", "-wal", "-shm")]
