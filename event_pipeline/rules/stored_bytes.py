"""Computes the digest of a stored object while it is read, to distinguish objects that listings cannot.

Standard library only.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO, cast

_BLOCK_BYTES = 1 << 18


class DigestingReader:
    """Reads a stored object from start to end, and digests every byte."""

    def __init__(self, stored: BinaryIO) -> None:
        self._stored = stored
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes."""
        data = self._stored.read(size)
        self._digest.update(data)
        return data

    def as_file(self) -> BinaryIO:
        """Return this reader as a file for decompressors, which may only call `read`."""
        return cast(BinaryIO, self)

    def finish(self) -> str:
        """Read the rest, because readers stop at the first fault, and return the SHA-256 of all bytes."""
        while self.read(_BLOCK_BYTES):
            pass
        return self._digest.hexdigest()


def sha256_of(stored: BinaryIO) -> str:
    """Return the SHA-256 of a complete stored object."""
    return DigestingReader(stored).finish()
