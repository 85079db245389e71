"""DuckDB's databases that the sessions of a process use one after the other."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from event_pipeline.engines.host.database import DUCKDB_SCRATCH, connect, explained, parquet, reconnect
from event_pipeline.engines.host.lake_files import LakeFiles
from event_pipeline.errors import LimitError, QueryError, StorageError

THREADS, MEMORY_MB = 1, 64
FILE = "runs/numbers.parquet"
SPILLS = "SELECT count(*) FROM (SELECT range AS number, uuid() AS text FROM range(3000000) ORDER BY text)"


def written(lake: Path, number: int) -> LakeFiles:
    """A lake whose only file holds this number."""
    path = lake / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"number": [number]}), path)
    return LakeFiles(lake)


def answer(scratch: Path, files: LakeFiles, sql: str) -> list[tuple[object, ...]]:
    """The rows of a statement in a session of its own."""
    with reconnect(scratch, THREADS, MEMORY_MB, files) as connection:
        return connection.execute(sql).fetchall()


def test_a_session_sees_nothing_of_the_one_before(tmp_path: Path) -> None:
    scratch, first, second = tmp_path / "scratch", written(tmp_path / "a", 1), written(tmp_path / "b", 2)
    with reconnect(scratch, THREADS, MEMORY_MB, first) as connection:
        connection.execute(f"CREATE TEMPORARY VIEW numbers AS FROM {parquet([FILE])}")
        connection.execute("SET max_temp_directory_size = '1MB'")
        assert connection.execute("FROM numbers").fetchall() == [(1,)]
    with pytest.raises(QueryError, match="numbers"):
        answer(scratch, second, "FROM numbers")
    for files, number in ((first, 1), (second, 2)):
        assert answer(scratch, files, f"FROM {parquet([FILE])}") == [(number,)]
    # With the limit of the first session, this would fail.
    assert answer(scratch, second, SPILLS) == [(3_000_000,)]
    assert not (scratch / DUCKDB_SCRATCH).exists()


def test_a_session_reads_a_file_that_was_damaged_after_another_had_read_it(tmp_path: Path) -> None:
    files = written(tmp_path / "lake", 1)
    assert answer(tmp_path, files, f"FROM {parquet([FILE])}") == [(1,)]
    path = tmp_path / "lake" / FILE
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(StorageError, match="numbers.parquet"):
        answer(tmp_path, files, f"FROM {parquet([FILE])}")


def test_a_session_after_one_that_failed_for_lack_of_space_works(tmp_path: Path) -> None:
    files = written(tmp_path / "lake", 1)
    with pytest.raises(LimitError, match="DuckDB needs more memory or spill space"):
        answer(tmp_path, files, f"SET max_temp_directory_size = '1MB'; {SPILLS}")
    assert answer(tmp_path, files, f"FROM {parquet([FILE])}") == [(1,)]


def test_sessions_side_by_side_read_their_own_lakes(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", 1), written(tmp_path / "b", 2)
    with (
        reconnect(tmp_path, THREADS, MEMORY_MB, first) as one,
        reconnect(tmp_path, THREADS, MEMORY_MB, second) as other,
    ):
        assert one.execute(f"FROM {parquet([FILE])}").fetchall() == [(1,)]
        assert other.execute(f"FROM {parquet([FILE])}").fetchall() == [(2,)]
    assert answer(tmp_path, second, f"FROM {parquet([FILE])}") == [(2,)]


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("No space left on device", "the disk is full: free some space and run again"),
        ("Disk quota exceeded", "the disk is full: free some space and run again"),
        ("Input/output error", "the disk failed to read or write: see the system's log for the device"),
        ("Too many open files", "this process has too many files open: raise the limit with `ulimit -n`"),
    ],
)
def test_a_fault_of_the_machine_that_duckdb_meets_has_a_remedy(said: str, remedy: str) -> None:
    error = duckdb.IOException(f'Async write failed for range [offset=0, size=244]: Could not write file "a": {said}')
    fault = explained(error, doing="gold.user_activity, section fold")
    assert isinstance(fault, StorageError)
    assert str(fault).startswith(f"gold.user_activity, section fold: {remedy}, nothing was published (")
    assert said in str(fault)


def test_a_lock_of_a_spill_folder_that_cannot_be_removed_fails_no_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))

    monkeypatch.setattr(Path, "unlink", fails)
    with connect(tmp_path, 1, 256) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
