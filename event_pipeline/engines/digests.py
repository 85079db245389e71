"""Digests of raw objects whose etag differs from the built one: each object is read once and its digest cached.

A cached digest is identified by key, etag and size of the object, so it is either right or absent. The cache is one
small document per landing hour. If one is lost, the objects of that hour are read again; if two processes write one at
the same time, only the work of one of them is lost.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from event_pipeline.engines import layout
from event_pipeline.engines.raw import RawPlace
from event_pipeline.engines.store import Store
from event_pipeline.errors import PipelineError, StorageError
from event_pipeline.rules.accounting import RawObject
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.stored_json import read_json, read_value

_READERS = 4
_Named = tuple[str, str, int]


class RawDigests:
    """Digests of the raw objects of one place, cached in the lake."""

    def __init__(self, raw: RawPlace, lake: Store) -> None:
        self._raw = raw
        self._lake = lake

    def raw_digests(self, hour: Hour, objects: Sequence[RawObject]) -> dict[str, str]:
        """Return key -> SHA-256 of the stored bytes of raw objects of an hour.

        An object that differs from the listing or cannot be read is left out: it counts as changed, and the build that
        reads it reports what is wrong.
        """
        known = self._read(hour)
        unknown = [each for each in objects if _name(each) not in known]
        if unknown:
            with ThreadPoolExecutor(_READERS) as readers:
                found = list(readers.map(self._raw.digest, unknown))
            known |= {_name(each): digest for each, digest in zip(unknown, found, strict=True) if digest}
            listed = [[*_name(each), known[_name(each)]] for each in objects if _name(each) in known]
            # Without write permission (another user's folder, a read-only role) the objects are read every time.
            with suppress(StorageError):
                self._lake.write(layout.digests(hour), f"{json.dumps(listed, indent=1)}\n".encode())
        return {each.key: known[_name(each)] for each in objects if _name(each) in known}

    def forget(self, hour: Hour) -> None:
        """Drop the cached digests of an hour that was built from the objects as listed now, which needs none."""
        # The hour is already published, and a remaining cache entry is still right.
        with suppress(PipelineError):
            self._lake.delete([layout.digests(hour)])

    def _read(self, hour: Hour) -> dict[_Named, str]:
        try:
            found = self._lake.read(layout.digests(hour))
        except StorageError:
            return {}  # losing it only costs reading the objects again
        return _parse(found[0].decode("utf-8", "replace") if found else None)


def _name(each: RawObject) -> _Named:
    return each.key, each.etag, each.size


def _parse(text: str | None) -> dict[_Named, str]:
    """Parse a document; a damaged one is treated as missing."""
    try:
        listed = read_json(text or "[]")
        return {(key, etag, size): read_value(str, digest, "digest") for key, etag, size, digest in listed}
    except (ValueError, TypeError):
        return {}
