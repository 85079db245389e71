"""Partition repair: whatever happened to the catalog, commit records bring it back, and nothing else does."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from event_pipeline.engines import durability
from event_pipeline.engines.base import LeftoverKind, PartitionChange
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import StorageError
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, rows, write_object

NEXT_HOUR = HOUR.plus(1)
ENTRIES_OF_TWO_HOURS = 2 * 3 + 2 * 5 + 5


@pytest.fixture
def _two_hours(engine: LocalEngine, root: Path) -> None:
    for hour in (HOUR, NEXT_HOUR):
        write_object(root, hour, 0, [event(hour), purchase(hour, 1)])
    build(engine, [HOUR, NEXT_HOUR])


def actions(changes: list[PartitionChange]) -> dict[str, int]:
    """Action -> how many."""
    return dict(Counter(str(change.action) for change in changes))


def change_catalog(root: Path, *statements: str) -> None:
    """Run statements on the catalog, as an accident would."""
    with closing(sqlite3.connect(root / "catalog.sqlite")) as session:
        for statement in statements:
            session.execute(statement)
        session.commit()


@pytest.mark.usefixtures("_two_hours")
@pytest.mark.parametrize(
    "accident",
    [
        lambda root: [path.unlink() for path in root.glob("catalog.sqlite*")],
        lambda root: change_catalog(root, "DROP TABLE partition"),
        lambda root: change_catalog(root, "DROP TABLE data_file", "DROP TABLE silver_day"),
        lambda root: change_catalog(root, "DELETE FROM partition"),
        lambda root: (root / "catalog.sqlite").write_bytes(b"garbage " * 1000),
        lambda root: (root / "catalog.sqlite").write_bytes(b""),
    ],
    ids=["file lost", "table lost", "tables lost", "rows lost", "garbage", "empty file"],
)
def test_repair_rebuilds_a_lost_catalog_from_the_commit_records(
    engine: LocalEngine, root: Path, accident: Callable[[Path], object]
) -> None:
    accident(root)
    assert actions(engine.repair()) == {"added": ENTRIES_OF_TWO_HOURS}
    assert actions(engine.repair()) == {"unchanged": ENTRIES_OF_TWO_HOURS}
    assert_agrees_with_oracle(engine, root)


@pytest.mark.usefixtures("_two_hours")
@pytest.mark.parametrize(
    "accident",
    [
        lambda root: [path.unlink() for path in root.glob("catalog.sqlite*")],
        lambda root: change_catalog(root, "DROP TABLE partition"),
    ],
    ids=["file lost", "table lost"],
)
def test_a_lost_catalog_is_filled_again_before_anything_reads_it(
    engine: LocalEngine, root: Path, accident: Callable[[Path], object]
) -> None:
    accident(root)
    write_object(root, NEXT_HOUR, 5, [purchase(NEXT_HOUR, 300)])
    build(engine, [NEXT_HOUR])
    assert_agrees_with_oracle(engine, root)


@pytest.mark.usefixtures("_two_hours")
def test_a_damaged_catalog_is_named_with_its_remedy_and_kept_aside(engine: LocalEngine, root: Path) -> None:
    (root / "catalog.sqlite").write_bytes(b"garbage " * 1000)
    with pytest.raises(StorageError, match=r"catalog.sqlite: the catalog is damaged .*`event-pipeline repair`"):
        engine.query("SELECT 1")
    engine.repair()
    assert [path.read_bytes()[:7] for path in root.glob("catalog.sqlite.damaged-*")] == [b"garbage"]


@pytest.mark.usefixtures("_two_hours")
def test_rows_missing_from_a_committed_file_are_found(engine: LocalEngine, root: Path) -> None:
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    path = root / "lake" / commit.files_of("silver.events")[0].path
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(stored)
    with pytest.raises(StorageError, match="has other bytes than were committed"):
        engine.count_rows(commit)


def test_every_folder_that_a_build_makes_is_synced_into_the_one_above(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    real = durability.sync_folder

    def noted(folder: Path) -> None:
        # What is there by now; a folder that is made later is not covered by this call.
        synced.update(path for path in folder.iterdir() if path.is_dir())
        real(folder)

    monkeypatch.setattr(durability, "sync_folder", noted)
    write_object(root, HOUR, 0, [event(), purchase(HOUR, 1), {"bad": 1}])
    build(engine, [HOUR])
    made = {path for path in (root / "lake").rglob("*") if path.is_dir()} | {root / "lake"}
    assert made - synced == set()
    assert root / "lake" / "runs" / "days" / "user_activity" / "event_date=2025-12-07" in made


def test_drafts_in_the_data_folder_itself_are_collected(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    drafts = [root / f".{name}.{'a' * 32}" for name in ("alerts.json", "layout.json", "catalog.sqlite")]
    kept = [root / ".env", root / ".alerts.json.mine", root / "catalog.sqlite.damaged-x"]
    for path in (*drafts, *kept):
        path.write_text("half")
    assert engine.leftovers(datetime.now(UTC)) == []
    found = engine.leftovers(datetime.now(UTC) + timedelta(days=2))
    drafts_found = [each for each in found if each.kind is LeftoverKind.DRAFT]
    assert sorted(each.place for each in drafts_found) == sorted(path.name for path in drafts)
    for each in drafts_found:
        engine.remove(each)
    assert [path.exists() for path in (*drafts, *kept)] == [False] * 3 + [True] * 3


@pytest.mark.usefixtures("_two_hours")
def test_a_lost_catalog_is_rebuilt_without_what_has_lost_its_files(engine: LocalEngine, root: Path) -> None:
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    (root / "lake" / commit.files_of("silver.events")[0].path).unlink()
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    assert list(engine.registered_builds()) == [NEXT_HOUR]
    assert len(rows(engine, "FROM silver.events")) == 2


@pytest.mark.usefixtures("_two_hours")
def test_a_rebuilt_catalog_is_on_the_disk_before_it_gets_its_name(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, named, replace = dict[int, int](), list[bool](), Path.replace
    fsync = os.fsync

    def watched_fsync(handle: int) -> None:
        synced[os.fstat(handle).st_ino] = os.fstat(handle).st_size
        fsync(handle)

    def watched_replace(source: Path, target: Path) -> Path:
        if target == root / "catalog.sqlite":
            named.append(synced.get(source.stat().st_ino) == source.stat().st_size)
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    engine.repair()
    assert named == [True]
