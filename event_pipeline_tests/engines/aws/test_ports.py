"""What every store and every catalog promises, held against each of them."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.aws.catalog import GlueCatalog
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.catalog import Catalog
from event_pipeline.engines.commit import Commit, DataFile, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local.catalog import SqliteCatalog
from event_pipeline.engines.local.files import FileStore
from event_pipeline.engines.names import gold_table, partial_table
from event_pipeline.engines.store import Store
from event_pipeline.errors import LockTimeoutError, StorageError, TransientError
from event_pipeline.rules.accounting import DayTotals, HourAccount
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.engines.memory_catalog import MemoryCatalog
from event_pipeline_tests.engines.memory_store import MemoryStore
from event_pipeline_tests.pipeline import HOUR

# --- Stores -------------------------------------------------------------------------------------------------------


def file_store(root: Path) -> FileStore:
    """A store over a data folder."""
    return FileStore(root / "lake", Layout(root), 10)


@pytest.fixture(params=["files", "bucket", "prefix of a bucket", "memory"])
def store(request: pytest.FixtureRequest, root: Path) -> Store:
    """One store that holds nothing."""
    match request.param:
        case "files":
            return file_store(root)
        case "memory":
            return MemoryStore()
        case place:
            settings: Settings = request.getfixturevalue("settings")
            return Bucket(Aws(settings), settings.lake_bucket, "below/it/" if place.startswith("prefix") else "")


def keys(store: Store, prefix: str) -> list[str]:
    return [each.key for each in store.list(prefix)]


def test_what_is_written_is_read_and_listed_with_one_version(store: Store) -> None:
    before = datetime.now(UTC)
    store.write("a/b.json", b"one")
    content, version = store.read("a/b.json") or (b"", "")
    (listed,) = store.list("a/")
    assert content == b"one"
    assert (listed.key, listed.version, listed.size) == ("a/b.json", version, 3)
    assert abs((listed.modified - before).total_seconds()) < 60
    store.write("a/b.json", b"two!")
    again, other = store.read("a/b.json") or (b"", "")
    assert again == b"two!"
    assert other != version


def test_what_is_not_there_is_none(store: Store, tmp_path: Path) -> None:
    assert store.read("a/b.json") is None
    assert keys(store, "a/") == []
    assert not store.download("a/b.json", tmp_path / "copy")
    store.delete(["a/b.json", "c"])
    store.write("a/b.json", b"x")
    assert store.read("a/b") is None


def test_a_listing_has_the_keys_of_a_prefix_in_order(store: Store) -> None:
    written = ["a/b/1", "a/b-c/2", "a/b/10", "a/bb", "a.b", "ab/1", "a/b/2/x", "á/1"]
    for key in written:
        store.write(key, b"")
    assert keys(store, "") == sorted(written, key=str.encode)
    assert keys(store, "a/") == ["a/b-c/2", "a/b/1", "a/b/10", "a/b/2/x", "a/bb"]
    assert keys(store, "a/b") == ["a/b-c/2", "a/b/1", "a/b/10", "a/b/2/x", "a/bb"]
    assert keys(store, "a/b/") == ["a/b/1", "a/b/10", "a/b/2/x"]
    assert keys(store, "a/b/1") == ["a/b/1", "a/b/10"]
    assert keys(store, "b") == []


def test_a_listing_of_very_many_is_whole(store: Store) -> None:
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda number: store.write(f"many/{number:04}", b""), range(1_203)))
    assert keys(store, "many/") == [f"many/{number:04}" for number in range(1_203)]
    store.delete(f"many/{number:04}" for number in range(1, 1_203))
    assert keys(store, "many/") == ["many/0000"]


def test_parts_of_an_object_can_be_read(store: Store, tmp_path: Path) -> None:
    body = bytes(range(256)) * 10
    store.write("parts", body)
    with store.open("parts", len(body)) as content:
        content.seek(-4, 2)
        assert content.read() == body[-4:]
        content.seek(100)
        assert content.read(10) == body[100:110]
        assert content.tell() == 110
    assert store.download("parts", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == body


def test_a_file_becomes_an_object_whatever_was_there(store: Store, tmp_path: Path) -> None:
    for body in (b"first", b"second"):
        file = tmp_path / "file"
        file.write_bytes(body)
        store.take("deep/er/object", file)
        assert (store.read("deep/er/object") or (None,))[0] == body


def test_a_replacement_needs_the_version_that_is_there(store: Store) -> None:
    assert not store.replace("record", b"x", "7")
    assert store.read("record") is None
    assert store.replace("record", b"one", None)
    assert not store.replace("record", b"other", None)
    _, first = store.read("record") or (b"", "")
    assert store.replace("record", b"two", first)
    assert not store.replace("record", b"late", first)
    content, second = store.read("record") or (b"", "")
    assert content == b"two"
    store.delete(["record"])
    assert not store.replace("record", b"gone", second)
    assert store.replace("record", b"anew", None)


def test_versions_of_writes_in_one_moment_differ(store: Store) -> None:
    store.write("record", b"0")
    seen = set()
    for number in range(50):
        _, version = store.read("record") or (b"", "")
        seen.add(version)
        assert store.replace("record", f"{number + 1}".encode(), version)
        assert not store.replace("record", b"late", version)
    assert len(seen) == 50


@pytest.mark.parametrize("present", [None, b"old"], ids=["nothing there", "something there"])
def test_of_many_that_replace_one_version_exactly_one_does(store: Store, present: bytes | None) -> None:
    version = None
    if present is not None:
        store.write("record", present)
        _, version = store.read("record") or (b"", "")
    barrier = threading.Barrier(8)

    def work(number: int) -> bool:
        barrier.wait()
        return store.replace("record", f"by {number}".encode(), version)

    with ThreadPoolExecutor(8) as workers:
        told = list(workers.map(work, range(8)))
    assert told.count(True) == 1
    assert (store.read("record") or (None,))[0] == f"by {told.index(True)}".encode()


def test_a_reader_sees_a_whole_write_or_the_one_before(store: Store) -> None:
    bodies = {bytes([letter]) * 200_000 for letter in b"ab"}
    store.write("record", min(bodies))
    done, found = threading.Event(), set()

    def write() -> None:
        for number in range(20):
            store.write("record", sorted(bodies)[number % 2])
        done.set()

    with ThreadPoolExecutor(1) as writers:
        writing = writers.submit(write)
        while not done.is_set():
            found.add((store.read("record") or (b"nothing",))[0])
            assert keys(store, "rec") == ["record"]
        writing.result()
    assert found <= bodies


def test_the_draft_of_a_killed_write_is_no_object(root: Path) -> None:
    store = file_store(root)
    store.write("a/record", b"whole")
    (root / "lake" / "a" / f".record.{'0' * 32}").write_bytes(b"half")
    assert keys(store, "") == ["a/record"]


@pytest.mark.parametrize("how", ["write", "replace", "take"])
def test_what_a_folder_stores_survives_a_power_cut_once_the_call_has_ended(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    store, body, path = file_store(root), b"content", root / "lake" / "a" / "b" / "record"
    if how == "replace":
        store.write("a/b/record", b"old")
    on_disk, named = dict[int, int | dict[str, int]](), list[bool]()
    fsync, replace_file = os.fsync, os.replace

    def watched_fsync(handle: int) -> None:
        status, place = os.fstat(handle), Path(os.readlink(f"/proc/self/fd/{handle}"))
        names = {each.name: each.stat().st_ino for each in place.iterdir()} if place.is_dir() else status.st_size
        on_disk[status.st_ino] = names
        fsync(handle)

    def watched_replace(source: Any, target: Any) -> None:
        if target == path:
            named.append(on_disk.get(Path(source).stat().st_ino) == len(body))
        replace_file(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    match how:
        case "write":
            store.write("a/b/record", body)
        case "replace":
            assert store.replace("a/b/record", body, (store.read("a/b/record") or (b"", ""))[1])
        case "take":
            (tmp_path / "file").write_bytes(body)
            store.take("a/b/record", tmp_path / "file")
    file = path.stat().st_ino
    assert on_disk[file] == len(body)
    for child in (path, path.parent, path.parent.parent)[: 1 if how == "replace" else 3]:
        names = on_disk[child.parent.stat().st_ino]
        assert isinstance(names, dict)
        assert names[child.name] == child.stat().st_ino
    # A record gets its name when its bytes are on the disk; what is taken is named by no record yet.
    assert named == [how != "take"]


def test_versions_in_a_folder_differ_within_one_tick_of_its_clock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, given = file_store(root), set[int]()
    fsync, utime = os.fsync, os.utime

    def watched_utime(handle: Any, ns: tuple[int, int]) -> None:
        given.add(os.fstat(handle).st_ino)
        utime(handle, ns=ns)

    def coarse_fsync(handle: int) -> None:
        # A file system that knows days only, unless somebody says when a file was changed.
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and status.st_ino not in given:
            utime(handle, (status.st_mtime // 86_400 * 86_400,) * 2)
        fsync(handle)

    monkeypatch.setattr(os, "utime", watched_utime)
    monkeypatch.setattr(os, "fsync", coarse_fsync)
    seen, version = set[str](), None
    for number in range(5):
        assert store.replace("record", f"{number}".encode(), version)
        _, version = store.read("record") or (b"", "")
        seen.add(version)
    assert len(seen) == 5


def test_who_replaces_a_file_while_another_one_does_waits_and_finds_it_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told, reached = file_store(root), dict[str, bool](), threading.Event()
    put, lock = FileStore._put, Layout.lock

    def replace_too() -> None:
        told["other"] = store.replace("record", b"other", None)
        reached.set()

    other = threading.Thread(target=replace_too)

    def interrupted_put(self: FileStore, *arguments: Any) -> None:
        if threading.current_thread() is not other:
            other.start()
            assert reached.wait(60)
        put(self, *arguments)

    def noted_lock(self: Layout, *arguments: Any) -> Any:
        if threading.current_thread() is other:
            try:
                with lock(self, str(arguments[0]), 0):
                    pass
            except LockTimeoutError:
                # Only now: it waits, and does not merely come by.
                reached.set()
        return lock(self, *arguments)

    monkeypatch.setattr(FileStore, "_put", interrupted_put)
    monkeypatch.setattr(Layout, "lock", noted_lock)
    told["first"] = store.replace("record", b"first", None)
    other.join(60)
    assert told == {"first": True, "other": False}
    assert (store.read("record") or (None,))[0] == b"first"


def test_a_lock_of_a_folder_is_held_and_given_back(root: Path) -> None:
    store, others = file_store(root), FileStore(root / "lake", Layout(root), 0)
    with store.exclusive("hours/x"):
        with pytest.raises(LockTimeoutError), others.exclusive("hours/x"):
            pass
        with others.exclusive("hours/y"):
            pass
    with others.exclusive("hours/x"):
        pass


# --- Catalogs -----------------------------------------------------------------------------------------------------


GOLD = load_gold_tables()[0]
DAY = date(2025, 12, 7)


def totals(events: int) -> DayTotals:
    return DayTotals({"page_view": events}, revenue=Decimal("12.50"))


def file(table: str, path: str, rows: int) -> DataFile:
    return DataFile(table, path, rows, 100, "0" * 64)


def hour_commit(hour: Hour, build: str) -> HourCommit:
    run = f"runs/hours/{hour.hive_path}/{build}"
    files = (
        file(SILVER_EVENTS.full_name, f"{run}/events/events-0.parquet", 3),
        file(HOUR_LEDGER.full_name, f"{run}/ledger/ledger.parquet", 1),
    )
    account = HourAccount((), {"2025-12-06": totals(1), "2025-12-07": totals(2)})
    return HourCommit(hour, build, datetime(2025, 12, 8, tzinfo=UTC), "rules", account, files)


def partial_commit(hour: Hour, build: str, silver: str) -> PartialCommit:
    path = f"runs/partials/{GOLD.name}/{hour.hive_path}/{build}/rows.parquet"
    files = (file(partial_table(GOLD.name), path, 2),)
    when = datetime(2025, 12, 8, tzinfo=UTC)
    return PartialCommit(GOLD.name, hour, build, when, silver, "sql", {"2025-12-07": 2}, files)


def day_commit(day: date, build: str, partials: dict[str, str]) -> DayCommit:
    path = f"runs/days/{GOLD.name}/event_date={day}/{build}/rows.parquet"
    files = (file(gold_table(GOLD.name), path, 4),)
    return DayCommit(GOLD.name, day, build, datetime(2025, 12, 8, tzinfo=UTC), "sql", partials, files)


def empty_catalog(root: Path) -> SqliteCatalog:
    """A local catalog that shows nothing."""
    root.mkdir(parents=True, exist_ok=True)
    catalog = SqliteCatalog(root / "catalog.sqlite")
    catalog.create()
    catalog.fill(())
    return catalog


@pytest.fixture(params=["sqlite", "glue", "memory"])
def catalog(request: pytest.FixtureRequest, root: Path) -> Catalog[Any]:
    """One catalog that shows nothing, with its tables."""
    found: Catalog[Any]
    match request.param:
        case "sqlite":
            found = empty_catalog(root)
        case "glue":
            settings: Settings = request.getfixturevalue("settings")
            found = GlueCatalog(Aws(settings), settings)
        case _:
            found = MemoryCatalog()
    for table in HOUR_TABLES:
        found.ensure(table)
    found.ensure_gold(GOLD)
    return found


def show(catalog: Catalog[Any], *commits: Commit) -> None:
    catalog.change([entry for commit in commits for entry in catalog.entries_of(commit)], ())


def test_what_is_shown_is_read_whole_and_agrees_with_its_commit(catalog: Catalog[Any]) -> None:
    commits = hour_commit(HOUR, "b1"), partial_commit(HOUR, "p1", "b1"), day_commit(DAY, "d1", {HOUR.hive_path: "p1"})
    show(catalog, *commits)
    for commit in commits:
        for wanted in catalog.entries_of(commit):
            present = catalog.get(wanted.table, [wanted.partition])[wanted.partition]
            assert catalog.differences(wanted, present) == []
            assert (present.build_id, present.version) == (wanted.build_id, wanted.version) != ("", "")
            assert present.made_from == wanted.made_from
    partial = catalog.get(partial_table(GOLD.name), [HOUR.hive_path])[HOUR.hive_path]
    day = catalog.get(gold_table(GOLD.name), ["event_date=2025-12-07"])["event_date=2025-12-07"]
    assert (partial.made_from, sorted(partial.days)) == ("b1", [DAY])
    assert day.partials == {HOUR.hive_path: "p1"}


def test_one_entry_of_an_hour_has_its_control_totals(catalog: Catalog[Any]) -> None:
    show(catalog, hour_commit(HOUR, "b1"))
    bearing = [
        entry.days
        for table in (SILVER_EVENTS, HOUR_LEDGER)
        for entry in catalog.entries(table.full_name, HourRange.of([HOUR]))
        if entry.days
    ]
    assert bearing == [{date(2025, 12, 6): totals(1), DAY: totals(2)}]


def test_a_retired_hour_is_shown_by_its_ledger_alone_which_has_the_totals(catalog: Catalog[Any]) -> None:
    whole = hour_commit(HOUR, "b1")
    retired = replace(whole, files=whole.files[1:], retired_at=datetime(2026, 12, 8, tzinfo=UTC))
    (entry,) = catalog.entries_of(retired)
    catalog.change([entry], ())
    found = catalog.get(HOUR_LEDGER.full_name, [HOUR.hive_path])[HOUR.hive_path]
    assert found.days == {date(2025, 12, 6): totals(1), DAY: totals(2)}
    assert catalog.get(SILVER_EVENTS.full_name, [HOUR.hive_path]) == {}


def test_another_build_is_told_from_the_one_that_is_shown(catalog: Catalog[Any]) -> None:
    show(catalog, hour_commit(HOUR, "b1"))
    for wanted in catalog.entries_of(hour_commit(HOUR, "b2")):
        present = catalog.get(wanted.table, [wanted.partition])[wanted.partition]
        assert present.build_id == "b1"
        assert catalog.differences(wanted, present) != []
    show(catalog, hour_commit(HOUR, "b2"))
    assert [entry.build_id for entry in catalog.entries(SILVER_EVENTS.full_name)] == ["b2"]


def test_showing_and_forgetting_again_change_nothing(catalog: Catalog[Any]) -> None:
    show(catalog, hour_commit(HOUR, "b1"))
    show(catalog, hour_commit(HOUR, "b1"))
    places = [(table.full_name, HOUR.hive_path) for table in HOUR_TABLES]
    catalog.change((), places)
    catalog.change((), places)
    assert catalog.everything([table.full_name for table in HOUR_TABLES], None) == {}


def test_one_change_shows_and_forgets(catalog: Catalog[Any]) -> None:
    later = HOUR.plus(1)
    show(catalog, hour_commit(HOUR, "b1"))
    catalog.change(
        catalog.entries_of(hour_commit(later, "b2")), [(table.full_name, HOUR.hive_path) for table in HOUR_TABLES]
    )
    for table in HOUR_TABLES:
        found = [(entry.partition, entry.build_id) for entry in catalog.entries(table.full_name)]
        assert found == [(later.hive_path, "b2")]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (lambda hours: None, [0, 1, 2, 3, 4]),
        (lambda hours: HourRange.of(hours[1:4]), [1, 2, 3]),
        (lambda hours: HourRange.of(hours[4:]), [4]),
        (lambda hours: HourRange.of([hours[4].plus(1)]), []),
    ],
    ids=["all", "some", "last", "none"],
)
def test_entries_are_in_order_and_bounded_by_hours(
    catalog: Catalog[Any], bounds: Callable[[list[Hour]], HourRange | None], expected: list[int]
) -> None:
    # Over the ends of a day, a month and a year.
    hours = [Hour.parse(text) for text in ("2025-11-30T23", "2025-12-07T22", "2025-12-07T23", "2025-12-31T23")]
    hours.append(Hour.parse("2026-01-01T00"))
    show(catalog, *(hour_commit(hour, f"b{number}") for number, hour in reversed(list(enumerate(hours)))))
    found = catalog.entries(SILVER_EVENTS.full_name, bounds(hours))
    assert [entry.build_id for entry in found] == [f"b{number}" for number in expected]
    whole = catalog.everything([SILVER_EVENTS.full_name], bounds(hours))
    assert sorted(entry.build_id for (table, _), entry in whole.items() if table == SILVER_EVENTS.full_name) == [
        f"b{number}" for number in expected
    ]


def test_days_are_bounded_with_both_ends_in(catalog: Catalog[Any]) -> None:
    days = [date(2025, 12, number) for number in (6, 7, 8, 9)]
    show(catalog, *(day_commit(day, f"d{day.day}", {HOUR.hive_path: "p1"}) for day in days))
    found = catalog.entries(gold_table(GOLD.name), days=(days[1], days[2]))
    assert [(entry.build_id, entry.partials) for entry in found] == [
        ("d7", {HOUR.hive_path: "p1"}),
        ("d8", {HOUR.hive_path: "p1"}),
    ]


def test_an_entry_keeps_the_files_of_its_commit_from_being_removed(catalog: Catalog[Any]) -> None:
    commits = hour_commit(HOUR, "b1"), partial_commit(HOUR, "p1", "b1"), day_commit(DAY, "d1", {})
    show(catalog, *commits)
    tables = [*(each.full_name for each in HOUR_TABLES), partial_table(GOLD.name), gold_table(GOLD.name)]
    shown = catalog.everything(tables, None)
    needed = [path for entry in shown.values() for path in catalog.needed(entry)]
    for commit in commits:
        for each in commit.files:
            assert any(each.path == path or (path.endswith("/") and each.path.startswith(path)) for path in needed)
    assert not any("runs/hours/other/".startswith(path) for path in needed)


def test_many_hours_are_changed_in_one_call(catalog: Catalog[Any]) -> None:
    hours = [HOUR.plus(number) for number in range(130)]
    show(catalog, *(hour_commit(hour, "b1") for hour in hours))
    show(catalog, *(hour_commit(hour, "b2") for hour in hours[:120]))
    found = catalog.get(SILVER_EVENTS.full_name, [hour.hive_path for hour in [*hours, HOUR.plus(-1)]])
    assert [found[hour.hive_path].build_id for hour in hours] == ["b2"] * 120 + ["b1"] * 10
    assert len(found) == 130


def test_a_glue_partition_that_another_process_added_meanwhile_is_repointed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = GlueCatalog(Aws(settings), settings)
    catalog.ensure(HOUR_LEDGER)
    for build in ("b1", "b2"):
        (ledger,) = (
            each for each in catalog.entries_of(hour_commit(HOUR, build)) if each.table == HOUR_LEDGER.full_name
        )
        with monkeypatch.context() as patched:
            # What is there when it looks; the other one's is added before its own.
            patched.setattr(catalog, "get", lambda *_: {})
            catalog.change([ledger], ())
    assert catalog.get(ledger.table, [HOUR.hive_path])[HOUR.hive_path].build_id == "b2"


def test_a_change_of_the_local_catalog_that_fails_changes_nothing(root: Path) -> None:
    catalog, later = empty_catalog(root), HOUR.plus(1)
    show(catalog, hour_commit(HOUR, "b1"))
    entries = catalog.entries_of(hour_commit(later, "b2"))
    torn = replace(entries[-1], rows=entries[-1].rows | {("partition", (*entries[-1]._shown[:5], None))})
    with pytest.raises(StorageError):
        catalog.change([*entries[:-1], torn], [(table.full_name, HOUR.hive_path) for table in HOUR_TABLES])
    for table in HOUR_TABLES:
        assert [(each.partition, each.build_id) for each in catalog.entries(table.full_name)] == [
            (HOUR.hive_path, "b1")
        ]


def test_a_local_catalog_that_is_not_filled_yet_answers_nothing(root: Path) -> None:
    root.mkdir(parents=True)
    catalog = SqliteCatalog(root / "catalog.sqlite")
    catalog.create()
    for ask in (
        lambda: catalog.entries(SILVER_EVENTS.full_name),
        lambda: catalog.everything([SILVER_EVENTS.full_name], None),
        lambda: show(catalog, hour_commit(HOUR, "b1")),
    ):
        with pytest.raises(TransientError, match="removed or replaced while in use"):
            ask()
