"""Errors of the operating system and of SQLite: each says its cause and what to do, and passing ones are retried."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from pathlib import Path

import pytest

from event_pipeline.engines.host.layout import storage_faults
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.local.catalog import SqliteCatalog
from event_pipeline.errors import StorageError, TransientError
from event_pipeline_tests.pipeline import HOUR, build, event, rows, write_object


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (errno.ENOSPC, StorageError, "the disk is full: free some space"),
        (errno.EDQUOT, StorageError, "quota"),
        (errno.EROFS, StorageError, "read-only: mount it writable"),
        (errno.EACCES, StorageError, "check owner and mode"),
        (errno.EPERM, StorageError, "check owner and mode"),
        (errno.EMFILE, StorageError, "ulimit -n"),
        (errno.ENFILE, TransientError, "fs.file-max"),
        (errno.EIO, TransientError, "the disk failed"),
        (errno.ESTALE, TransientError, "mounted"),
        (errno.ENAMETOOLONG, StorageError, "too long"),
        (errno.ELOOP, StorageError, "links"),
        (errno.ENOTDIR, StorageError, "a file exists where a folder is needed"),
        (errno.EISDIR, StorageError, "a folder exists where a file is needed"),
    ],
)
def test_an_error_of_the_operating_system_says_cause_and_remedy(
    tmp_path: Path, code: int, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says) as raised, storage_faults(tmp_path):
        raise OSError(code, os.strerror(code), str(tmp_path / "file"))
    assert str(tmp_path / "file") in str(raised.value)
    assert os.strerror(code) in str(raised.value)


def test_a_path_too_long_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="too long for this file system"), storage_faults(tmp_path):
        (tmp_path / ("x" * 300)).read_bytes()


def test_too_many_open_files_are_named_where_the_catalog_cannot_be_opened(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(StorageError, match="ulimit -n"):
            SqliteCatalog(root / "catalog.sqlite").entries("silver.events")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(rows(engine, "FROM silver.events")) == 1


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("SQLITE_FULL", StorageError, "the disk is full"),
        ("SQLITE_IOERR_WRITE", TransientError, "the disk is full or failed"),
        ("SQLITE_BUSY", TransientError, "busy"),
        ("SQLITE_READONLY", StorageError, "is not writable"),
        ("SQLITE_CORRUPT", StorageError, "event-pipeline repair"),
    ],
)
def test_an_error_of_sqlite_says_cause_and_remedy(tmp_path: Path, name: str, kind: type[Exception], says: str) -> None:
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorname = name
    found = SqliteCatalog(tmp_path / "catalog.sqlite")._explain(error)
    assert type(found) is kind
    assert says in str(found)


@pytest.mark.parametrize("beside", ["-wal", "-shm"])
def test_a_catalog_that_cannot_be_opened_names_what_is_in_its_way(engine: LocalEngine, root: Path, beside: str) -> None:
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    catalog = SqliteCatalog(root / "catalog.sqlite")
    in_the_way = Path(f"{catalog.path}-wal")
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    with pytest.raises(StorageError, match="a folder exists where a file is needed") as raised:
        catalog.entries("silver.events")
    assert str(in_the_way) in str(raised.value)
    in_the_way.rmdir()
    assert len(catalog.entries("silver.events")) == 1


@pytest.mark.parametrize("name", ["SQLITE_CANTOPEN", "SQLITE_READONLY"])
def test_a_catalog_that_could_not_be_opened_for_a_moment_is_a_passing_fault(
    root: Path, engine: LocalEngine, name: str
) -> None:
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorname = name
    found = SqliteCatalog(root / "catalog.sqlite")._explain(error)
    assert type(found) is TransientError
    assert "catalog.sqlite: the disk failed for a moment" in str(found)
