"""Digests of raw objects whose etag is another one than was built: each object is read once, then remembered.

A note is named by key, etag and size of the object, so it is right or it is not there. Notes are one small document
for each landing hour; whoever loses one reads the objects of that hour once more, and two processes that write one
at the same time lose nothing but the work of one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import RawObject
from event_pipeline.rules.hour import Hour

_READERS = 4
_Named = tuple[str, str, int]


class DigestNotes(Protocol):
    """Where the notes of an engine are kept."""

    def read(self, hour: Hour) -> str | None:
        """Return the document of a landing hour; None when there is none.

        Raises:
            StorageError: it cannot be read.
        """

    def write(self, hour: Hour, text: str) -> None:
        """Replace the document of a landing hour in one step.

        Raises:
            StorageError: it cannot be written.
        """


def raw_digests(
    hour: Hour, objects: Sequence[RawObject], notes: DigestNotes, digest_of: Callable[[RawObject], str | None]
) -> dict[str, str]:
    """Return key -> SHA-256 of the stored bytes of some raw objects of an hour.

    `digest_of` reads one object; it returns None for one that is not there as listed, or cannot be read. Such an
    object is left out: it counts as changed, and the build that reads it says what is wrong.
    """
    try:
        known = _parse(notes.read(hour))
    except StorageError:
        known = {}  # worth no more than the time to read the objects again
    unknown = [each for each in objects if _name(each) not in known]
    if unknown:
        with ThreadPoolExecutor(_READERS) as readers:
            found = list(readers.map(digest_of, unknown))
        known |= {_name(each): digest for each, digest in zip(unknown, found, strict=True) if digest}
        listed = [[*_name(each), known[_name(each)]] for each in objects if _name(each) in known]
        # Who may look but not write (another user's folder, a role that only reads) reads the objects every time.
        with suppress(StorageError):
            notes.write(hour, json.dumps(listed, indent=1) + "\n")
    return {each.key: known[_name(each)] for each in objects if _name(each) in known}


def _name(each: RawObject) -> _Named:
    return each.key, each.etag, each.size


def _parse(text: str | None) -> dict[_Named, str]:
    """Read a document; a damaged one is as good as none."""
    try:
        return {(key, etag, size): digest for key, etag, size, digest in json.loads(text or "[]")}
    except (ValueError, TypeError):
        return {}
