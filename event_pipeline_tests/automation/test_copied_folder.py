"""A raw object is its bytes: a folder that is copied or restored is unchanged, other bytes are found all the same."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import dagster as dg
import pytest

from event_pipeline.engines.base import SilverOutcome
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.local import raw as raw_module
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.errors import StorageError
from event_pipeline.inspection import verification
from event_pipeline.inspection.verification import Verification
from event_pipeline.operations.backfills import plan_backfill
from event_pipeline.operations.building import plan_build
from event_pipeline.operations.replaying import plan_replay
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import data_version, materialize, one
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, rows, write_object

NEXT_HOUR = HOUR.plus(1)
HOURS = HourRange(HOUR, HOUR.plus(2))
NOW = datetime(2025, 12, 9, tzinfo=UTC)
TABLES = load_gold_tables()


@pytest.fixture
def built(root: Path, settings: Settings) -> Settings:
    """Two built hours: three objects, one of them unreadable, and a record in quarantine."""
    write_object(root, HOUR, 0, [event(), purchase(second=1), b"not json"])
    write_object(root, HOUR, 5, b"no gzip")
    write_object(root, NEXT_HOUR, 0, [event(NEXT_HOUR)])
    build(LocalEngine(settings), list(HOURS))
    return settings


@pytest.fixture
def copied(built: Settings, tmp_path: Path) -> Settings:
    """The same folder copied as `cp -r` does: every file has a new time."""
    return copy_of(built, tmp_path / "copy")


def copy_of(settings: Settings, root: Path) -> Settings:
    shutil.copytree(settings.root, root, copy_function=shutil.copyfile)
    for path in sorted((root / "raw").rglob("*.gz")):
        later(path)
    return load_settings(root=root, workers=1)


def later(path: Path) -> None:
    """Give a file another time than it had."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def pipeline_of(settings: Settings) -> Pipeline:
    return Pipeline(LocalEngine(settings), TABLES, settings)


def states(settings: Settings) -> dict[Hour, HourState]:
    return pipeline_of(settings).states(NOW)


def verify(settings: Settings) -> Verification:
    engine = LocalEngine(settings)
    return verification.verify(engine, TABLES, settings.event_time_limits, None, NOW, lambda *_: None)


def commit_records(root: Path) -> dict[str, str]:
    """What is published; the digests beside it are notes."""
    commits = root / "lake" / "commits"
    kinds = (commits / kind for kind in ("hours", "partials", "days"))
    return {str(path.relative_to(root)): path.read_text() for kind in kinds for path in kind.rglob("*.json")}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every raw object that is opened to be digested, by minute."""
    seen: list[str] = []
    real = raw_module.RawFiles.open

    def noted(store: raw_module.RawFiles, key: str) -> BinaryIO:
        seen.append(key.split("hour=")[1][:12])
        return real(store, key)

    monkeypatch.setattr(raw_module.RawFiles, "open", noted)
    return seen


def test_a_copied_folder_is_ready_and_nothing_of_it_is_built_again(copied: Settings) -> None:
    engine, before = LocalEngine(copied), commit_records(copied.root)

    assert states(copied) == dict.fromkeys(HOURS, HourState.READY)
    assert plan_build(pipeline_of(copied), NOW, None).hours == ()
    again = build(engine, list(HOURS))
    assert [(each.outcome, each.reason) for each in again] == [
        (SilverOutcome.UNCHANGED, "same input, same rules"),
        (SilverOutcome.UNCHANGED, "same input, same rules"),
    ]
    assert commit_records(copied.root) == before


def test_a_copied_folder_is_proven(copied: Settings) -> None:
    found = verify(copied)

    assert found.differences == []
    assert [(each.hour, each.objects, each.records) for each in found.hours] == [(HOUR, 2, 3), (NEXT_HOUR, 1, 1)]


def test_a_copied_folder_has_nothing_to_backfill_or_replay(copied: Settings, instance: dg.DagsterInstance) -> None:
    engine = LocalEngine(copied)

    assert plan_backfill(pipeline_of(copied), instance, NOW, HOURS).to_build == ()
    replayed = plan_replay(engine, copied, None, None, force=False)
    assert (replayed.hours, replayed.unchanged) == ((), (HOUR,))


@pytest.mark.long
def test_a_copied_folder_has_the_data_versions_that_it_had(
    root: Path, settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    write_object(root, HOUR, 0, [event()])
    materialize(settings, instance, one(HOUR))
    assets = ("raw_events", "silver_events", "silver_partitions")
    before = {asset: data_version(instance, asset, HOUR) for asset in assets}
    materialize(copy_of(settings, tmp_path / "copy"), instance, one(HOUR))

    assert {asset: data_version(instance, asset, HOUR) for asset in assets} == before
    assert None not in before.values()


def test_each_copied_object_is_digested_once(copied: Settings, opened: list[str]) -> None:
    for _ in range(3):
        states(copied)
    assert opened == ["22/minute=00", "22/minute=05", "23/minute=00"]

    later(next((copied.root / "raw").rglob("minute=05/*.gz")))
    states(copied)
    assert opened[3:] == ["22/minute=05"]


def test_a_digest_that_was_noted_is_of_that_version_of_the_object_alone(built: Settings, root: Path) -> None:
    path = write_plain(root, "page_view")
    build(LocalEngine(built), [HOUR])
    later(path)
    assert states(built)[HOUR] is HourState.READY
    before = path.stat()
    write_plain(root, "purchase_")
    assert path.stat().st_size == before.st_size
    later(path)

    assert states(built)[HOUR] is HourState.CHANGED


def test_nothing_is_digested_where_times_are_those_that_were_built(built: Settings, opened: list[str]) -> None:
    states(built)
    assert opened == []
    assert not (built.root / "digests").exists()


def test_lost_and_damaged_notes_cost_reading_again_and_nothing_else(copied: Settings) -> None:
    states(copied)
    notes = sorted((copied.root / "lake" / "commits" / "digests").rglob("*.json"))
    assert len(notes) == 2
    for damage in (b"", b"[[1, 2]]", b"\xff\xfe", b"null", b'{"a": 1}'):
        notes[0].write_bytes(damage)
        notes[1].unlink()
        assert states(copied) == dict.fromkeys(HOURS, HourState.READY)


def test_who_may_not_write_sees_the_same(copied: Settings) -> None:
    (copied.root / "lake" / "commits" / "digests").write_text("a file where the folder would be")

    assert states(copied) == dict.fromkeys(HOURS, HourState.READY)


def write_plain(root: Path, event_type: str) -> Path:
    """Write an object without compression: its size depends on the length of its text alone."""
    text = json.dumps(event(event_type=event_type)).encode()
    return root / "raw" / write_object(root, HOUR, 10, gzip.compress(text, compresslevel=0, mtime=0))


def replace_behind_its_time(path: Path, root: Path) -> None:
    """Write other bytes of the same size into an object, and give it its time back."""
    before = path.stat()
    write_plain(root, "page_vieW")
    write_plain(root, "purchase_")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_other_bytes_of_the_same_size_and_another_time_are_a_change(built: Settings, root: Path) -> None:
    path, engine = write_plain(root, "page_view"), LocalEngine(built)
    build(engine, [HOUR])
    replace_behind_its_time(path, root)
    later(path)

    assert states(built)[HOUR] is HourState.CHANGED
    (rebuilt,) = build(engine, [HOUR])
    assert rebuilt.reason == "input changed"
    assert rebuilt.commit.account.quarantined_by_reason == {"not_json": 1, "unknown_event_type": 1}
    assert states(built)[HOUR] is HourState.READY
    assert not (root / "digests" / f"{HOUR.hive_path}.json").exists()


@pytest.mark.long
def test_bytes_changed_behind_an_unchanged_time_are_named_by_verify_and_built_by_force(
    built: Settings, root: Path
) -> None:
    path, engine = write_plain(root, "page_view"), LocalEngine(built)
    (first,) = build(engine, [HOUR])
    replace_behind_its_time(path, root)
    key = path.relative_to(root / "raw").as_posix()

    assert states(built)[HOUR] is HourState.READY
    (found,) = [each for each in verify(built).differences if each.what.startswith("SHA-256")]
    assert (found.place, found.what) == (str(HOUR), f"SHA-256 of {key}")
    assert found.found.endswith(
        "not the bytes that were built; event-pipeline run --from 2025-12-07T22 --to 2025-12-07T23 --force rebuilds "
        "the hour from them"
    )
    (forced,) = build(engine, [HOUR], force=True)
    before, after = ({each.key: each.sha256 for each in build.commit.account.objects} for build in (first, forced))
    assert [each for each in after if after[each] != before[each]] == [key]
    assert after[key] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert forced.commit.fingerprint == first.commit.fingerprint
    assert forced.commit.account.content != first.commit.account.content
    assert verify(built).differences == []
    assert_agrees_with_oracle(engine, root)


def test_what_is_decoded_of_an_open_hour_does_not_hide_other_bytes(root: Path) -> None:
    settings = load_settings(root=root, workers=1, build_mode="every_object")
    engine = LocalEngine(settings, clock=lambda: HOUR.start + timedelta(minutes=30))
    path = write_plain(root, "page_view")
    build(engine, [HOUR])
    replace_behind_its_time(path, root)
    write_object(root, HOUR, 15, [event(second=1)])

    (late,) = build(engine, [HOUR])
    assert late.commit.account.quarantined_by_reason == {"unknown_event_type": 1}
    assert rows(engine, "SELECT count(*) AS n FROM silver.events") == [{"n": 1}]


def test_records_that_were_written_without_digests_fall_back_to_times(built: Settings, tmp_path: Path) -> None:
    copied = copy_of(built, tmp_path / "copy")
    path = copied.root / "lake" / "commits" / "hours" / f"{HOUR.hive_path}.json"
    document = json.loads(path.read_text())
    for each in document["account"]["objects"]:
        del each["sha256"]
    path.write_text(json.dumps(document))

    assert states(copied) == {HOUR: HourState.CHANGED, NEXT_HOUR: HourState.READY}
    (rebuilt,) = build(LocalEngine(copied), [HOUR])
    assert rebuilt.reason == "input changed"
    assert states(copied) == dict.fromkeys(HOURS, HourState.READY)


def test_an_object_that_vanishes_or_cannot_be_read_is_a_change_and_stops_nothing(
    copied: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = raw_module.RawFiles.open

    def denied(store: raw_module.RawFiles, key: str) -> BinaryIO:
        if "minute=05" in key:
            raise StorageError(f"{key}: access is denied")
        return real(store, key)

    monkeypatch.setattr(raw_module.RawFiles, "open", denied)
    assert states(copied) == {HOUR: HourState.CHANGED, NEXT_HOUR: HourState.READY}


@pytest.mark.long
def test_one_more_object_in_a_copied_folder_rebuilds_its_hour_from_all_of_them(copied: Settings) -> None:
    write_object(copied.root, HOUR, 10, [event(second=5)])
    engine = LocalEngine(copied)

    assert states(copied) == {HOUR: HourState.CHANGED, NEXT_HOUR: HourState.READY}
    build(engine, list(HOURS))
    assert verify(copied).differences == []
    assert_agrees_with_oracle(engine, copied.root)
