"""Takes the digest of a stored object while it is read: what tells two objects apart when no listing can.

Standard library only.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO, cast

_BLOCK_BYTES = 1 << 18


class DigestingReader:
    """Reads a stored object from its start to its end, and digests every byte that passes."""

    def __init__(self, stored: BinaryIO) -> None:
        self._stored = stored
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes."""
        data = self._stored.read(size)
        self._digest.update(data)
        return data

    def as_file(self) -> BinaryIO:
        """Return this reader as the file that inflaters take; `read` is all that they may call."""
        return cast(BinaryIO, self)

    def finish(self) -> str:
        """Read what is left, because readers stop at the first fault, and return the SHA-256 of all bytes."""
        while self.read(_BLOCK_BYTES):
            pass
        return self._digest.hexdigest()


def sha256_of(stored: BinaryIO) -> str:
    """Return the SHA-256 of everything that a stored object holds."""
    return DigestingReader(stored).finish()
