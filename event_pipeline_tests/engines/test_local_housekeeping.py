"""Housekeeping of a data folder: only what nobody needs goes, whenever it runs and wherever it is killed."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings

from event_pipeline.engines.base import LeftoverKind
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.errors import LockTimeoutError, StorageError
from event_pipeline.inspection.verification import Verification, verify
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, SettingsError, load_settings
from event_pipeline_tests.materializing import one_gold_table
from event_pipeline_tests.pipeline import (
    HOUR,
    assert_agrees_with_oracle,
    build,
    event,
    in_order,
    purchase,
    rows,
    write_object,
)

pytestmark = pytest.mark.long

NEXT_HOUR = HOUR.plus(1)
TABLES = load_gold_tables()
EVERYTHING = (
    "FROM silver.events",
    "FROM silver.quarantine",
    "FROM ops.hour_ledger",
    *(f"FROM {table.table.full_name}" for table in TABLES),
)
KEPT_OF_RETIRED = EVERYTHING[2:]


def age(root: Path, days: float) -> None:
    """Make everything that is in the data folder older, raw objects (whose times are their etags) apart."""
    shift = timedelta(days=days)
    for path in [*(root / "lake").rglob("*"), *(root / "scratch").rglob("*"), *(root / "locks").rglob("*")]:
        if path.suffix == ".json" and "commits" in path.parts and not path.name.startswith("."):
            record = json.loads(path.read_text())
            for name in ("committed_at", "retired_at"):
                if record.get(name):
                    record[name] = (datetime.fromisoformat(record[name]) - shift).isoformat()
            path.write_text(json.dumps(record))
    for path in sorted([root / "scratch", root / "lake", root / "locks"]):
        for each in sorted(path.rglob("*"), reverse=True):
            before = each.stat().st_mtime
            os.utime(each, (before - shift.total_seconds(),) * 2)


def keep_house(engine: LocalEngine, now: datetime | None = None) -> dict[str, int]:
    """One round; kind -> how many were removed."""
    removed: dict[str, int] = {}
    for leftover in engine.leftovers(now or datetime.now(UTC)):
        engine.remove(leftover)
        removed[leftover.kind] = removed.get(leftover.kind, 0) + 1
    return removed


def answers(engine: LocalEngine, queries: Sequence[str] = EVERYTHING) -> list[list[str]]:
    """What queries see, in an order of its own."""
    return [in_order(rows(engine, query)) for query in queries]


def verified(engine: LocalEngine, settings: Settings, hours: HourRange | None = None) -> Verification:
    """The independent recount, which must find nothing."""
    found = verify(engine, TABLES, settings.event_time_limits, hours, datetime.now(UTC), lambda *_: None)
    assert found.differences == []
    return found


def states(engine: LocalEngine, settings: Settings) -> dict[Hour, HourState]:
    """State of every hour."""
    return Pipeline(engine, TABLES, settings).states(datetime.now(UTC))


def two_hours(root: Path, engine: LocalEngine) -> None:
    """Two built hours of one day; the second has a purchase of the day before."""
    write_object(root, HOUR, 0, [event(), purchase(second=1), b"no json"])
    write_object(root, NEXT_HOUR, 0, [purchase(NEXT_HOUR, 1), purchase(NEXT_HOUR, -86_400)])
    build(engine, [HOUR, NEXT_HOUR])


# -- replaced and abandoned builds


def test_scratch_drafts_and_locks_of_killed_steps_go_after_a_day_and_held_locks_stay(
    engine: LocalEngine, root: Path
) -> None:
    two_hours(root, engine)
    scratch = root / "scratch" / f"{HOUR}-abc"
    scratch.mkdir(parents=True)
    (scratch / "rows-0.arrow").write_bytes(b"x" * 1000)
    (root / "scratch" / "duckdb").mkdir(exist_ok=True)
    (root / "scratch" / "duckdb" / "spill.tmp").write_bytes(b"x" * 500)
    draft = root / "lake" / "commits" / "hours" / f".{HOUR.hive_path.rsplit('/', 1)[1]}.json.abc"
    draft.write_text("{")
    # A build that was killed while its ledger was written: no listing of the lake shows the draft.
    killed = root / "lake" / "runs" / "hours" / HOUR.hive_path / "20251208T000000Z-000000000000"
    (killed / "ledger").mkdir(parents=True)
    (killed / "ledger" / f".ledger.parquet.{'0' * 32}").write_bytes(b"PAR1")
    assert engine.leftovers(datetime.now(UTC)) == []
    age(root, 2)
    with Layout(root).lock(f"hours/{HOUR}", 0):
        found = {each.kind: each for each in engine.leftovers(datetime.now(UTC))}
        assert found[LeftoverKind.SCRATCH].size in (500, 1000)
        keep_house(engine)
        with pytest.raises(LockTimeoutError), Layout(root).lock(f"hours/{HOUR}", 0):
            pass
    assert not scratch.exists()
    assert not draft.exists()
    assert not killed.exists()
    assert list((root / "scratch" / "duckdb").iterdir()) == []
    assert [path.name for path in (root / "locks").rglob("*.lock")] == [f"{HOUR}.lock"]
    build(engine, [HOUR], force=True)


def test_listing_leftovers_changes_nothing(engine: LocalEngine, root: Path) -> None:
    two_hours(root, engine)
    build(engine, [HOUR], force=True)
    age(root, 30)
    engine.leftovers(datetime.now(UTC))
    present = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert len(engine.leftovers(datetime.now(UTC))) > 5
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == present


# -- retention


@pytest.fixture
def keeping(root: Path) -> Settings:
    """Settings that keep Silver of NEXT_HOUR and of everything later, as the days go."""
    days = (datetime.now(UTC) - HOUR.end) // timedelta(days=1)
    return load_settings(root=root, workers=1, lock_timeout_seconds=20, silver_retention_days=days)


def test_an_hour_past_its_retention_stays_retired_when_the_catalog_is_lost(root: Path, keeping: Settings) -> None:
    engine = LocalEngine(keeping)
    two_hours(root, engine)
    kept = answers(engine, KEPT_OF_RETIRED)
    now = HOUR.end + timedelta(days=keeping.silver_retention_days)
    assert keep_house(engine, now) == {LeftoverKind.RETIRED_HOUR: 1}
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    engine = LocalEngine(keeping)
    assert verified(engine, keeping).retired == (HOUR,)
    assert answers(engine, KEPT_OF_RETIRED) == kept


def test_gold_may_not_be_given_up_before_the_hours_that_still_change_it(root: Path) -> None:
    with pytest.raises(SettingsError, match="GOLD_RETENTION_DAYS=37 must be 38 or more"):
        load_settings(root=root, silver_retention_days=30, gold_retention_days=37)
    with pytest.raises(SettingsError, match="must be 0 while Silver is kept for ever"):
        load_settings(root=root, gold_retention_days=300)
    assert load_settings(root=root, silver_retention_days=30, gold_retention_days=38).gold_retention_days == 38


# -- beside others, and after any history


def test_housekeeping_beside_builds_and_queries_disturbs_neither(
    engine: LocalEngine, root: Path, settings: Settings
) -> None:
    two_hours(root, engine)
    build(engine, [HOUR, NEXT_HOUR], force=True)
    age(root, 30)
    total = len(rows(engine, "FROM silver.events"))

    def build_again() -> None:
        for _ in range(4):
            build(LocalEngine(settings), [HOUR, NEXT_HOUR], force=True)

    with ThreadPoolExecutor(1) as pool:
        building, removed, working = pool.submit(build_again), dict[str, int](), True
        while working:
            # Asked before, so that there is a round however soon the builds are done.
            working = not building.done()
            for kind, count in keep_house(LocalEngine(settings)).items():
                removed[kind] = removed.get(kind, 0) + count
            assert len(rows(engine, "FROM silver.events")) == total
        building.result()
    assert removed[LeftoverKind.REPLACED] > 0
    verified(engine, settings)
    assert_agrees_with_oracle(engine, root)


def test_scratch_that_vanishes_while_it_is_looked_at_is_left_out(engine: LocalEngine, root: Path) -> None:
    two_hours(root, engine)
    looked = Event()

    def work() -> None:
        while not looked.is_set():
            scratch = root / "scratch" / uuid.uuid4().hex
            (scratch / "a" / "b").mkdir(parents=True)
            shutil.rmtree(scratch)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            found = [engine.leftovers(datetime.now(UTC)) for _ in range(150)]
        finally:
            looked.set()
        working.result()
    assert found == [[]] * 150


def test_two_rounds_at_once_remove_everything_once(engine: LocalEngine, root: Path, settings: Settings) -> None:
    two_hours(root, engine)
    build(engine, [HOUR, NEXT_HOUR], force=True)
    age(root, 30)
    before = answers(engine)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: keep_house(LocalEngine(settings)), range(2)))
    assert keep_house(engine) == {}
    assert answers(engine) == before
    verified(engine, settings)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("land"), st.integers(0, 3), st.integers(0, 59), st.integers(-30, 0)),
        st.tuples(st.just("build"), st.integers(0, 3)),
        st.tuples(st.just("rebuild"), st.integers(0, 3)),
        st.tuples(st.just("silver only"), st.integers(0, 3)),
        st.tuples(st.just("abandon"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([1, 4, 8])),
        st.tuples(st.just("keep house")),
    ),
    min_size=4,
    max_size=14,
)


@given(history=steps, retention=st.booleans())
# A failing history is short enough to read as it is, and shrinking one takes minutes.
@hypothesis_settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_after_any_history_housekeeping_changes_no_answer(
    history: list[tuple[Any, ...]], retention: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("history") / "data"
    hours = [HOUR.plus(24 * offset) for offset in range(4)]
    # One present for the whole history: during it the real clock may pass the moment at which the third hour is due.
    now = datetime.now(UTC)
    days = (now - hours[1].end) // timedelta(days=1) if retention else 0
    settings = load_settings(root=root, workers=1, silver_retention_days=days)
    folder = one_gold_table(root.parent / "gold")
    (gold,) = load_gold_tables(folder)
    engine, queries = LocalEngine(settings, folder), (*EVERYTHING[:3], "FROM gold.user_activity")
    queries = queries[2:] if retention else queries

    def build_all(hours: Sequence[Hour], force: bool = False) -> None:
        list(engine.build_silver(hours, force=force, progress=lambda _: None))
        engine.register_hours(hours)
        engine.refresh_gold(gold, hours, progress=lambda _: None)

    for hour in hours:
        write_object(root, hour, 30, [purchase(hour, 1)])
    for step, *arguments in history:
        hour = hours[arguments[0]] if arguments and step != "wait" else HOUR
        match step:
            case "land":
                minute, back = arguments[1:]
                late = hour.start + timedelta(hours=back)
                write_object(root, hour, minute, [purchase(hour, minute), purchase(Hour.containing(late), minute)])
            case "build" | "rebuild":
                build_all([hour], force=step == "rebuild")
            case "silver only":
                list(engine.build_silver([hour], progress=lambda _: None))
            case "abandon":
                left = root / "lake" / "runs" / "hours" / hour.hive_path / f"{time.time_ns()}-abandoned"
                left.mkdir(parents=True)
                (left / "events-0.parquet").write_bytes(b"half of a")
            case "wait":
                age(root, arguments[0])
            case "keep house":
                before = answers(engine, queries)
                keep_house(engine, now)
                assert answers(engine, queries) == before
    build_all(hours)
    for _ in range(2):
        keep_house(engine, now)
        age(root, 8)
    found = verify(engine, [gold], settings.event_time_limits, None, now, lambda *_: None)
    assert found.differences == []
    assert len(found.retired) == (2 if retention else 0)
    # Ageing moved the times in the commit records, as nothing in the pipeline does.
    assert {change.reason for change in engine.repair()} <= {"", "version or time differed from the commit record"}


def test_a_file_that_cannot_be_removed_is_named(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_object(root, HOUR, 0, [event()])
    (first, *_) = build(engine, [HOUR])
    build(engine, [HOUR], force=True)
    (file,) = first.commit.files_of("silver.events")
    later = datetime.now(UTC) + timedelta(days=30)
    (replaced,) = [each for each in engine.leftovers(later) if file.path in each.paths]
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path == root / "lake" / file.path:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refused)
        with pytest.raises(StorageError, match=Path(file.path).name):
            engine.remove(replaced)
    assert [each.place for each in engine.leftovers(later) if file.path in each.paths] == [replaced.place]
    engine.remove(replaced)
    assert not (root / "lake" / file.path).exists()
