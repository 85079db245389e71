"""What counts as a raw object on disk: regular files under hours that there can be, and nothing that can hang."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import HOUR, build, event, rows, write_object

KEY = HOUR.raw_key(HOUR.start + timedelta(minutes=30))
"""Of what is no regular file, beside an object that is one."""


def link_to_a_file(path: Path) -> None:
    target = path.parents[8] / "elsewhere.gz"
    target.write_bytes(b"elsewhere")
    path.symlink_to(target)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path) -> None:
    # The address of a socket may be 107 bytes long.
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


LINK = "a link: only regular files and folders under raw/ are read"
SPECIAL: dict[Callable[[Path], None], str] = {
    link_to_a_file: LINK,
    link_to_a_device: LINK,
    link_to_itself: LINK,
    pipe: "a pipe, no regular file",
    listening_socket: "a socket, no regular file",
}


@pytest.fixture
def engine(settings: Settings) -> LocalEngine:
    return LocalEngine(settings)


@pytest.mark.parametrize("make", SPECIAL, ids=lambda make: make.__name__)
def test_a_special_file_is_unmatched_and_stops_nothing(
    make: Callable[[Path], None], engine: LocalEngine, root: Path
) -> None:
    write_object(root, HOUR, 0, [event()])
    path = root / "raw" / KEY
    path.parent.mkdir(parents=True)
    make(path)
    assert [(each.key, each.reason) for each in engine.unmatched_raw_keys()] == [(KEY, SPECIAL[make])]
    assert engine.list_raw(HOUR).unmatched == tuple(engine.unmatched_raw_keys())
    build(engine, [HOUR])
    assert rows(engine, "SELECT count(*) AS n FROM silver.events") == [{"n": 1}]
    # What became a pipe between listing and opening must not hang either.
    with pytest.raises(StorageError, match=path.name):
        engine.open_raw(KEY)


@pytest.mark.parametrize("level", ["events", "year=2025", "month=12", "day=07", "hour=22", "minute=30"])
def test_a_link_in_the_place_of_a_folder_is_unmatched_wherever_it_is(
    level: str, engine: LocalEngine, root: Path, tmp_path: Path
) -> None:
    write_object(root, HOUR, 30, [event()])
    (folder,) = [each for each in (root / "raw").rglob("*") if each.name == level]
    moved = tmp_path / "moved"
    folder.rename(moved)
    folder.symlink_to(moved)
    key = folder.relative_to(root / "raw").as_posix()
    assert [(each.key, each.reason) for each in engine.unmatched_raw_keys()] == [(key, LINK)]
    assert engine.list_raw(HOUR).objects == ()
    assert engine.list_raw_hours() == {}


def test_the_raw_folder_itself_may_be_a_link(engine: LocalEngine, root: Path, tmp_path: Path) -> None:
    key = write_object(root, HOUR, 0, [event()])
    (root / "raw").rename(tmp_path / "mounted")
    (root / "raw").symlink_to(tmp_path / "mounted")
    assert [each.key for each in engine.list_raw(HOUR).objects] == [key]
    assert engine.unmatched_raw_keys() == []


def test_a_raw_folder_that_is_not_mounted_is_no_empty_one(engine: LocalEngine, root: Path, tmp_path: Path) -> None:
    root.mkdir()
    (root / "raw").symlink_to(tmp_path / "not there")
    for ask in (engine.list_raw_hours, engine.unmatched_raw_keys, lambda: engine.list_raw(HOUR)):
        with pytest.raises(StorageError, match="is it mounted"):
            ask()


def test_a_folder_that_cannot_be_listed_and_a_file_that_may_not_be_read_are_unmatched(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as root, to whom the modes of files mean nothing: the system's answers are given here.
    readable = write_object(root, HOUR, 0, [event()])
    closed = write_object(root, HOUR, 5, [event()])
    locked = write_object(root, HOUR, 10, [event()])
    scan, access = os.scandir, os.access

    def scandir(path: str | Path) -> object:
        if Path(path).name == "minute=10":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        patched.setattr(os, "access", lambda path, mode: not str(path).endswith(closed) and access(path, mode))
        listing = engine.list_raw(HOUR)
    assert [each.key for each in listing.objects] == [readable]
    assert [(each.key, each.reason) for each in listing.unmatched] == [
        (closed, "permission denied: check its owner and mode"),
        (f"{Path(locked).parent.as_posix()}/", "the folder cannot be listed: Permission denied"),
    ]


TOO_EARLY = "before the first partition 2025-11-01T00: set EVENT_PIPELINE_FIRST_PARTITION to an earlier hour"


@pytest.mark.parametrize(
    ("hour", "reason"),
    [
        (
            "0001-01-01T00",
            TOO_EARLY,
        ),
        (
            "1970-01-01T00",
            TOO_EARLY,
        ),
        (
            "2025-10-31T23",
            TOO_EARLY,
        ),
        ("2025-12-10T01", "more than 1 day ahead of now"),
        ("2300-06-01T12", "more than 1 day ahead of now"),
        ("9999-12-31T23", "more than 1 day ahead of now"),
    ],
)
def test_objects_of_hours_that_cannot_be_are_unmatched(hour: str, reason: str, settings: Settings, root: Path) -> None:
    engine = LocalEngine(settings, clock=lambda: datetime(2025, 12, 9, 0, 59, tzinfo=UTC))
    odd = Hour.parse(hour)
    path = root / "raw" / f"{odd.raw_prefix}minute=00/events-20251207-220000.jsonl.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    good = write_object(root, HOUR, 0, [event()])
    ahead = write_object(root, Hour.parse("2025-12-10T00"), 0, [event()])
    assert [(each.key, each.reason) for each in engine.unmatched_raw_keys()] == [
        (path.relative_to(root / "raw").as_posix(), reason)
    ]
    listed = engine.list_raw_hours()
    assert [each.key for listing in listed.values() for each in listing.objects] == [good, ahead]
    assert engine.list_raw(odd).objects == ()


def test_an_object_that_was_replaced_since_it_was_listed_has_no_digest_and_is_not_rewritten(
    engine: LocalEngine, root: Path
) -> None:
    path = root / "raw" / write_object(root, HOUR, 0, [event()])
    (listed,) = engine.list_raw(HOUR).objects
    assert list(engine.raw_digests(HOUR, [listed])) == [listed.key]
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(0, int(listed.etag, 16) + 1))
    newer = path.read_bytes()
    assert engine._raw_files.digest(listed) is None
    assert not engine._raw_files.rewrite(listed, b"older")
    assert path.read_bytes() == newer
    (listed,) = engine.list_raw(HOUR).objects
    assert engine._raw_files.rewrite(listed, b"blank")
    assert path.read_bytes() == b"blank"
