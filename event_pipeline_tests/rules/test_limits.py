"""The limits: of a line, of an object and of the judge's own memory, whatever an object holds."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from pathlib import Path

import pytest

from event_pipeline.engines.local import LocalEngine
from event_pipeline.inspection.verification import verify
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.validation import ValidatedObject, validate_object
from event_pipeline.settings import load_settings
from event_pipeline_tests import oracle
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, rows, write_object

GOOD = (
    b'{"timestamp": "2025-12-07T22:00:00Z", "user_id": "u_1", "session_id": "s_1", "event_type": "search",'
    b' "search_query": "red"}'
)
LINE = 1_000
CHUNK_SIZES = (1, 37, 1_000, 1 << 20)


def validated(content: bytes, limits: Limits, chunk_bytes: int = 1 << 20) -> ValidatedObject:
    stored = gzip.compress(content, 1, mtime=0)
    return validate_object(
        io.BytesIO(stored), key="k", etag="e", size=len(stored), hour=HOUR, limits=limits, chunk_bytes=chunk_bytes
    )


def padded(length: int) -> bytes:
    """A valid record of exactly so many bytes."""
    filled = GOOD[:-1] + b', "x": "' + b"y" * (length - len(GOOD) - len(b', "x": ""')) + b'"}'
    assert len(filled) == length
    return filled


CONTENTS = {
    "at the limit": padded(LINE) + b"\n" + GOOD,
    "beyond the limit": padded(LINE + 1) + b"\n" + GOOD,
    "the last line, beyond the limit": GOOD + b"\n" + padded(LINE + 1),
    "a carriage return counts": padded(LINE) + b"\r\n" + GOOD,
    "a byte order mark does not": b"\xef\xbb\xbf" + padded(LINE) + b"\n" + GOOD,
    "a byte order mark before a line beyond it": b"\xef\xbb\xbf" + padded(LINE + 1) + b"\n" + GOOD,
    "blank lines beyond the limit are no records": b" " * 5_000 + b"\n" + GOOD + b"\n" + b"\t" * 5_000,
    "white space in front is not kept": b" " * 5_000 + b"{" + b"z" * 5_000 + b"\n" + GOOD,
    "white space behind": GOOD + b" " * 5_000 + b"\n" + GOOD,
    "white space at the end of the head": b"a" * 900 + b" " * 5_000 + b"b\n" + GOOD,
    "a character cut at the head's end": b"a" * 999 + "é".encode() * 999 + b"\n" + GOOD,
    "many in a row": b"\n".join([padded(LINE + 500), GOOD] * 20 + [padded(LINE + 1)] * 3),
    "one line over many chunks": b"x" * 300_000,
}


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in CONTENTS.items()])
@pytest.mark.parametrize("chunk_bytes", CHUNK_SIZES)
def test_lines_beyond_the_limit_are_quarantined_by_their_head_and_all_others_judged(
    content: bytes, chunk_bytes: int
) -> None:
    result = validated(content, Limits(max_line_bytes=LINE), chunk_bytes)
    expected = list(oracle.lines_of(content, oracle.Limits(line_bytes=LINE)))
    assert result.account.records == len(expected)
    assert result.account.unaccounted == 0
    found = {row["line_number"]: (row["reason"], row["record"]) for row in result.quarantine.to_pylist()}
    assert found == {
        number: ("too_long", record.decode("utf-8", "replace")) for number, record, too_long in expected if too_long
    }
    assert result.events["line_number"].to_pylist() == [number for number, _, too_long in expected if not too_long]


def test_the_first_thousand_bytes_of_a_long_line_are_kept() -> None:
    (row,) = validated(b"\n\n" + b"x" * 5_000, Limits(max_line_bytes=1_001)).quarantine.to_pylist()
    assert (row["reason"], row["line_number"], row["record"]) == ("too_long", 3, "x" * 1_000)


@pytest.mark.parametrize("chunk_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_object_bytes=len(GOOD) * 10 + 9), None),
        (Limits(max_object_bytes=len(GOOD) * 10 + 8), "too_large"),
        (Limits(max_object_records=10), None),
        (Limits(max_object_records=9), "too_large"),
    ],
)
def test_an_object_beyond_the_limits_is_set_aside_whole(limits: Limits, reason: str | None, chunk_bytes: int) -> None:
    result = validated(b"\n".join([GOOD] * 10), limits, chunk_bytes)
    assert result.account.unreadable == reason
    assert (result.account.records, result.events.num_rows) == ((0, 0) if reason else (10, 10))


def test_blank_lines_are_no_records_of_the_limit() -> None:
    result = validated(b"\n" * 500 + GOOD, Limits(max_object_records=1))
    assert (result.account.records, result.account.unreadable) == (1, None)


def test_every_limit_is_part_of_the_rules_version() -> None:
    versions = {
        Limits(**{name: value}).rules_version  # type: ignore[arg-type]
        for name, value in (
            ("max_line_bytes", 1 << 20),
            ("max_line_bytes", 2_000),
            ("max_object_bytes", 2_000),
            ("max_object_records", 2_000),
        )
    }
    assert len(versions) == 4


def test_an_hour_built_under_limits_is_what_oracle_and_recount_say(root: Path) -> None:
    settings = load_settings(root=root, workers=1, max_line_bytes=LINE, max_object_bytes=40_000, max_object_records=100)
    engine = LocalEngine(settings)
    write_object(root, HOUR, 0, [event(), padded(LINE + 1), padded(LINE), b" " * 2_000, event(second=2)])
    write_object(root, HOUR, 5, [event(second=second) for second in range(101)])
    write_object(root, HOUR, 10, [b"y" * 50_001])
    write_object(root, HOUR, 15, [b"\xef\xbb\xbf" + padded(LINE), b"z" * 30_000])
    build(engine, [HOUR])

    limits = oracle.Limits(line_bytes=LINE, object_bytes=40_000, object_records=100)
    assert_agrees_with_oracle(engine, root, limits)
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    assert [each.unreadable for each in commit.account.objects] == [None, "too_large", "too_large", None]
    assert rows(engine, "SELECT reason, line_number, length(record) AS kept FROM silver.quarantine ORDER BY kept") == [
        {"reason": "too_long", "line_number": 2, "kept": 1_000},
        {"reason": "too_long", "line_number": 2, "kept": 1_000},
    ]
    verified = verify(engine, [], settings.event_time_limits, None, HOUR.plus(5).start, lambda *_: None)
    assert verified.differences == []
    # Another limit: the hour is outdated, and built again it holds other rows.
    wider = settings.model_copy(update={"max_line_bytes": 2_000})
    (rebuilt,) = build(LocalEngine(wider), [HOUR])
    assert rebuilt.reason == "rules changed"
    assert rebuilt.commit.account.quarantined == 1


# --- Memory ---------------------------------------------------------------------------------------------------

MEMORY_LIMIT_KB = 400_000

MEASURED = """
import gzip, io, re, sys
# The data frames of other tests bring numpy, which pyarrow then imports: 40 MB that the judge does without.
sys.modules["numpy"] = None
from datetime import UTC, datetime
from pathlib import Path
from event_pipeline.engines.host import pool_builder
from event_pipeline.engines.host.decoded import ObjectTask
from event_pipeline.engines.local.raw import FileSource, describe
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import Hour

def peak_kilobytes():
    # Not ru_maxrss, which begins at what the parent process had.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

folder, shape = Path(sys.argv[1]), sys.argv[2]
hour = Hour.parse("2025-12-07T22")
path = folder / "raw.gz"
GOOD = b'{"timestamp": "2025-12-07T22:00:00Z", "user_id": "u_1", "session_id": "s_1", "event_type": "search",'
with gzip.open(path, "wb", compresslevel=1) as stored:
    match shape:
        case "one endless line":
            for _ in range(1_500):
                stored.write(b"x" * (1 << 20))
        case "empty objects":
            for _ in range(10):
                stored.write(b"{}\\n" * 40_000)
        case "short bad lines":
            for _ in range(10):
                stored.write(b"x\\n" * 60_000)
        case "blank lines":
            for _ in range(100):
                stored.write(b"\\n" * 1_000_000)
        case "bad lines just below the limit":
            for _ in range(300):
                stored.write(b"{" + b"z" * 1_000_000 + b"\\n")
        case "odd field names":
            for each in range(30):
                numbers = range(each * 3_000, each * 3_000 + 3_000)
                names = b",".join(b'"%d %s":1' % (number, b"n" * 200) for number in numbers)
                stored.write(b"{" + names + b"}\\n")
        case "a record of many fields":
            for _ in range(5):
                stored.write(b"{" + b",".join(b'"%x":1' % number for number in range(95_000)) + b"}\\n")
        case "wide events":
            query = b'"search_query": "' + "\\u4e2d".encode() * 1_000 + b'"}\\n'
            for _ in range(60):
                stored.write((GOOD + query) * 1_000)
        case "many events":
            for _ in range(100):
                stored.write((GOOD + b'"search_query": "a"}\\n') * 20_000)
task = ObjectTask(
    FileSource(path, describe("key", path.stat())), hour, Limits(), folder / "rows.arrow", folder / "quarantine.arrow"
)
report = pool_builder.validate_to_scratch(task)
judged = peak_kilobytes()
with pool_builder._HourWriter(folder, "") as writer:
    writer.add(report, None)
pool_builder._write_quarantine([report], folder, "")
print(report.account.records, report.account.unaccounted, judged, peak_kilobytes())
"""


@pytest.mark.parametrize(
    ("shape", "records"),
    [
        ("one endless line", 1),
        pytest.param("empty objects", 400_000, marks=pytest.mark.long),
        pytest.param("short bad lines", 600_000, marks=pytest.mark.long),
        pytest.param("blank lines", 0, marks=pytest.mark.long),
        pytest.param("bad lines just below the limit", 300, marks=pytest.mark.long),
        ("odd field names", 30),
        pytest.param("a record of many fields", 5, marks=pytest.mark.long),
        pytest.param("wide events", 60_000, marks=pytest.mark.long),
        pytest.param("many events", 2_000_000, marks=pytest.mark.long),
    ],
)
def test_no_object_takes_more_memory_than_promised(tmp_path: Path, shape: str, records: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), shape], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.stderr == ""
    found, unaccounted, judged, written = map(int, ended.stdout.split())
    assert (found, unaccounted) == (records, 0)
    assert judged < MEMORY_LIMIT_KB
    assert written < MEMORY_LIMIT_KB
