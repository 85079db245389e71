"""Digests of raw objects in S3 whose ETag is another one than was built, and their notes.

The same bytes have another ETag when they were copied in parts of another size, or were encrypted with another key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from event_pipeline.engines.aws import layout
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.digests import raw_digests
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import RawObject
from event_pipeline.rules.hour import Hour


class RawDigests:
    """Digests of the raw objects of one bucket; the notes are in the lake."""

    def __init__(self, raw: Bucket, lake: Bucket) -> None:
        self._raw = raw
        self._lake = lake

    def of(self, hour: Hour, objects: Sequence[RawObject]) -> dict[str, str]:
        """Return key -> SHA-256 of objects of an hour; one that is not as listed, or cannot be read, is left out."""
        return raw_digests(hour, objects, self, self._digest)

    def read(self, hour: Hour) -> str | None:
        """Return the notes of a landing hour; None when there are none."""
        found = self._lake.read(layout.digests(hour))
        return found[0].decode("utf-8", "replace") if found else None

    def write(self, hour: Hour, text: str) -> None:
        """Replace the notes of a landing hour in one step."""
        self._lake.write(layout.digests(hour), text.encode())

    def _digest(self, listed: RawObject) -> str | None:
        try:
            found = self._raw.read(listed.key)
        except StorageError:
            return None  # the build that reads it names the cause
        return hashlib.sha256(found[0]).hexdigest() if found and found[1] == listed.etag else None
