"""The recount proves what is right, and finds every fault that is planted behind the commit records' back."""

from __future__ import annotations

import dataclasses
import gzip
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import ExhaustedError, StorageError
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.inspection import verification
from event_pipeline.inspection.verification import Difference, Verification
from event_pipeline.reporting.terminal import output
from event_pipeline.reporting.verification_table import print_verification
from event_pipeline.rules import validation
from event_pipeline.rules.accounting import ObjectAccount
from event_pipeline.rules.contract import SILVER_EVENTS, Table
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests import oracle
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIRTY = GeneratorOptions(
    events_per_file=60, files_per_hour=4, bad_share=0.1, duplicate_share=0.1, late_share=0.02, broken_objects=2
)


def verify(settings: Settings, hours: HourRange | None = None) -> Verification:
    return verification.verify(
        LocalEngine(settings), load_gold_tables(), settings.event_time_limits, hours, NOW, lambda *_: None
    )


def found(settings: Settings) -> list[tuple[str, str]]:
    return [(each.place, each.what) for each in verify(settings).differences]


def found_in_hours(settings: Settings) -> list[str]:
    """What differs in landing hours alone: Gold is not recomputed."""
    engine = LocalEngine(settings)
    recounted = verification.verify(engine, [], settings.event_time_limits, None, NOW, lambda *_: None)
    return [each.what for each in recounted.differences]


@pytest.fixture(scope="module")
def dirty_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of dirty data, built; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("dirty") / "data"
    hours = [HOUR.plus(1), HOUR.plus(2)]
    generate(root / "raw", hours, DIRTY)
    build(LocalEngine(load_settings(root=root, workers=1)), hours)
    return root


@pytest.fixture
def dirty(dirty_root: Path, root: Path, settings: Settings) -> Settings:
    """Settings over a copy of that data, modification times kept."""
    shutil.copytree(dirty_root, root)
    return settings


@pytest.fixture(scope="module")
def clean_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small built hour: two views, a purchase, a record that is no JSON, a duplicate."""
    root = tmp_path_factory.mktemp("clean") / "data"
    write_object(root, HOUR, 0, [event(), event(second=1), purchase(second=2), b"{not json", event()])
    build(LocalEngine(load_settings(root=root, workers=1)), [HOUR])
    return root


@pytest.fixture
def clean(clean_root: Path, root: Path, settings: Settings) -> Settings:
    """Settings over a copy of that hour."""
    shutil.copytree(clean_root, root)
    return settings


# -- what is right is proven


@pytest.mark.long
def test_records_that_were_sent_again_are_named_and_are_no_difference(
    clean: Settings, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hours = [HOUR, HOUR.plus(1)]
    again = write_object(root, HOUR.plus(1), 0, [event(second=1), purchase(second=2), event(HOUR.plus(1))])
    build(LocalEngine(clean), hours)

    for asked, named in ((None, (hours[1], hours[0])), (HourRange(HOUR, HOUR.plus(1)), (hours[0], hours[1]))):
        proven = verify(clean, asked)
        assert proven.differences == []
        ((pair, shared),) = proven.sent_again.items()
        assert (pair, shared.records, shared.revenue, shared.is_exact) == (named, 2, Decimal("19.98"), True)
    console = output()
    console.width = 400
    print_verification(verify(clean), (), 1, console)
    assert (
        f"Sent again, so counted twice: {hours[1]} and {hours[0]} both hold 2 records, revenue 19.98 USD ({again} like "
        f"{HOUR.raw_key(HOUR.start)})" in capsys.readouterr().out
    )


@pytest.mark.long
def test_dirty_data_is_proven_and_the_counts_are_the_oracles(dirty: Settings) -> None:
    proven = verify(dirty)
    expected = oracle.read_root(dirty.root)
    assert proven.differences == []
    assert {
        str(each.hour): (
            each.objects,
            each.unreadable,
            each.records,
            each.silver_rows,
            each.quarantined,
            each.duplicates,
        )
        for each in proven.hours
    } == {
        hour: (
            each.objects,
            len(each.unreadable),
            each.records,
            each.silver_rows,
            each.quarantined.total(),
            each.duplicates,
        )
        for hour, each in expected.hours.items()
    }
    assert all(each.unreadable and each.quarantined and each.duplicates for each in proven.hours)
    rows = {(each.table, each.day): each.rows for each in proven.gold}
    assert rows == {
        (name, day): sum(row["event_date"] == day for row in table)
        for name, table in expected.gold.items()
        for day in {each.day for each in proven.gold}
    }
    assert len({day for _, day in rows}) > 2


@pytest.mark.long
def test_the_real_samples_are_proven(settings: Settings, real_samples: list[Path]) -> None:
    hours = []
    for sample in real_samples:
        landed = datetime.strptime(sample.name, "events-%Y%m%d-%H%M%S.jsonl.gz").replace(tzinfo=UTC)
        target = settings.root / "raw" / Hour.containing(landed).raw_key(landed)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample, target)
        hours.append(Hour.containing(landed))
    build(LocalEngine(settings), sorted(set(hours)))
    proven = verify(settings)
    assert proven.differences == []
    assert sum(each.records for each in proven.hours) == 100 * len(real_samples)


def test_the_builders_own_reader_is_not_used(clean: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("the recount must not use the builder's reader")

    monkeypatch.setattr(validation, "judge_stored_object", forbidden)
    monkeypatch.setattr(validation, "LineReader", forbidden)
    assert verify(clean).differences == []


def test_published_rows_are_read_a_row_group_at_a_time(clean: Settings) -> None:
    portions: list[int] = []

    class Watched(LocalEngine):
        def query(self, sql: str) -> pa.Table:
            assert "event_date" in sql, f"no rows of Silver, quarantine or ledger are asked for: {sql}"
            return super().query(sql)

        def shown_rows(self, table: Table, hour: Hour) -> Iterator[pa.RecordBatch]:
            for batch in super().shown_rows(table, hour):
                portions.append(batch.num_rows)
                yield batch

    rewrite(clean, "silver.events", lambda rows: rows, row_group_size=2)
    proven = verification.verify(Watched(clean), [], clean.event_time_limits, None, NOW, lambda *_: None)
    assert proven.differences == []
    assert portions == [2, 1, 1, 1], "Silver in two row groups, quarantine, ledger"


def test_rows_that_queries_do_not_count_are_found(clean: Settings) -> None:
    class Blind(LocalEngine):
        def query(self, sql: str) -> pa.Table:
            return super().query(sql.replace("GROUP BY", "WHERE event_type = 'purchase' GROUP BY"))

    proven = verification.verify(Blind(clean), [], clean.event_time_limits, None, NOW, lambda *_: None)
    assert proven.differences == [Difference(str(HOUR), "silver.events rows that queries count", "3", "1")]


def test_an_hour_built_as_empty_is_proven(settings: Settings) -> None:
    build(LocalEngine(settings), [HOUR])
    proven = verify(settings)
    assert proven.differences == []
    assert [(each.hour, each.records) for each in proven.hours] == [(HOUR, 0)]


def test_lines_are_counted_as_the_contract_says(settings: Settings) -> None:
    lines = b"\n".join((b"\xef\xbb\xbf{}\r", b"", b" \t ", b"[1]", b'\xff{"a"}', b'{"search_query": "last"}'))
    write_object(settings.root, HOUR, 0, gzip.compress(lines[:9]) + gzip.compress(lines[9:]))
    build(LocalEngine(settings), [HOUR])
    proven = verify(settings)
    assert proven.differences == []
    assert (proven.hours[0].records, proven.hours[0].quarantined) == (4, 4)


def test_a_range_verifies_its_hours_and_the_days_they_touch(dirty: Settings) -> None:
    hour = HOUR.plus(1)
    proven = verify(dirty, HourRange(hour, hour.plus(1)))
    assert [each.hour for each in proven.hours] == [hour]
    assert date(2025, 12, 7) in {each.day for each in proven.gold}


def test_progress_counts_every_hour_and_day(clean: Settings) -> None:
    seen: list[tuple[str, int, int]] = []
    engine = LocalEngine(clean)
    verification.verify(engine, load_gold_tables(), clean.event_time_limits, None, NOW, lambda *step: seen.append(step))
    assert seen == [("recounting 2025-12-07T22", 0, 2), ("recomputing Gold of 2025-12-07", 1, 2)]


def test_records_that_differ_below_the_millisecond_are_no_duplicates_to_anybody(settings: Settings) -> None:
    instants = ("22:00:00.000001", "22:00:00.000002", "22:00:00.000001Z", "22:00:00.000002Z")
    records = [event(timestamp=f"2025-12-07T{each}") for each in instants]
    write_object(settings.root, HOUR, 0, records)
    build(LocalEngine(settings), [HOUR])
    proven = verify(settings)
    assert [(each.records, each.silver_rows, each.duplicates) for each in proven.hours] == [(4, 2, 2)]
    assert proven.differences == []


# -- hours that cannot be what raw says, by what is known before counting


def test_hours_that_are_not_built_are_named_and_are_no_difference(clean: Settings) -> None:
    write_object(clean.root, HOUR.plus(1), 0, [event(HOUR.plus(1))])
    proven = verify(clean)
    assert (proven.not_built, proven.differences) == ((HOUR.plus(1),), [])


def test_a_late_object_is_a_difference(clean: Settings) -> None:
    write_object(clean.root, HOUR, 5, [event(second=300)])
    assert found(clean) == [(str(HOUR), "raw objects")]


def test_hours_of_other_rules_are_a_difference(clean: Settings) -> None:
    other = clean.model_copy(update={"event_max_age_days": 3})
    assert found(other) == [(str(HOUR), "rules version")]


def test_an_unregistered_build_is_a_difference(clean: Settings) -> None:
    list(LocalEngine(clean).build_silver([HOUR], force=True, progress=lambda _: None))
    assert found(clean) == [(str(HOUR), "run that queries see")]


def test_hours_that_lost_raw_objects_are_not_recounted_and_are_no_difference(clean: Settings) -> None:
    write_object(clean.root, HOUR, 5, [event(second=300)])
    build(LocalEngine(clean), [HOUR])
    (clean.root / "raw" / HOUR.raw_key(HOUR.start)).unlink()
    proven = verify(clean)
    assert proven.not_recounted == {HOUR: "1 of 2 raw objects are left"}
    assert (proven.hours, proven.differences) == ((), [])
    assert proven.gold


def test_a_published_hour_without_a_commit_record_is_a_difference(clean: Settings) -> None:
    Layout(clean.root).hour_commit(HOUR).unlink()
    assert found(clean) == [(str(HOUR), "commit record")]


# -- planted faults


def replace_raw(settings: Settings, change: Callable[[bytes], bytes]) -> None:
    """Change the content of the hour's object, but neither its size nor its time: the fingerprint stays."""
    path = settings.root / "raw" / HOUR.raw_key(HOUR.start)
    before = path.stat()
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes())), compresslevel=0, mtime=0))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def stored(settings: Settings) -> Settings:
    """Like `clean`, with the raw object stored uncompressed, so that its size does not follow its content."""
    records = [event(), purchase(second=2), b'{"user_id":"u_2"}']
    key = write_object(settings.root, HOUR, 0, records)
    path = settings.root / "raw" / key
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0, mtime=0))
    engine = LocalEngine(settings)
    list(engine.build_silver([HOUR], progress=lambda _: None))
    engine.register_hours([HOUR])
    assert found_in_hours(settings) == []
    return settings


@pytest.mark.parametrize(
    ("before", "after", "differing"),
    [
        (b"p_1", b"p_2", {"content of the silver.events rows"}),
        (b"9.99", b"9.98", {"content of the silver.events rows", "control totals of 2025-12-07"}),
        (b"u_2", b"u_3", {"content of the silver.quarantine rows"}),
        (b"u_1", b"u 1", {"silver.events rows", "silver.quarantine rows", "ops.hour_ledger silver_rows"}),
    ],
)
def test_other_content_in_raw_is_found(stored: Settings, before: bytes, after: bytes, differing: set[str]) -> None:
    replace_raw(stored, lambda lines: lines.replace(before, after))
    differences = found_in_hours(stored)
    assert all(any(what.startswith(each) for what in differences) for each in differing), differences


def rewrite(settings: Settings, table: str, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    """Change the published rows of a table behind the back of commit record and catalog."""
    engine = LocalEngine(settings)
    commit = engine.hour_commit(HOUR)
    assert commit
    files = [*commit.files_of(table)] if not table.startswith("gold.") else []
    paths = [Layout(settings.root).lake / file.path for file in files]
    if not paths:
        name = table.removeprefix("gold.")
        paths = sorted((Layout(settings.root).runs / "days" / name / "event_date=2025-12-07").rglob("*.parquet"))
    (path,) = paths
    rows = pq.ParquetFile(path).read()
    pq.write_table(change(rows), path, **options)


def with_column(name: str, change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(rows: pa.Table) -> pa.Table:
        place = rows.column_names.index(name)
        return rows.set_column(place, name, change(rows.column(name)))

    return changed


def with_rows_from_nowhere(rows: pa.Table) -> pa.Table:
    """Add a row of an object that raw does not have."""
    nowhere = with_column("source_object", lambda column: pa.chunked_array([["nowhere"]], column.type))
    return pa.concat_tables([rows, nowhere(rows.slice(0, 1))])


@pytest.mark.parametrize(
    ("table", "change", "differing"),
    [
        ("silver.events", with_rows_from_nowhere, "silver.events rows from nowhere"),
        ("silver.quarantine", with_rows_from_nowhere, "silver.quarantine rows from nowhere"),
        ("silver.events", lambda rows: rows.slice(1), "silver.events rows from"),
        ("silver.events", lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]), "silver.events rows from"),
        ("silver.events", with_column("user_id", pc.utf8_upper), "content of the silver.events rows"),
        (
            "silver.events",
            with_column("event_ts", lambda column: pc.add(column, pa.scalar(1, pa.duration("ms")))),
            "content of the silver.events rows",
        ),
        ("silver.quarantine", with_column("line_number", lambda column: pc.add(column, 1)), "content of the silver.q"),
        ("silver.quarantine", with_column("reason", pc.utf8_upper), "content of the silver.quarantine rows"),
        ("ops.hour_ledger", with_column("duplicates", lambda column: pc.add(column, 1)), "ops.hour_ledger duplicates"),
        ("ops.hour_ledger", with_column("fingerprint", pc.utf8_upper), "ops.hour_ledger fingerprint"),
        ("ops.hour_ledger", lambda rows: rows.slice(1), "ops.hour_ledger rows"),
    ],
)
def test_other_published_rows_are_found(
    clean: Settings, table: str, change: Callable[[pa.Table], pa.Table], differing: str
) -> None:
    rewrite(clean, table, change)
    differences = found_in_hours(clean)
    assert any(what.startswith(differing) for what in differences), differences


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda rows: rows.set_column(8, "quantity", rows["quantity"].cast(pa.int64())),
            "quantity is int64, not int32",
        ),
        (lambda rows: rows.select([]).append_column("other", rows["price"]), "none of event_ts, .* is there"),
    ],
)
def test_files_with_other_columns_are_named(
    clean: Settings, change: Callable[[pa.Table], pa.Table], named: str
) -> None:
    rewrite(clean, "silver.events", change)
    engine = LocalEngine(clean)
    with pytest.raises(StorageError, match=rf"events-0\.parquet: a data file cannot be read: {named}"):
        list(engine.shown_rows(SILVER_EVENTS, HOUR))


def recommit(settings: Settings, change: Callable[[HourCommit], HourCommit]) -> None:
    engine = LocalEngine(settings)
    commit = engine.hour_commit(HOUR)
    assert commit
    Layout(settings.root).hour_commit(HOUR).write_text(change(commit).to_json())


def test_wrong_numbers_in_a_commit_record_are_found(clean: Settings) -> None:
    def more_records(commit: HourCommit) -> HourCommit:
        (account,) = commit.account.objects
        wrong = dataclasses.replace(account, records=account.records + 1, duplicates=account.duplicates + 1)
        return dataclasses.replace(commit, account=dataclasses.replace(commit.account, objects=(wrong,)))

    recommit(clean, more_records)
    key = HOUR.raw_key(HOUR.start)
    assert [each for each in verify(clean).differences] == [
        Difference(str(HOUR), f"records in the commit record of {key}", "5", "6"),
        Difference(str(HOUR), f"duplicates in the commit record of {key}", "1", "2"),
    ]


def with_account(**fields: Any) -> Callable[[HourCommit], HourCommit]:
    """Change the account of the hour's only object."""

    def changed(commit: HourCommit) -> HourCommit:
        account = dataclasses.replace(commit.account.objects[0], **fields)
        return dataclasses.replace(commit, account=dataclasses.replace(commit.account, objects=(account,)))

    return changed


def test_other_reasons_of_as_many_records_in_a_commit_record_are_found(clean: Settings) -> None:
    recommit(clean, with_account(quarantined_by_reason={"invalid_price": 1}))
    assert found_in_hours(clean) == [f"quarantined in the commit record of {HOUR.raw_key(HOUR.start)}"]


def test_an_object_that_was_set_aside_although_it_can_be_read_is_found(settings: Settings) -> None:
    key = write_object(settings.root, HOUR, 0, [])
    build(LocalEngine(settings), [HOUR])
    recommit(settings, with_account(unreadable="corrupt_gzip"))
    assert found_in_hours(settings) == [f"unreadable in the commit record of {key}"]


def test_an_object_that_was_set_aside_and_is_not_there_is_found(clean: Settings) -> None:
    def with_another(commit: HourCommit) -> HourCommit:
        (account,) = commit.account.objects
        other = ObjectAccount(HOUR.raw_key(HOUR.start + timedelta(minutes=5)), "e", 1, unreadable="not_gzip")
        return dataclasses.replace(commit, account=dataclasses.replace(commit.account, objects=(account, other)))

    recommit(clean, with_another)
    assert found(clean) == [(str(HOUR), "raw objects")]


def test_gold_of_a_day_whose_silver_is_retired_is_held_to_its_totals(root: Path) -> None:
    days = (datetime.now(UTC) - HOUR.end) // timedelta(days=1)
    keeping = load_settings(root=root, workers=1, silver_retention_days=days)
    engine = LocalEngine(keeping)
    write_object(root, HOUR, 0, [event(), purchase(second=1)])
    build(engine, [HOUR])
    for leftover in engine.leftovers(datetime.now(UTC)):
        engine.remove(leftover)
    assert (verify(keeping).retired, found(keeping)) == ((HOUR,), [])
    rewrite(keeping, "gold.conversion_funnel", with_column("views", lambda column: pc.add(column, 1)))
    assert found(keeping) == [("gold.conversion_funnel 2025-12-07", "views")]


def test_wrong_control_totals_in_a_commit_record_are_found(clean: Settings) -> None:
    def more_revenue(commit: HourCommit) -> HourCommit:
        ((day, totals),) = commit.account.days.items()
        wrong = dataclasses.replace(totals, revenue=totals.revenue + Decimal("0.01"))
        return dataclasses.replace(commit, account=dataclasses.replace(commit.account, days={day: wrong}))

    recommit(clean, more_revenue)
    assert found(clean) == [(str(HOUR), "control totals of 2025-12-07 in the commit record")]


def test_a_wrong_gold_value_is_named_with_both_values(clean: Settings) -> None:
    rewrite(clean, "gold.conversion_funnel", with_column("views", lambda column: pc.add(column, 1)))
    assert verify(clean).differences == [
        Difference("gold.conversion_funnel 2025-12-07", "product_id=p_1, category=books: views", "2", "3")
    ]


def test_missing_and_surplus_gold_rows_are_found(clean: Settings) -> None:
    rewrite(clean, "gold.hourly_revenue", lambda rows: rows.slice(1))
    rewrite(clean, "gold.user_activity", lambda rows: pa.concat_tables([rows, rows]))
    differences = {each.place: each for each in verify(clean).differences}
    missing = differences["gold.hourly_revenue 2025-12-07"]
    assert (missing.what, missing.found) == ("row of event_hour=22", "no such row")
    assert "total_revenue=19.98" in missing.expected
    surplus = differences["gold.user_activity 2025-12-07"]
    assert (surplus.what, surplus.expected) == ("row of the day", "no such row")


def test_gold_days_without_any_silver_are_found(clean: Settings) -> None:
    engine = LocalEngine(clean)
    commit = engine.hour_commit(HOUR)
    assert commit
    rewrite(clean, "silver.events", lambda rows: rows.slice(0, 0))
    places = {place for place, _ in found(clean)}
    assert {"gold.user_activity 2025-12-07", "gold.hourly_revenue 2025-12-07", str(HOUR)} <= places


@pytest.mark.long
def test_many_differing_gold_rows_are_cut_short_and_counted(settings: Settings) -> None:
    write_object(settings.root, HOUR, 0, [event(second=n, product_id=f"p_{n:02}") for n in range(40)])
    build(LocalEngine(settings), [HOUR])
    rewrite(settings, "gold.top_products", with_column("view_count", lambda column: pc.add(column, 1)))
    differences = verify(settings).differences
    assert len(differences) == verification.MOST_DIFFERING_ROWS + 1
    assert differences[-1].found == "70 more that differ"


# -- objects of an hour side by side


def verify_in_processes(settings: Settings) -> Verification:
    engine, tables, limits = LocalEngine(settings), load_gold_tables(), settings.event_time_limits
    return verification.verify(engine, tables, limits, None, NOW, lambda *_: None, workers=2)


def test_processes_find_the_same_as_one_also_across_objects(dirty: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = HOUR
    sent = [event(hour), event(hour, second=1), purchase(hour, second=2), event(hour)]
    write_object(dirty.root, hour, 0, sent)
    write_object(dirty.root, hour, 5, [purchase(hour, second=2), b"{no json", event(hour, second=3), *sent])
    build(LocalEngine(dirty), [hour])
    rewrite(dirty, "silver.events", lambda rows: rows.slice(1))
    alone = verify(dirty)
    monkeypatch.setattr(verification, "POOL_WORTH_BYTES", 0)
    assert verify_in_processes(dirty) == alone
    assert alone.differences
    (counted,) = [each for each in alone.hours if each.hour == hour]
    assert (counted.records, counted.silver_rows, counted.quarantined, counted.duplicates) == (11, 4, 1, 6)


def test_a_killed_process_names_its_object(dirty: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "POOL_WORTH_BYTES", 0)
    monkeypatch.setattr(verification, "_recount_object", be_killed)
    with pytest.raises(ExhaustedError, match=r"events/.*: the process that recounts it was killed, even when it was"):
        verify_in_processes(dirty)
    assert active_children() == []


@pytest.mark.long
def test_a_process_killed_over_published_rows_names_their_table(
    dirty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "POOL_WORTH_BYTES", 0)
    monkeypatch.setattr(verification, "_silver_rows", be_killed)
    with pytest.raises(
        ExhaustedError, match=r"silver\.events of .*: the process that digests .* was killed, even when"
    ):
        verify_in_processes(dirty)
    assert active_children() == []


def be_killed(task: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_interrupt_leaves_no_processes(dirty: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "POOL_WORTH_BYTES", 0)
    monkeypatch.setattr(verification, "_recount_object", never_end)
    timer = threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        verify_in_processes(dirty)
    timer.join()
    assert active_children() == []


def never_end(task: object) -> None:
    time.sleep(600)
