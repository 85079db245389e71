"""`event-pipeline export`: what another tool finds in the snapshot."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from event_pipeline.cli import main
from event_pipeline.commands.options import ExitCode
from event_pipeline.lake import open_lake
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built data folder with an hour on each of two days."""
    root = tmp_path / "data"
    hours = (HOUR, HOUR.plus(3))
    for hour in hours:
        write_object(root, hour, 0, [event(hour), purchase(hour, 1, price=19.99, quantity=1)])
    build(open_lake(root, workers=1)._pipeline.engine, hours)
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(root))
    return tmp_path


def exported(*arguments: object) -> int:
    """Run the command and return its exit code."""
    with pytest.raises(SystemExit) as end:
        main(["export", *map(str, arguments)])
    return int(end.value.code or 0)


def test_a_duckdb_file_has_tables_rows_types_and_meanings(lake: Path) -> None:
    file = lake / "new" / "snapshot.duckdb"
    assert exported("--duckdb", file, "--with-silver") == ExitCode.OK
    with duckdb.connect(str(file), read_only=True) as connection:
        revenue = connection.sql("SELECT event_date, total_revenue FROM gold.hourly_revenue ORDER BY 1").fetchall()
        assert [(str(day), money) for day, money in revenue] == [
            ("2025-12-07", Decimal("19.99")),
            ("2025-12-08", Decimal("19.99")),
        ]
        assert connection.sql("SELECT count(*) FROM silver.events").fetchall() == [(4,)]
        meaning = "SELECT comment FROM duckdb_columns() WHERE table_name = 'events' AND column_name = 'event_ts'"
        assert "UTC" in connection.sql(meaning).fetchall()[0][0]
    assert [path.name for path in file.parent.iterdir()] == ["snapshot.duckdb"]


def test_a_parquet_folder_has_one_file_per_table_with_the_days_asked_for(lake: Path) -> None:
    folder = lake / "snapshot"
    assert exported("--parquet", folder, "--from", "2025-12-08") == ExitCode.OK
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
    assert files[-1] == "ops/hour_ledger.parquet"
    assert len(files) == 6
    rows = pq.read_table(folder / "gold" / "hourly_revenue.parquet").to_pylist()
    assert [(str(row["event_date"]), row["total_revenue"]) for row in rows] == [("2025-12-08", Decimal("19.99"))]
    assert pq.read_table(folder / "ops" / "hour_ledger.parquet").num_rows == 1


def test_what_exists_is_replaced_only_when_told_to(lake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for option, target in (("--duckdb", lake / "mine.duckdb"), ("--parquet", lake / "mine")):
        target.write_text("precious") if option == "--duckdb" else target.mkdir()
        assert exported(option, target) == ExitCode.USAGE
        assert "exists: choose another name, or replace it with --force" in capfd.readouterr().err
        assert exported(option, target, "--force") == ExitCode.OK
    assert (lake / "mine" / "gold" / "top_products.parquet").exists()
    (lake / "link").symlink_to(lake / "mine")
    assert exported("--parquet", lake / "link", "--force") == ExitCode.OK
    assert (lake / "link").is_symlink()
    for option, target in (
        ("--parquet", lake / "data"),
        ("--parquet", lake / "mine.duckdb"),
        ("--duckdb", lake / "mine"),
    ):
        before = sorted(lake.rglob("*"))
        assert exported(option, target, "--force") == ExitCode.USAGE
        assert sorted(lake.rglob("*")) == before
    said = capfd.readouterr().err
    assert "has something that no export wrote" in said
    assert f"--parquet {lake / 'mine.duckdb'} is no folder" in said
    assert f"--duckdb {lake / 'mine'} is a folder" in said
    assert not list(lake.glob(".*.draft"))


@pytest.mark.parametrize("arguments", [(), ("--duckdb", "a", "--parquet", "b"), ("--duckdb", "a", "--from", "soon")])
def test_wrong_usage_says_what_to_give(lake: Path, arguments: tuple[str, ...]) -> None:
    assert exported(*arguments) == ExitCode.USAGE
    assert not Path("a").exists()


def test_after_an_error_the_old_snapshot_stands_and_no_draft(lake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = lake / "mine.duckdb"
    assert exported("--duckdb", target) == ExitCode.OK
    before = target.read_bytes()
    for file in (lake / "data" / "lake").rglob("*.parquet"):
        if "hourly_revenue" in str(file):
            file.unlink()
    assert exported("--duckdb", target, "--force") == ExitCode.STORAGE
    assert "hourly_revenue" in capfd.readouterr().err
    assert target.read_bytes() == before
    assert not list(lake.glob(".*.draft"))
