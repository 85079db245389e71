"""Erased people: recognises the records of someone whose data has to go, from keyed digests of user ids alone.

A record is a person's if its `user_id` is theirs. Where no valid `user_id` can be read (broken JSON, a line that is too
long, an id of another form), it is a person's if its text has their id as a word. Both judges, the rewriting of
published files and `verify` ask here. Why a keyed digest: docs/adr/0018-erasure.md. Standard library and pyarrow.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.contract import USER
from event_pipeline.rules.json_object import NotAnObjectError, split_object
from event_pipeline.rules.kinds import ASCII_WHITE_SPACE, BrokenRuleError, Id

DIGEST_BYTES = 32
KEY_BYTES = 32
_MOST_KEPT = 200_000
"""User ids that are known not to be erased and need no digest again: about 20 MB."""

_PART_BYTES = 1 << 20

_WORDS = re.compile(f"[{re.escape(Id.CHARACTERS)}]+")
"""Runs of characters that an id may have: a JSON string is one of them, a bare number may have `:` and `,` on it."""
_PARTS = re.compile(r"[:,]")
_ESCAPE = re.compile(r"\\u00([2-7][0-9a-fA-F])|\\/")


@dataclass(frozen=True, slots=True)
class Erasures:
    """The people that a lake has to forget."""

    key: bytes = b""
    digests: frozenset[bytes] = frozenset()
    _others: set[str] = field(default_factory=set, compare=False, repr=False)
    """Ids of people who are not among them, seen so far."""

    def __bool__(self) -> bool:
        return bool(self.digests)

    def __reduce__(self) -> tuple[type[Erasures], tuple[bytes, frozenset[bytes]]]:
        return Erasures, (self.key, self.digests)

    @property
    def version(self) -> str:
        """Digest of the list: equal if and only if the same people are on it; empty if nobody is."""
        return hashlib.sha256(b"".join(sorted(self.digests))).hexdigest()[:16] if self.digests else ""

    def digest_of(self, user_id: str) -> bytes:
        """Return the keyed digest of a user id."""
        return hashlib.blake2b(user_id.encode(), key=self.key, digest_size=DIGEST_BYTES).digest()

    def has(self, user_id: str) -> bool:
        """Return whether this is the id of an erased person."""
        return bool(self.digests) and self.digest_of(user_id) in self.digests

    def has_record(self, text: str) -> bool:
        """Return whether a record is an erased person's: the reference rule.

        `text` is the line, or what quarantine keeps of it, with undecodable bytes as U+FFFD.
        """
        return bool(self.digests) and any(self.digest_of(each) in self.digests for each in possible_ids(text))

    def among(self, user_ids: pa.Array | pa.ChunkedArray) -> set[str]:
        """Return the ids of erased people in a column of user ids."""
        if not self.digests:
            return set()
        new = set(pc.unique(user_ids).to_pylist()) - self._others - {None}
        found = {each for each in new if self.digest_of(each) in self.digests}
        if len(self._others) > _MOST_KEPT:
            self._others.clear()
        self._others.update(new - found)
        return found

    def only(self, user_id: str) -> Erasures:
        """Return a list with one person on it, under the same key."""
        return Erasures(self.key, frozenset((self.digest_of(user_id),)))


NOBODY = Erasures()


def possible_ids(text: str) -> Iterator[str]:
    """Yield the user id of a record; if it has no valid one, every word of its text that could be one."""
    text = text.strip(ASCII_WHITE_SPACE)
    try:
        user_id = USER.kind.read(split_object(text).get(USER.name, "null"))
    except (NotAnObjectError, BrokenRuleError):
        user_id = None
    if user_id is not None:
        yield str(user_id)
        return
    yield from _words(text)
    if "\\" in text:
        yield from _words(_ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else "/", text))


def _words(text: str) -> Iterator[str]:
    for word in dict.fromkeys(_WORDS.findall(text)):
        yield word
        if ":" in word or "," in word:
            yield from filter(None, (word.strip(":,"), *_PARTS.split(word)))


def without_lines(chunk: bytes, first_line: int, lines: Iterable[int]) -> bytes:
    """Return a chunk of complete lines with these ones blank, so that all others keep their numbers."""
    kept = chunk.split(b"\n")
    for number in lines:
        kept[number - first_line] = b" "
    return b"\n".join(kept)


def with_blank_lines(stored: BinaryIO, lines: Iterable[int]) -> bytes:
    """Return the stored bytes of a readable object with these physical lines blank: all others keep their numbers."""
    blank, number, written = frozenset(lines), 1, io.BytesIO()
    with gzip.open(stored, "rb") as content, gzip.GzipFile(fileobj=written, mode="wb", mtime=0) as kept:
        while part := content.readline(_PART_BYTES):
            ends = part.endswith(b"\n")
            if number not in blank:
                kept.write(part)
            elif ends:
                kept.write(b"\n")
            number += ends
    return written.getvalue()
