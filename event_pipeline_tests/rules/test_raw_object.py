"""Reading stored objects: whole lines of intact gzip members, or the reason why not, with isal and with zlib."""

from __future__ import annotations

import gzip
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.rules import raw_object
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.raw_object import LineReader, LongLine, UnreadableObjectError

LINES = b"".join(b'{"line": %d, "text": "%s"}\n' % (number, b"x" * (number % 90)) for number in range(3_000))
CHUNK_SIZES = (1, 7, 1_000, 1 << 20)
MUCH_PADDING = bytes(600_000)


@pytest.fixture(params=["isal", "zlib"], autouse=True)
def _inflater(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zlib":
        monkeypatch.setattr(raw_object, "inflater", zlib)
    else:
        assert raw_object.inflater.__name__ == "isal.isal_zlib"


def member(content: bytes, header: bytes | None = None) -> bytes:
    stored = gzip.compress(content, 6, mtime=0)
    return stored if header is None else header + stored[10:]


def chunks(stored: bytes, chunk_bytes: int = 1 << 20) -> list[bytes]:
    found = list(LineReader(io.BytesIO(stored), chunk_bytes, Limits()).read())
    assert not any(isinstance(each, LongLine) for each in found)
    return found  # type: ignore[return-value]


def unreadable(stored: bytes, chunk_bytes: int = 1 << 20) -> str | None:
    try:
        chunks(stored, chunk_bytes)
    except UnreadableObjectError as error:
        return error.reason
    return None


class DribblingStream(io.RawIOBase):
    """Hands over a byte at a time, as a network stream may."""

    def __init__(self, stored: bytes) -> None:
        self._stored = io.BytesIO(stored)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._stored.read(min(size, 1))


@pytest.mark.parametrize("chunk_bytes", CHUNK_SIZES)
def test_chunks_are_whole_lines_that_join_to_the_content(chunk_bytes: int) -> None:
    content = LINES[: 20_000 if chunk_bytes < 1_000 else None] + b"no newline at the end"
    found = chunks(member(content), chunk_bytes)
    assert b"".join(found) == content
    assert all(chunk.endswith(b"\n") for chunk in found[:-1])
    assert all(len(chunk) <= 2 * chunk_bytes + 500 for chunk in found)
    assert len(found) >= len(content) // (2 * chunk_bytes + 500)


def test_a_line_longer_than_many_chunks_comes_whole() -> None:
    content = b"a\n" + b"x" * 300_000 + b"\nb\n"
    found = chunks(member(content), 100)
    assert b"".join(found) == content
    assert [chunk for chunk in found if b"x" in chunk][0].count(b"x") == 300_000


@given(st.lists(st.sampled_from([b"", b"\n", b"a", b"abc\n", b"\r\n", b"x" * 50]), max_size=12), st.integers(1, 60))
def test_members_may_cut_lines_anywhere(parts: list[bytes], chunk_bytes: int) -> None:
    found = chunks(b"".join(map(member, parts)) or member(b""), chunk_bytes)
    assert b"".join(found) == b"".join(parts)
    assert all(chunk.endswith(b"\n") for chunk in found[:-1])


@pytest.mark.parametrize("chunk_bytes", CHUNK_SIZES)
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfa\nb", b"a\nb"),
        (b"\xef\xbb\xbf", b""),
        (b"\xef\xbb\xbf\n", b"\n"),
        (b"\xef\xbb", b"\xef\xbb"),
        (b"\xef\xbb\xbf\xef\xbb\xbfa", b"\xef\xbb\xbfa"),
        (b"\n\xef\xbb\xbfa", b"\n\xef\xbb\xbfa"),
        (b"a\n\xef\xbb\xbfb", b"a\n\xef\xbb\xbfb"),
    ],
)
def test_only_a_byte_order_mark_at_the_start_is_left_out(content: bytes, expected: bytes, chunk_bytes: int) -> None:
    assert b"".join(chunks(member(content), chunk_bytes)) == expected


def test_a_stream_may_hand_over_single_bytes() -> None:
    stored = member(LINES[:3_000]) + b"\0\0" + member(LINES[3_000:6_000]) + b"\0"
    reader = LineReader(DribblingStream(stored), 64, Limits())  # type: ignore[arg-type]
    assert b"".join(reader.read()) == LINES[:6_000]  # type: ignore[arg-type]
    assert reader.inflated_bytes == 6_000


INTACT = member(LINES)
NAMED = b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03events.jsonl\x00"
CHECKED = b"\x1f\x8b\x08\x02\x00\x00\x00\x00\x00\x03"


@pytest.mark.parametrize("chunk_bytes", [3, 1 << 20])
@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        pytest.param(b"", "zero_bytes", id="zero bytes"),
        pytest.param(LINES, "not_gzip", id="plain text"),
        pytest.param(b"\0\0\0", "not_gzip", id="zero bytes only"),
        pytest.param(b"\0" + member(b"a"), "not_gzip", id="padding in front"),
        pytest.param(b"\x1f", "not_gzip", id="half the magic bytes"),
        pytest.param(b"\x1f\x8c" + INTACT[2:], "not_gzip", id="a wrong magic byte"),
        pytest.param(b"\x1f\x8b", "truncated_gzip", id="the magic bytes alone"),
        pytest.param(b"\x1f\x8b\x08\x00", "truncated_gzip", id="a header cut short"),
        pytest.param(b"\x1f\x8b\x07" + INTACT[3:], "corrupt_gzip", id="another compression method"),
        pytest.param(b"\x1f\x8b\x08\x20" + INTACT[4:], "corrupt_gzip", id="a reserved flag"),
        pytest.param(member(b"a", NAMED), None, id="a header with a name"),
        pytest.param(NAMED[:-1], "truncated_gzip", id="a name without its end"),
        pytest.param(
            member(b"a", CHECKED + (zlib.crc32(CHECKED) & 0xFFFF).to_bytes(2, "little")), None, id="a header checksum"
        ),
        pytest.param(member(b"a", CHECKED + b"\0\0"), "corrupt_gzip", id="a wrong header checksum"),
        pytest.param(INTACT[:-8] + b"\0\0\0\0" + INTACT[-4:], "corrupt_gzip", id="a wrong checksum"),
        pytest.param(INTACT[:-4] + b"\0\0\0\0", "corrupt_gzip", id="a wrong length"),
        pytest.param(member(b"")[:-4] + b"\1\0\0\0", "corrupt_gzip", id="a wrong length of nothing"),
        pytest.param(INTACT + INTACT[:-8] + b"\0\0\0\0" + INTACT[-4:], "corrupt_gzip", id="a wrong checksum later"),
        pytest.param(INTACT + INTACT[:-4] + b"\0\0\0\0", "corrupt_gzip", id="a wrong length later"),
        pytest.param(INTACT[:5_000] + INTACT[5_001:], "corrupt_gzip", id="a byte lost"),
        pytest.param(member(b""), None, id="nothing compressed"),
        pytest.param(INTACT + b"\0", None, id="a zero byte behind"),
        pytest.param(INTACT + MUCH_PADDING, None, id="much padding behind"),
        pytest.param(INTACT + MUCH_PADDING + INTACT, None, id="padding between members"),
        pytest.param(INTACT + b"x", "corrupt_gzip", id="a letter behind"),
        pytest.param(INTACT + b"\n", "corrupt_gzip", id="a newline behind"),
        pytest.param(INTACT + MUCH_PADDING + b"x", "corrupt_gzip", id="a letter behind padding"),
        pytest.param(INTACT + b"\x1f", "truncated_gzip", id="half the magic bytes behind"),
        pytest.param(INTACT + b"\x1f\x8b", "truncated_gzip", id="the magic bytes behind"),
    ],
)
def test_an_object_is_readable_or_has_its_reason(stored: bytes, reason: str | None, chunk_bytes: int) -> None:
    assert unreadable(stored, chunk_bytes) == reason


def test_an_object_cut_anywhere_is_truncated() -> None:
    first, second = member(LINES[:400]), member(LINES[400:800])
    stored = first + second
    # Behind the first member nothing shows that another was to follow.
    cuts = [cut for cut in range(2, len(stored)) if cut != len(first)]
    for chunk_bytes in (1, 64, 1 << 20):
        assert {unreadable(stored[:cut], chunk_bytes) for cut in cuts} == {"truncated_gzip"}
        assert b"".join(chunks(stored[: len(first)], chunk_bytes)) == LINES[:400]


def test_no_flipped_bit_passes_for_other_content() -> None:
    content = LINES[:600]
    stored = member(content)
    for bit in range(8 * len(stored)):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        if unreadable(bytes(flipped)) is None:
            assert b"".join(chunks(bytes(flipped))) == content
