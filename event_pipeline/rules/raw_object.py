"""Reads a stored raw object as chunks of complete lines, checking every gzip member's checksum and length.

Standard library, and isal if it is installed: it decompresses four times as fast and finds the same faults.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import BinaryIO

from event_pipeline.rules.contract import LONG_LINE_HEAD_BYTES, Limits

inflater: ModuleType
try:
    inflater = import_module("isal.isal_zlib")
except ImportError:  # the Glue runtime may not have it
    inflater = zlib

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_FLAGS_POSITION = 3
_GZIP_RESERVED_FLAGS = 0xE0
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_STORED_BLOCK_BYTES = 1 << 18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UnreadableObjectError(Exception):
    """A raw object cannot be decompressed completely; `reason` is one of contract.UNREADABLE_REASONS."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line beyond the limit, of which only the head was kept."""

    head: bytes
    """The first LONG_LINE_HEAD_BYTES after leading white space, without trailing white space; empty if blank."""
    length: int
    """Bytes of the whole line without its newline."""


class LineReader:
    """Decompresses one stored object into chunks of complete lines, and counts its bytes.

    Args:
        stored: The stored (compressed) bytes.
        chunk_bytes: Approximate number of decompressed bytes held at a time.
        limits: The limits of a line and of the object.
    """

    def __init__(self, stored: BinaryIO, chunk_bytes: int, limits: Limits) -> None:
        self.inflated_bytes = 0
        """Decompressed bytes so far."""
        self.members = array("Q")
        """Start and end in the stored bytes of each stretch of members without padding between them, one after the
        other."""
        self._stored = stored
        self._chunk_bytes = chunk_bytes
        self._max_line_bytes = limits.max_line_bytes
        self._max_object_bytes = limits.max_object_bytes

    def read(self) -> Iterator[bytes | LongLine]:
        """Yield the lines in order: chunks of complete lines, and each line beyond the limit separately.

        A chunk has at least one line and about `chunk_bytes`; only the last one may end without a newline. A UTF-8 byte
        order mark at the start of the object is skipped.

        Raises:
            UnreadableObjectError: at the fault, after the lines before it, which the caller must discard.
        """
        blocks: list[bytes] = []
        gathered = 0
        wanted = self._chunk_bytes
        at_start = True
        long_line: _LongLineSoFar | None = None
        for block in self._blocks():
            if long_line is not None:
                end = block.find(b"\n")
                long_line.add(block if end < 0 else block[:end])
                if end < 0:
                    continue
                yield long_line.finish()
                long_line = None
                blocks, gathered, wanted = [block[end + 1 :]], len(block) - end - 1, self._chunk_bytes
            else:
                blocks.append(block)
                gathered += len(block)
            if gathered < wanted:
                continue
            lines = b"".join(blocks)
            if at_start:
                if len(lines) < len(_BYTE_ORDER_MARK):
                    continue
                lines = lines.removeprefix(_BYTE_ORDER_MARK)
                at_start = False
            end = lines.rfind(b"\n") + 1
            if end:
                yield from self._without_long_lines(lines[:end])
                lines = lines[end:]
            if len(lines) > self._max_line_bytes:
                long_line = _LongLineSoFar()
                long_line.add(lines)
                lines = b""
            blocks, gathered = [lines], len(lines)
            # Double the size before the next search for a newline: a line of many chunks is not searched repeatedly.
            wanted = max(self._chunk_bytes, min(2 * gathered, self._max_line_bytes + 1))
        if long_line is not None:
            yield long_line.finish()
            return
        lines = b"".join(blocks)
        if at_start:
            lines = lines.removeprefix(_BYTE_ORDER_MARK)
        if lines:
            yield from self._without_long_lines(lines)

    def _blocks(self) -> Iterator[bytes]:
        for block in _inflate(self._stored, self._chunk_bytes, self.members):
            self.inflated_bytes += len(block)
            if self.inflated_bytes > self._max_object_bytes:
                raise UnreadableObjectError("too_large")
            yield block

    def _without_long_lines(self, lines: bytes) -> Iterator[bytes | LongLine]:
        """Yield lines as one piece, but lines beyond the limit separately.

        Searches for a newline backwards from every limit, so a chunk of normal lines costs only a few steps.
        """
        start = position = 0
        while len(lines) - position > self._max_line_bytes:
            newline = lines.rfind(b"\n", position, position + self._max_line_bytes + 1)
            if newline >= 0:
                position = newline + 1
                continue
            if position > start:
                yield lines[start:position]
            end = lines.find(b"\n", position)
            long_line = _LongLineSoFar()
            long_line.add(lines[position:] if end < 0 else lines[position:end])
            yield long_line.finish()
            start = position = len(lines) if end < 0 else end + 1
        if start < len(lines):
            yield lines[start:]


class _LongLineSoFar:
    def __init__(self) -> None:
        self._head = b""
        self._length = 0

    def add(self, part: bytes) -> None:
        self._length += len(part)
        if len(self._head) < LONG_LINE_HEAD_BYTES:
            text = self._head + (part if self._head else part.lstrip())
            self._head = text[:LONG_LINE_HEAD_BYTES]

    def finish(self) -> LongLine:
        return LongLine(self._head.rstrip(), self._length)


def _inflate(stored: BinaryIO, block_bytes: int, members: array[int]) -> Iterator[bytes]:
    """Yield the content of all members in blocks of at most `block_bytes`, and note where they begin and end.

    Zero bytes between and after members are padding, as in Python's gzip module. An object that ends inside a member,
    or after its first byte, is truncated; anything else that is not a member is corrupt.
    """
    data = stored.read(_STORED_BLOCK_BYTES)
    if not data:
        raise UnreadableObjectError("zero_bytes")
    taken = len(data)
    first_member = True
    while True:
        while len(data) <= _GZIP_FLAGS_POSITION and (more := stored.read(_STORED_BLOCK_BYTES)):
            taken += len(more)
            data = (data + more) if first_member else (data + more).lstrip(b"\0")
        if not data:
            return
        if not data.startswith(GZIP_MAGIC):
            if first_member:
                raise UnreadableObjectError("not_gzip")
            raise UnreadableObjectError("truncated_gzip" if data == GZIP_MAGIC[:1] else "corrupt_gzip")
        if len(data) > _GZIP_FLAGS_POSITION and data[_GZIP_FLAGS_POSITION] & _GZIP_RESERVED_FLAGS:
            raise UnreadableObjectError("corrupt_gzip")  # zlib refuses them too, isal does not check
        if members and members[-1] == taken - len(data):
            members.pop()
        else:
            members.append(taken - len(data))
        member = inflater.decompressobj(wbits=_GZIP_FORMAT)
        while not member.eof:
            if not data:
                data = stored.read(_STORED_BLOCK_BYTES)
                taken += len(data)
            at_end = not data
            try:
                block = member.decompress(data, block_bytes)
            except (zlib.error, inflater.error) as error:
                raise UnreadableObjectError("corrupt_gzip") from error
            if block:
                yield block
            elif at_end and not member.eof:
                raise UnreadableObjectError("truncated_gzip")
            data = member.unused_data if member.eof else member.unconsumed_tail
        members.append(taken - len(data))
        data = data.lstrip(b"\0")
        first_member = False
