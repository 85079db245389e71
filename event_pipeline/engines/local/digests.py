"""Digests of raw objects on local disk whose modification time is another one than was built, and their notes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from event_pipeline.engines.digests import raw_digests
from event_pipeline.engines.local.layout import Layout, publish, storage_faults
from event_pipeline.engines.local.raw import RawStore, describe
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import RawObject
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.stored_bytes import sha256_of


class RawDigests:
    """Digests of the raw objects of one data folder."""

    def __init__(self, layout: Layout, raw: RawStore) -> None:
        self._layout = layout
        self._raw = raw

    def of(self, hour: Hour, objects: Sequence[RawObject]) -> dict[str, str]:
        """Return key -> SHA-256 of objects of an hour; one that is not as listed, or cannot be read, is left out."""
        return raw_digests(hour, objects, self, self._digest)

    def forget(self, hour: Hour) -> None:
        """Drop the notes of an hour: it is built from the objects as they are listed now, and none is asked for."""
        path = self._layout.digests(hour)
        with storage_faults(path):
            path.unlink(missing_ok=True)

    def read(self, hour: Hour) -> str | None:
        """Return the notes of a landing hour; None when there are none."""
        path = self._layout.digests(hour)
        with storage_faults(path):
            try:
                return path.read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                return None

    def write(self, hour: Hour, text: str) -> None:
        """Replace the notes of a landing hour in one step."""
        publish(self._layout.digests(hour), text)

    def _digest(self, listed: RawObject) -> str | None:
        try:
            with self._raw.open(listed.key) as stored:
                digest = sha256_of(stored)
                now = describe(listed.key, os.fstat(stored.fileno()))
        except (StorageError, OSError):
            return None  # the build that opens it names the cause
        return digest if now == listed else None
