"""Building a landing hour: once, twice, again, beside itself, half way, and when it must refuse."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from event_pipeline.engines.host import pool_builder
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import (
    BrokenLawError,
    LayoutVersionError,
    LockTimeoutError,
    StorageError,
    TransientError,
    UnexpectedError,
)
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.accounting import ObjectAccount
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.validation import Sink, judge_stored_object
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, rows, write_object


def test_the_first_of_equal_records_by_object_and_line_stays(engine: LocalEngine, root: Path) -> None:
    # The one that stays is behind the other's line; of those in one object, only an unknown field tells which it is.
    first = write_object(root, HOUR, 0, [event(second=1, nth=1), event(second=1, nth=2), event(second=5)])
    second = write_object(root, HOUR, 5, [event(second=9), event(second=5, price=3, timestamp="2025-12-07T22:00:05Z")])
    (built,) = build(engine, [HOUR])
    assert [(each.key, each.duplicates, each.silver_rows) for each in built.commit.account.objects] == [
        (first, 1, 2),
        (second, 1, 1),
    ]
    assert_agrees_with_oracle(engine, root)


def test_records_of_one_whole_second_are_told_apart_by_their_fields(engine: LocalEngine, root: Path) -> None:
    """Every record shares its instant with others, within its object and across objects; four repeat another."""
    crowd = [event(second=number % 2, user_id=f"u_{number:05}") for number in range(200)]
    same_user = [event(second=0, user_id="u_90000", session_id=f"s_{number}") for number in range(20)]
    first = write_object(root, HOUR, 0, [*crowd[:100], crowd[7]])
    second = write_object(root, HOUR, 5, [*same_user, *crowd[100:], crowd[11]])
    third = write_object(root, HOUR, 10, [crowd[150], same_user[3], event(second=1, user_id="u_90001")])
    (built,) = build(engine, [HOUR])
    assert [(each.key, each.duplicates, each.silver_rows) for each in built.commit.account.objects] == [
        (first, 1, 100),
        (second, 1, 120),
        (third, 2, 1),
    ]
    assert_agrees_with_oracle(engine, root)


def test_of_many_small_objects_the_first_the_unreadable_and_the_last_have_a_line_of_progress(
    engine: LocalEngine, root: Path
) -> None:
    for number in range(6):
        write_object(root, HOUR, 5 * number, b"no gzip" if number == 3 else [event(second=300 * number)])
    lines = list[str]()
    list(engine.build_silver([HOUR], progress=lines.append))
    told = [line for line in lines if "object " in line]
    assert [line.split(": ")[1] for line in told] == ["object 1 of 6", "object 4 of 6", "object 6 of 6"]


def test_silver_is_one_file_per_hour_with_the_contracts_types(engine: LocalEngine, root: Path) -> None:
    for minute in (0, 5, 10):
        write_object(root, HOUR, minute, [event(second=minute * 60), purchase(second=minute * 60 + 1)])
    (built,) = build(engine, [HOUR])
    (file,) = built.commit.files_of("silver.events")
    metadata = pq.read_metadata(root / "lake" / file.path)
    assert (metadata.num_rows, metadata.num_row_groups) == (6, 1)
    columns = {metadata.schema.column(i).name: metadata.schema.column(i) for i in range(metadata.num_columns)}
    assert {name: column.physical_type for name, column in columns.items()} == {
        "event_ts": "INT64",
        "event_date": "INT32",
        "event_hour": "INT32",
        "user_id": "BYTE_ARRAY",
        "session_id": "BYTE_ARRAY",
        "event_type": "BYTE_ARRAY",
        "product_id": "BYTE_ARRAY",
        "category": "BYTE_ARRAY",
        "quantity": "INT32",
        "price": "INT64",
        "revenue": "INT64",
        "search_query": "BYTE_ARRAY",
        "rescued": "BYTE_ARRAY",
        "source_object": "BYTE_ARRAY",
    }
    assert str(columns["price"].logical_type) == "Decimal(precision=10, scale=2)"
    assert "milliseconds" in str(columns["event_ts"].logical_type)


def test_a_full_silver_file_is_followed_by_another(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_builder, "ROW_GROUP_ROWS", 1)
    monkeypatch.setattr(pool_builder, "FILE_BYTES", 1)
    for minute in (0, 5, 10):
        write_object(root, HOUR, minute, [event(second=minute * 60)])
    (built,) = build(engine, [HOUR])
    assert [file.rows for file in built.commit.files_of("silver.events")] == [1, 1, 1]
    assert_agrees_with_oracle(engine, root)


@pytest.mark.parametrize("rename", [False, True], ids=["in place", "by a rename"])
def test_an_object_replaced_while_it_is_read_is_a_passing_fault(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch, rename: bool
) -> None:
    key = write_object(root, HOUR, 0, [event()])

    def replaced_meanwhile(stored: BinaryIO, sink: Sink, **named: Any) -> ObjectAccount:
        if rename:
            # What is open stays as it was: only the path tells of it.
            (root / "raw" / key).rename(root / "old")
        write_object(root, HOUR, 0, [event(second=1)])
        return judge_stored_object(stored, sink, **named)

    monkeypatch.setattr(pool_builder, "judge_stored_object", replaced_meanwhile)
    with pytest.raises(TransientError, match=key):
        build(engine, [HOUR])
    assert engine.hour_commit(HOUR) is None
    assert not any((root / "lake" / "runs").rglob("*.parquet"))


def test_records_that_do_not_add_up_are_never_published(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_object(root, HOUR, 0, [event(), event(second=1)])
    original = pool_builder._HourWriter._write
    monkeypatch.setattr(pool_builder._HourWriter, "_write", lambda writer, rows: original(writer, rows[:1]))
    with pytest.raises(BrokenLawError, match="2 records, but 2 Silver rows"):
        build(engine, [HOUR])
    assert engine.hour_commit(HOUR) is None
    assert not any((root / "lake" / "runs").rglob("*.parquet"))


def test_a_rebuild_that_fails_leaves_the_published_hour(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    before = rows(engine, "FROM silver.events")
    write_object(root, HOUR, 5, [event(second=300)])
    with monkeypatch.context() as patch:
        patch.setattr(pool_builder, "day_totals", lambda _: 1 / 0)
        with pytest.raises(UnexpectedError, match="ZeroDivisionError: division by zero"):
            build(engine, [HOUR])
    assert rows(engine, "FROM silver.events") == before
    build(engine, [HOUR])
    assert_agrees_with_oracle(engine, root)


def build_in_process(root: Path, hours: list[str]) -> None:
    """Build hours the whole way in another process."""
    build(LocalEngine(load_settings(root=root, workers=1)), [Hour.parse(hour) for hour in hours])


def test_waiting_for_another_process_ends_with_a_clear_error(root: Path, settings: Settings) -> None:
    write_object(root, HOUR, 0, [event()])
    impatient = LocalEngine(settings.model_copy(update={"lock_timeout_seconds": 0.1}))
    lock = root / "locks" / "hours" / f"{HOUR}.lock"
    lock.parent.mkdir(parents=True)
    code = "import sys, filelock; l = filelock.FileLock(sys.argv[1]); l.acquire(); print('held', flush=True); input()"
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockTimeoutError, match=rf"hours/{HOUR}.*EVENT_PIPELINE_LOCK_TIMEOUT_SECONDS"):
            build(impatient, [HOUR])
        holder.communicate(b"\n")
    build(impatient, [HOUR])
    assert_agrees_with_oracle(impatient, root)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from event_pipeline_tests.engines.test_local_silver import build_in_process

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
build_in_process(Path(sys.argv[1]), [sys.argv[2]])
"""


def test_a_disk_that_takes_no_more_leaves_the_published_hour(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    before = rows(engine, "FROM silver.events")
    generate(root / "raw", [HOUR], GeneratorOptions(events_per_file=3000, files_per_hour=3))
    failed = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(root), str(HOUR), "20000"], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    # Whichever file meets the limit first: SQLite names no cause of its own.
    reasons = ("nothing of this step was published", "catalog.sqlite: the disk is full or failed")
    assert any(reason in failed.stderr.splitlines()[-1] for reason in reasons)
    assert rows(engine, "FROM silver.events") == before
    assert list((root / "scratch").iterdir()) == []


@pytest.mark.parametrize("fails_at", range(1, 7))
def test_a_disk_that_fails_where_scratch_rows_are_read_says_so(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    for minute in (0, 5):
        write_object(root, HOUR, minute, [event(), event(), purchase(second=1)])
    opened, times = pa.memory_map, count(1)

    def fails(path: str, *mode: str) -> Any:
        if next(times) == fails_at:
            raise OSError(errno.EIO, f"Failed to open local file {path!r}")
        return opened(path, *mode)

    monkeypatch.setattr(pa, "memory_map", fails)
    with pytest.raises(TransientError, match="the disk failed to read or write") as raised:
        build(engine, [HOUR])
    assert "Traceback" not in str(raised.value)
    build(engine, [HOUR])
    assert_agrees_with_oracle(engine, root)


def test_a_folder_of_another_layout_is_left_alone(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    (root / "layout.json").write_text('{"layout": 99}')
    with pytest.raises(LayoutVersionError, match=r"layout 99, this version reads and writes layout 2"):
        build(engine, [HOUR])
    with pytest.raises(LayoutVersionError):
        engine.query("SELECT 1")
    assert not (root / "lake").exists()


def test_a_file_where_the_data_folder_should_be_is_a_clear_error(root: Path, settings: Settings) -> None:
    root.write_text("not a folder")
    with pytest.raises(StorageError, match="a file exists where a folder is needed"):
        build(LocalEngine(settings), [HOUR])


@pytest.mark.long
def test_validation_processes_end_with_the_process_that_started_them(root: Path) -> None:
    generate(root / "raw", [HOUR], GeneratorOptions(events_per_file=20_000, files_per_hour=12))
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from event_pipeline.engines.host import pool_builder\nfrom event_pipeline.engines.local import LocalEngine\n"
        "from event_pipeline.rules.hour import Hour\nfrom event_pipeline.settings import load_settings\n"
        "if __name__ == '__main__':\n"
        "    pool_builder.POOL_WORTH_BYTES = 0\n"
        "    engine = LocalEngine(load_settings(root=Path(sys.argv[1]), workers=2))\n"
        "    list(engine.build_silver([Hour.parse(sys.argv[2])], progress=lambda line: print(line, flush=True)))\n"
    )
    script = root / "build.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, str(script), str(root), str(HOUR)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"object 1 of 12" in process.stdout.readline()
        process.kill()
        # The workers hold the pipe's other end too: its end comes only once all of them are gone.
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
