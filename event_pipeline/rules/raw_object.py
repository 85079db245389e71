"""Reads a stored raw object as chunks of whole lines, every gzip member's checksum and length checked.

Standard library, and isal where it is installed: it inflates four times as fast and finds the same faults.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import BinaryIO

inflater: ModuleType
try:
    inflater = import_module("isal.isal_zlib")
except ImportError:  # the Glue runtime may come without it
    inflater = zlib

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_FLAGS_POSITION = 3
_GZIP_RESERVED_FLAGS = 0xE0
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_STORED_BLOCK_BYTES = 1 << 18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UnreadableObjectError(Exception):
    """A raw object cannot be inflated whole; `reason` is one of contract.UNREADABLE_REASONS."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def read_line_chunks(stored: BinaryIO, chunk_bytes: int) -> Iterator[bytes]:
    """Inflate a stored object and yield its bytes, cut after newlines.

    A chunk holds at least one whole line and about `chunk_bytes` (a longer line comes whole, in one chunk); only
    the last chunk may end without a newline. A UTF-8 byte order mark at the start of the object is left out.

    Raises:
        UnreadableObjectError: at the fault, so after chunks that came before it: the caller drops those.
    """
    blocks: list[bytes] = []
    gathered = 0
    wanted = chunk_bytes
    at_start = True
    for block in _inflate(stored, chunk_bytes):
        blocks.append(block)
        gathered += len(block)
        if gathered < wanted:
            continue
        lines = b"".join(blocks)
        end = lines.rfind(b"\n") + 1
        if end:
            yield lines[:end].removeprefix(_BYTE_ORDER_MARK) if at_start else lines[:end]
            at_start = False
        blocks = [lines[end:]]
        gathered = len(blocks[0])
        # Twice as much before the next look for a newline: a line of many chunks is not searched again and again.
        wanted = max(chunk_bytes, 2 * gathered)
    lines = b"".join(blocks)
    if at_start:
        lines = lines.removeprefix(_BYTE_ORDER_MARK)
    if lines:
        yield lines


def _inflate(stored: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    """Yield the content of all members in blocks of at most `block_bytes`.

    Zero bytes between and after members are padding, as for Python's gzip module. An object that ends inside a
    member, or after the first byte of one, is truncated; anything else that is no member is corrupt.
    """
    data = stored.read(_STORED_BLOCK_BYTES)
    if not data:
        raise UnreadableObjectError("zero_bytes")
    first_member = True
    while True:
        while len(data) <= _GZIP_FLAGS_POSITION and (more := stored.read(_STORED_BLOCK_BYTES)):
            data = (data + more) if first_member else (data + more).lstrip(b"\0")
        if not data:
            return
        if not data.startswith(_GZIP_MAGIC):
            if first_member:
                raise UnreadableObjectError("not_gzip")
            raise UnreadableObjectError("truncated_gzip" if data == _GZIP_MAGIC[:1] else "corrupt_gzip")
        if len(data) > _GZIP_FLAGS_POSITION and data[_GZIP_FLAGS_POSITION] & _GZIP_RESERVED_FLAGS:
            raise UnreadableObjectError("corrupt_gzip")  # zlib refuses them too, isal does not look
        member = inflater.decompressobj(wbits=_GZIP_FORMAT)
        while not member.eof:
            data = data or stored.read(_STORED_BLOCK_BYTES)
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
        data = data.lstrip(b"\0")
        first_member = False
