"""The command line as people and scripts use it: what it prints, what it builds, how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow.parquet as pq
import pytest

from event_pipeline.cli import EXIT_CODES, main
from event_pipeline.commands import dev
from event_pipeline.commands.options import ExitCode
from event_pipeline.dagster_instance.prepare import DAGSTER_YAML
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import LockTimeoutError
from event_pipeline.generator.options import recent_hours
from event_pipeline.operations import runs
from event_pipeline.rules.contract import BRONZE_EVENTS, HOUR_TABLES
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
from event_pipeline_tests.command import Run
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, write_object

GOLD = ("category_performance", "conversion_funnel", "hourly_revenue", "top_products", "user_activity")


def start(root: Path, *command: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process over a data folder."""
    environment = os.environ | {"EVENT_PIPELINE_ROOT": str(root), "EVENT_PIPELINE_WORKERS": "1"}
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


@pytest.fixture(scope="module")
def built_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two built hours; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("built") / "data"
    for hour in (HOUR, HOUR.plus(1)):
        write_object(root, hour, 0, [event(hour), purchase(hour, 1), purchase(hour, 2, product_id="p_2"), b"no json"])
    build(LocalEngine(load_settings(root=root, workers=1)), [HOUR, HOUR.plus(1)])
    return root


@pytest.fixture
def built(built_root: Path, root: Path) -> Path:
    """A copy of that data folder."""
    shutil.copytree(built_root, root)
    return root


# -- end to end


@pytest.mark.long
def test_from_nothing_to_the_answers_and_their_proof(run: Run, root: Path) -> None:
    generated = run(
        "generate", "--start", "2025-12-07T22", "--hours", "3", "--events-per-file", "40", "--files-per-hour", "3",
        "--bad-share", "0.03", "--duplicate-share", "0.05",
    )  # fmt: skip
    assert generated.code == 0
    assert "9 raw objects, 360 readable records" in generated.out
    assert str(root / "raw") in generated.out

    first = run("run")
    assert first.code == 0
    assert "2025-12-07T22 to 2025-12-08T01 (3 hours): 3 built" in first.err
    for name in GOLD:
        assert f"gold.{name}" in first.out
    assert f"The data is in {root}" in first.out
    expected = assert_agrees_with_oracle(LocalEngine(load_settings(root=root, workers=1)), root)
    (row,) = [row for row in expected.gold["user_activity"] if str(row["event_date"]) == "2025-12-08"]
    assert "The answers of 2025-12-08" in first.out
    assert re.search(rf"\n +{row['unique_users']:,} +{row['unique_sessions']:,} +{row['total_events']:,} ", first.out)
    hour = expected.hours["2025-12-07T22"]
    assert f"2025-12-07T22  built         3       0      {hour.records}" in first.out

    second = run("run")
    assert second.code == 0
    assert "Nothing to build: every closed hour is up to date." in second.out
    assert "gold.user_activity" in second.out

    write_object(root, HOUR, 59, [event(second=3_500)])
    third = run("run")
    assert (third.code, "2025-12-07T22 to 2025-12-07T23 (1 hour" in third.err) == (0, True)
    assert "expected_objects: The hour has 4 raw objects instead of the expected 12" in third.err

    proven = run("verify")
    assert proven.code == 0
    assert "Proven for 3 hours (2025-12-07T22 to 2025-12-08T01) and 361 records" in proven.out
    status = json.loads(run("status", "--format", "json").out)
    assert [(each["state"], each["last_run"]) for each in status["hours"]] == [("ready", None)] * 3
    assert run("doctor").code == 0


@pytest.mark.long
def test_a_range_goes_through_quiet_hours_and_force_builds_again(run: Run, root: Path) -> None:
    for hour in (HOUR, HOUR.plus(2)):
        write_object(root, hour, 0, [event(hour), event(hour, 1)])
    first = run("run", "--from", "2025-12-07T22", "--to", "2025-12-08T01")
    assert first.code == 0
    assert "3 built" in first.err
    assert "warn  2025-12-07T23 raw_events, expected_objects" in first.err
    assert [line.split()[:2] for line in first.out.splitlines() if line.startswith(" 2025-")] == [
        [str(hour), "built"] for hour in (HOUR, HOUR.plus(1), HOUR.plus(2))
    ]
    again = run("run", "--from", "2025-12-07T22", "--to", "2025-12-07T23")
    assert "1 unchanged" in again.err
    forced = run("run", "--from", "2025-12-07T22", "--to", "2025-12-07T23", "--force")
    assert "1 built" in forced.err


@pytest.mark.long
def test_a_failing_range_does_not_stop_the_others(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_HOURS_PER_RUN", "1")
    for hour in (HOUR, HOUR.plus(1)):
        write_object(root, hour, 0, [event(hour)])
    in_the_way = root / "lake" / "runs" / "hours" / HOUR.hive_path
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the builds of the hour must lie")
    ended = run("run")
    assert ended.code == ExitCode.NOT_HELD
    assert re.search(rf"failed {HOUR} to .*: silver_events: {in_the_way}.*a file exists where a folder is", ended.err)
    assert f"{HOUR.plus(1)} to {HOUR.plus(2)}" in ended.err
    assert "Traceback" not in ended.err
    assert re.search(rf" {HOUR} +not built", ended.out)
    assert LocalEngine(load_settings(root=root)).registered_builds().keys() == {HOUR.plus(1)}
    assert '"last_run": "failed"' in run("status", "--format", "json").out


@pytest.mark.long
def test_an_error_check_ends_with_1_although_the_hour_is_published(run: Run, root: Path) -> None:
    write_object(root, HOUR, 0, b"")
    write_object(root, HOUR, 5, [event(second=300)])
    ended = run("run")
    assert ended.code == ExitCode.NOT_HELD
    assert re.search(r"error 2025-12-07T22 silver_events, unreadable_objects: .*: zero_bytes", ended.err)
    assert "1 built" in ended.err


def test_an_hour_with_lost_objects_is_refused_named_and_rebuilt_on_an_explicit_word(run: Run, root: Path) -> None:
    for minute in (0, 5):
        write_object(root, HOUR, minute, [event(second=60 * minute)])
    build(LocalEngine(load_settings(root=root, workers=1)), [HOUR])
    (root / "raw" / HOUR.raw_key(HOUR.start)).unlink()

    due = run("run")
    assert due.code == 0
    assert "Skipped, because raw objects that they were built from are lost: 1 hour (2025-12-07T22)" in due.err
    asked = run("run", "--from", "2025-12-07T22", "--to", "2025-12-07T23")
    assert asked.code == ExitCode.REFUSED
    assert "--allow-lost-objects" in asked.err
    engine = LocalEngine(load_settings(root=root))
    assert engine.query("SELECT count(*) AS n FROM silver.events").to_pylist() == [{"n": 2}]

    allowed = run("run", "--from", "2025-12-07T22", "--to", "2025-12-07T23", "--allow-lost-objects")
    assert allowed.code == 0
    assert engine.query("SELECT count(*) AS n FROM silver.events").to_pylist() == [{"n": 1}]


def test_hours_whose_raw_objects_have_all_expired_stay_published(run: Run, built: Path) -> None:
    shutil.rmtree(built / "raw" / HOUR.raw_prefix)
    ended = run("run", "--from", "2025-12-07T22", "--to", "2025-12-07T23")
    assert ended.code == 0
    assert "Left as published, because all their raw objects are lost: 1 hour (2025-12-07T22)" in ended.err


def test_raw_objects_before_the_first_partition_are_named_and_left(run: Run, root: Path) -> None:
    early = Hour.parse("2025-10-31T23")
    key = write_object(root, early, 0, [event(early)])
    ended = run("run")
    assert ended.code == 0
    assert "Not read, 1 key: before the first partition 2025-11-01T00: set EVENT_PIPELINE_FIRST_PARTITION" in ended.err
    assert key in ended.err


def test_run_names_files_beside_events_and_ends_with_what_to_type_next(run: Run, root: Path) -> None:
    (root / "raw" / "monday").mkdir(parents=True)
    (root / "raw" / "events-20251207-220000.jsonl.gz").touch()
    ended = run("run")
    assert ended.code == 0
    assert "Not read, 2 keys: not under events/: `event-pipeline import` places files by the time" in ended.err
    assert "  events-20251207-220000.jsonl.gz\n  monday/\n" in ended.err
    last = ended.out.split("\nNext\n")[1].splitlines()
    assert [line.split()[:2] for line in last][-1] == ["event-pipeline", "dev"]


@pytest.mark.parametrize(
    "hour",
    [
        "0001-01-01T00",
        *(pytest.param(hour, marks=pytest.mark.long) for hour in ("1970-01-01T00", "2300-06-01T12", "9999-12-31T23")),
    ],
)
def test_an_object_of_an_hour_that_cannot_be_disturbs_no_command(run: Run, built: Path, hour: str) -> None:
    path = built / "raw" / f"{Hour.parse(hour).raw_prefix}minute=00/events-20251207-220000.jsonl.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    key = path.relative_to(built / "raw").as_posix()
    for arguments in (["run"], ["status"], ["verify"]):
        ended = run(*arguments)
        assert ended.code == 0, ended.err
        assert key in ended.out + ended.err
        assert len(ended.out.splitlines()) < 120
    alerts = run("alerts")
    assert alerts.code == ExitCode.NOT_HELD
    assert "1 key is not read" in alerts.out
    assert run("repair").code == 0
    assert run("doctor").code == 0
    assert key in run("doctor").out
    status = json.loads(run("status", "--format", "json").out)
    assert [each["key"] for each in status["first_unmatched_keys"]] == [key]
    # What the messages advise, helps.
    path.unlink()
    assert "not read" not in run("status").out.lower()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--from", "0001-01-01T00", "--to", "9999-12-31T23"],
        ["verify", "--from", "0001-01-01T00", "--to", "9999-12-31T23"],
        ["repair", "--from", "0001-01-01T00", "--to", "9999-12-31T23"],
    ],
)
def test_a_range_over_the_whole_calendar_ends_soon(run: Run, built: Path, arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.code in (ExitCode.OK, ExitCode.USAGE), ended.err
    assert len(ended.out.splitlines()) < 400


def test_an_interrupt_ends_with_130_and_one_line(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    write_object(root, HOUR, 0, [event()])
    monkeypatch.setattr(runs, "run_range", interrupted)
    ended = run("run")
    assert ended.code == ExitCode.INTERRUPTED
    assert ended.err.splitlines()[-1] == "interrupted; nothing is left half done"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_tests_that_are_told_to_end_do_although_the_command_handles_it(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    def told(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signum)

    write_object(root, HOUR, 0, [event()])
    monkeypatch.setattr(runs, "run_range", told)
    before = signal.signal(signum, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run("run")
    finally:
        signal.signal(signum, before)


# -- generate


def test_generate_if_empty_does_nothing_where_there_are_raw_objects(run: Run, built: Path) -> None:
    before = sorted(path for path in (built / "raw").rglob("*"))
    ended = run("generate", "--if-empty", "--start", "2025-12-07T00")
    assert (ended.code, ended.out) == (0, "")
    assert "already holds raw objects" in ended.err
    assert sorted(path for path in (built / "raw").rglob("*")) == before


def test_generate_if_empty_adds_nothing_beside_files_that_are_not_read(run: Run, root: Path) -> None:
    stray = root / "raw" / "events" / "monday.jsonl.gz"
    stray.parent.mkdir(parents=True)
    stray.touch()
    ended = run("generate", "--if-empty", "--recent")
    assert (ended.code, ended.out) == (0, "")
    assert "holds files that are not read: nothing generated beside them" in ended.err
    assert "events/monday.jsonl.gz" in ended.err
    assert list((root / "raw").rglob("*.gz")) == [stray]


def test_recent_hours_end_with_the_last_closed_one_and_go_over_a_midnight(run: Run, root: Path) -> None:
    before = recent_hours(datetime.now(UTC))
    ended = run("generate", "--recent", "--files-per-hour", "1", "--events-per-file", "1")
    assert ended.code == 0
    written = {Hour.of_raw_key(path.relative_to(root / "raw").as_posix()) for path in (root / "raw").rglob("*.gz")}
    # The hour may turn meanwhile.
    assert written in (set(before), set(recent_hours(datetime.now(UTC))))

    for now, first, last in (
        ("2025-12-08T15:30", "2025-12-07T20", "2025-12-08T14"),
        ("2025-12-08T01:00", "2025-12-07T20", "2025-12-08T00"),
        ("2025-12-08T00:59", "2025-12-06T20", "2025-12-07T23"),
    ):
        hours = recent_hours(datetime.fromisoformat(now).replace(tzinfo=UTC))
        assert (str(hours.first), str(hours.last)) == (first, last)


def test_generate_live_writes_objects_of_the_present(run: Run, root: Path) -> None:
    ended = run("generate", "--live", "--every", "1", "--count", "1", "--events-per-file", "5")
    assert ended.code == 0
    (written,) = (root / "raw").rglob("*.jsonl.gz")
    hour = Hour.of_raw_key(written.relative_to(root / "raw").as_posix())
    assert hour in (Hour.containing(datetime.now(UTC)), Hour.containing(datetime.now(UTC)).plus(-1))
    assert f"{written.relative_to(root / 'raw')}: 5 records" in ended.err


@pytest.mark.long
def test_run_names_the_fields_that_producers_added(run: Run, root: Path) -> None:
    many = {f"extra_{number}": number for number in range(6)}
    write_object(root, HOUR, 0, [event(HOUR, 1, referrer="mail"), event(HOUR, 2, referrer="ad", device="x" * 100)])
    write_object(root, HOUR.plus(1), 0, [event(HOUR.plus(1), 1, referrer=None, **many), {"referrer": "bad record"}])
    ended = run("run")

    assert (
        'New fields: referrer (4 records, for example "mail"), '
        f'device (1 record, for example "{"x" * 79}…), '
        "extra_0 (1 record, for example 0), extra_1 (1 record, for example 1), extra_2 (1 record, for example 2), "
        "and 3 more\n"
        "silver.events keeps them in the column rescued; docs/runbook.md#schema_drift says what to do\n"
    ) in ended.out
    assert "New fields" not in run("run").out


@pytest.mark.long
def test_run_explains_fields_that_did_not_fit(run: Run, root: Path) -> None:
    write_object(root, HOUR, 0, [event(HOUR, 1, notes="x" * 20_000)])
    assert "(not rescued) (1 record: fields that did not fit into rescued)" in run("run").out
    assert "(not rescued) (1 record: fields that did not fit into rescued)" in run("status").out


# -- query


def test_query_json_is_one_array_of_exact_values(run: Run, built: Path) -> None:
    sql = "SELECT event_ts, event_date, price, revenue, quantity, search_query FROM silver.events ORDER BY event_ts"
    rows = json.loads(run("query", sql, "--format", "json").out)
    assert rows[1] == {
        "event_ts": "2025-12-07T22:00:01.000",
        "event_date": "2025-12-07",
        "price": "9.99",
        "revenue": "19.98",
        "quantity": 2,
        "search_query": None,
    }
    ledger = json.loads(run("query", "SELECT quarantined_by_reason FROM ops.hour_ledger", "--format", "json").out)
    assert ledger == [{"quarantined_by_reason": {"not_json": 1}}] * 2


@pytest.mark.parametrize("name", GOLD)
def test_query_name_gives_the_table_in_its_natural_order(run: Run, built: Path, name: str) -> None:
    by_name = run("query", "--name", name, "--format", "csv")
    by_sql = run("query", f"SELECT * FROM gold.{name} ORDER BY ALL", "--format", "csv")
    assert by_name.code == 0
    assert by_name.out == by_sql.out
    rows = list(csv.DictReader(io.StringIO(by_name.out, newline="")))
    assert rows
    assert rows[0]["event_date"] == "2025-12-07"


def test_query_of_one_day_gives_that_day(run: Run, built: Path) -> None:
    write_object(built, HOUR.plus(2), 0, [event(HOUR.plus(2))])
    build(LocalEngine(load_settings(root=built, workers=1)), [HOUR.plus(2)])
    rows = json.loads(run("query", "--name", "user_activity", "--day", "2025-12-08", "--format", "json").out)
    assert [(row["event_date"], row["total_events"]) for row in rows] == [("2025-12-08", 1)]


def test_query_of_a_range_is_one_answer_and_names_what_is_missing(run: Run, built: Path) -> None:
    write_object(built, HOUR.plus(2), 0, [event(HOUR.plus(2)), event(HOUR.plus(2), 1, user_id="u_new")])
    build(LocalEngine(load_settings(root=built, workers=1)), [HOUR.plus(2)])
    write_object(built, HOUR.plus(3), 0, [event(HOUR.plus(3))])
    asked = ("--from", "2025-12-05", "--to", "2025-12-08", "--format", "json")
    ended = run("query", "--name", "user_activity", *asked)
    (row,) = json.loads(ended.out)
    daily = json.loads(run("query", "--name", "user_activity", "--format", "json").out)
    assert list(row) == [name for name in daily[0] if name != "event_date"]
    assert row["total_events"] == sum(day["total_events"] for day in daily)
    assert row["unique_users"] < sum(day["unique_users"] for day in daily)
    usage, *said = ended.err.splitlines(keepends=True)
    assert re.fullmatch(_USAGE, usage)
    assert [line.rstrip() for line in said[:2]] == [
        "gold.user_activity of 2025-12-05 to 2025-12-08, both inclusive, as one answer: 2 published days, folded from "
        "3 landing hours",
        "Not in: 2 days without published rows of gold.user_activity (2025-12-05 to 2025-12-06)",
    ]
    assert "Not in: 1 hour (2025-12-08T01): new\n" in ended.err
    assert "(2025-12-07T00 to 2025-12-07T22, 2025-12-08T02 to 2025-12-09T00): no raw objects\n" in ended.err
    whole = run("query", "--name", "gold.user_activity", "--all", "--format", "json")
    assert json.loads(whole.out) == [row]
    assert "gold.user_activity of 2025-12-07 to 2025-12-08" in whole.err
    nothing = run("query", "--name", "user_activity", "--from", "2025-12-09", "--format", "json")
    assert (nothing.code, nothing.out) == (0, "[]\n")
    assert nothing.err == "No event day of gold.user_activity from 2025-12-09 on is published\n"


_USAGE = r"\d+\.\d\d s, [\d.,]+ (?:B|KiB|MiB) read\n"


def test_query_reads_statements_from_file_and_standard_input(
    run: Run, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "-- rows; of Silver\nSELECT count(*) AS n FROM silver.events;\n/* ; */ SELECT ';' AS b;\n-- the end;\n"
    file = tmp_path / "two.sql"
    file.write_bytes(b"\xef\xbb\xbf" + sql.encode())
    wanted = "| n |\n| ---: |\n| 6 |\n\n| b |\n| --- |\n| ; |\n"
    from_file = run("query", "--file", str(file), "--format", "markdown")
    assert (from_file.code, from_file.out) == (0, wanted)
    assert re.fullmatch(_USAGE * 2, from_file.err)
    for arguments in (["-"], ["--file", "-"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(sql.encode())))
        assert run("query", *arguments, "--format", "markdown").out == wanted
    assert run("query", sql, "--format", "markdown").out == wanted
    commented = run("query", "-- a comment is no option\nSELECT 1 AS a", "--format", "csv")
    assert (commented.code, commented.out) == (0, "a\r\n1\r\n")
    wrong = run("query", "SELECT 1 AS a; SELECT nope", "--format", "markdown")
    assert (wrong.code, wrong.out) == (ExitCode.USAGE, "| a |\n| ---: |\n| 1 |\n")
    assert "error: statement 2 of 2: " in wrong.err


def test_show_tables_lists_every_table_with_its_meaning(run: Run, root: Path) -> None:
    shown = json.loads(run("query", "-- all\nSHOW TABLES;", "--format", "json").out)
    declared = [BRONZE_EVENTS, *HOUR_TABLES, *(gold.table for gold in load_gold_tables())]
    assert [(row["table"], row["meaning"]) for row in shown] == [
        (each.full_name, each.description) for each in declared
    ]
    of_gold = json.loads(run("query", "show tables from gold", "--format", "json").out)
    assert [row["table"] for row in of_gold] == [f"gold.{name}" for name in GOLD]


def test_query_writes_files_that_are_complete_or_absent(run: Run, built: Path, tmp_path: Path) -> None:
    sql = "SELECT event_ts, event_date, price, quantity FROM silver.events ORDER BY event_ts"
    parquet = tmp_path / "events.parquet"
    assert run("query", sql, "--format", "parquet", "--output", str(parquet)).out == ""
    assert pq.read_table(parquet).column("price").to_pylist()[:2] == [None, Decimal("9.99")]
    sheets = tmp_path / "sheets.xlsx"
    assert run("query", f"{sql}; SELECT 1 AS a", "--format", "xlsx", "--output", str(sheets)).code == 0
    assert {"xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml"} <= set(ZipFile(sheets).namelist())
    before = parquet.read_bytes()
    failed = run(
        "query", "SELECT CAST(user_id AS INTEGER) FROM silver.events", "--format", "csv", "--output", str(parquet)
    )
    assert failed.code == ExitCode.USAGE
    assert parquet.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "events.parquet", "sheets.xlsx"]
    link, pipe = tmp_path / "link.csv", tmp_path / "pipe"
    link.symlink_to("events.csv")
    os.mkfifo(pipe)
    one = ("query", "SELECT 1 AS a", "--format", "csv", "--output")
    assert run(*one, str(link)).code == 0
    assert ((tmp_path / "events.csv").read_bytes(), link.is_symlink()) == (b"a\r\n1\r\n", True)
    for target in (pipe, tmp_path, Path("")):
        assert run(*one, str(target)).code == ExitCode.USAGE
    assert pipe.is_fifo()
    nowhere = run("query", "SELECT 1 AS a", "--format", "csv", "--output", str(tmp_path / "no" / "x.csv"))
    assert (nowhere.code, nowhere.out) == (ExitCode.STORAGE, "")
    assert "x.csv: cannot be written: No such file or directory" in nowhere.err


def test_describe_shows_every_column_with_its_type_and_meaning(run: Run, root: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "queries.md").read_text(encoding="utf-8")
    shown = re.findall(r"```bash\n(.*?)```", page.partition("## What the columns mean")[2], re.DOTALL)[0]
    commands = [shlex.split(line)[1:] for line in shown.splitlines()]
    assert [arguments[0] for arguments in commands] == ["query"] * 3
    events, funnel, exported = (run(*arguments) for arguments in commands)
    assert [(ended.code, ended.err) for ended in (events, funnel, exported)] == [(0, "")] * 3
    assert re.search(
        r"│ quantity +│ int +│ Items added, removed or bought; null for page views and searches +│", events.out
    )
    assert re.search(r"│ event_hour +│ int +│ UTC hour of event_ts, .*landing hour +│", events.out)
    assert re.search(r"│ event_date +│ date +│ UTC day on which the events happened +│\n│ product_id ", funnel.out)
    assert "│ decimal(38,2) │ Sum of price x quantity of the purchases, USD" in funnel.out
    ledger = json.loads(exported.out)
    assert ledger[0] == {"column": "objects", "type": "bigint", "meaning": "Raw objects of the hour, readable or not"}
    assert ledger[-1] == {"column": "hour", "type": "string", "meaning": "Hour of the landing hour, zero-padded, UTC"}


def test_query_name_says_how_to_see_the_meanings(run: Run, built: Path) -> None:
    shown = run("query", "--name", "gold.top_products")
    assert re.fullmatch(
        _USAGE + 'What the columns mean: event-pipeline query "DESCRIBE gold.top_products"\n', shown.err
    )
    assert "DESCRIBE" not in shown.out
    assert re.fullmatch(_USAGE, run("query", "--name", "top_products", "--format", "csv").err)
    described = run("query", "DESCRIBE gold.top_products")
    assert (described.code, "meaning" in described.out) == (0, True)
    assert run("query", "-- a\nDESC gold . top_products -- b\n; /* c */").out == described.out


def test_a_piped_table_is_complete(run: Run, built: Path) -> None:
    printed = run("query", "SELECT * FROM silver.events").out
    assert HOUR.raw_key(HOUR.start) in printed
    assert "…" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["SELEC 1"], "syntax error"),
        (["SELECT * FROM gold.nothing"], "nothing does not exist"),
        (
            ["DESCRIBE gold.nothing"],
            "no table is named gold.nothing: choose from bronze.events, gold.category_performance, ",
        ),
        (["SELECT nothing FROM silver.events"], 'column "nothing" not found'),
        (["SELECT CAST(user_id AS INTEGER) FROM silver.events"], "Could not convert string"),
        (["DROP TABLE silver.events"], "write exactly one SELECT"),
        (["SELECT 1; SELECT 2", "--format", "csv"], "holds the result of one statement, not of 2"),
        (["SHOW TABLES FROM nothing"], "no database is named nothing: choose from bronze, gold, ops, silver"),
        (["--file", "/nowhere/at.sql"], "--file /nowhere/at.sql: cannot be read: No such file or directory"),
        (["--file", "/dev/null"], "--file /dev/null: has no SQL statement"),
        (["SELECT 1", "--format", "parquet"], "--format parquet is for files: add --output FILE"),
        (["SELECT 1", "--output", "x"], "--output needs another --format than table"),
        ([""], "has 0 statements"),
        (["SELECT * FROM read_text('/etc/hostname')"], "read_text is not allowed"),
        (["EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'"], "write exactly one SELECT"),
        (["WITH x AS (COPY (SELECT 1) TO 'x') SELECT 1"], "COPY in a query could change something"),
        (["SELECT 1 AS a, 2 AS a", "--format", "json"], "column 'a' is in the result twice"),
        (["--name", "nothing"], "choose from category_performance, conversion_funnel, hourly_revenue"),
        (["--name", "user_activity", "--day", "yesterday"], "write YYYY-MM-DD"),
        (["SELECT 1", "--day", "2025-12-07"], "--day goes with --name"),
        (["SELECT 1", "--from", "2025-12-07"], "--from, --to and --all go with --name"),
        (["--name", "nothing", "--all"], "choose from category_performance, conversion_funnel, hourly_revenue"),
        (["--name", "user_activity", "--from", "2025-12-08", "--to", "2025-12-07"], "2025-12-08 is after --to"),
        (["--name", "user_activity", "--to", "2025-12-07T10"], "--to '2025-12-07T10' is not a day"),
        (["--name", "user_activity", "--from", "0001-01-01", "--to", "9999-12-31"], "twenty years"),
        (["--name", "user_activity", "--all", "--to", "2025-12-07"], "--all has every published event day"),
        (["--name", "user_activity", "--all", "--day", "2025-12-07"], "--day is one event day"),
        (["SELECT 1", "--name", "user_activity"], "give either SQL, --file with SQL, or --name"),
        (["SELECT 1", "--file", "x.sql"], "give either SQL, --file with SQL, or --name"),
        ([], "give either SQL, --file with SQL, or --name"),
    ],
)
def test_mistakes_in_query_get_one_message(run: Run, built: Path, arguments: list[str], said: str) -> None:
    ended = run("query", *arguments)
    assert (ended.code, ended.out) == (ExitCode.USAGE, "")
    assert said.lower() in ended.err.lower()
    assert "Traceback" not in ended.err


def test_a_reader_that_leaves_early_gets_no_complaint(built: Path) -> None:
    sql = "SELECT a.user_id, b.range FROM silver.events a CROSS JOIN range(100000) b"
    process = start(built, "-m", "event_pipeline.cli", "query", sql, "--format", "csv")
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"user_id,range\r\n"
    process.stdout.close()
    assert process.wait(timeout=60) == ExitCode.READER_LEFT
    assert process.stderr.read() == b""
    process.stderr.close()


# -- wrong usage and settings


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--from", "2025-12-07", "--to", "2025-12-08T00"], "'2025-12-07' is not an hour: write YYYY-MM-DDTHH"),
        (["run", "--from", "2025-02-30T00", "--to", "2025-03-01T00"], "'2025-02-30T00' is not an hour"),
        (["run", "--from", "2025-12-07T22"], "--to (exclusive) is missing"),
        (["verify", "--to", "2025-12-07T22"], "--from is missing"),
        (["status", "--from", "2025-12-07T22", "--to", "2025-12-07T22"], "is empty: the end is exclusive"),
        (["repair", "--from", "x", "--to", "y"], "'x' is not an hour"),
        (["run", "--from", "2025-10-31T23", "--to", "2025-11-01T01"], "2025-10-31T23 is before the first partition"),
        (["run", "--from", "2025-12-07T22", "--to", "2999-01-01T00"], "2998-12-31T23 is not over yet"),
        (["run", "--force"], "--force needs --from and --to"),
        (["generate"], "--start is missing"),
        (["generate", "--start", "2025-12-07"], "is not an hour"),
        (["generate", "--start", "2025-10-01T00"], "must be between the first partition 2025-11-01T00"),
        (["generate", "--start", "2999-01-01T00"], "and the current hour"),
        (["generate", "--start", "2025-12-07T00", "--hours", "0"], "greater than or equal to 1"),
        (
            ["generate", "--start", "2025-12-07T00", "--bad-share", "2"],
            "bad_share=2.0: must be a number from 0 to 1",
        ),
        (["generate", "--start", "2025-12-07T00", "--events-per-file", "0"], "events_per_file=0"),
        (["generate", "--start", "2025-12-07T00", "--broken-objects", "13"], "broken_objects=13"),
        (["generate", "--live", "--start", "2025-12-07T00"], "give one of them"),
        (["generate", "--live", "--every", "0"], "interval_seconds=0"),
        (["generate", "--start", "2025-12-07T00", "--shape", "round"], "'round' is not one of"),
        (["nonsense"], "No such command 'nonsense'"),
        (["query", "SELECT 1", "--format", "xml"], "'xml' is not one of"),
    ],
)
def test_wrong_usage_is_named_and_changes_nothing(run: Run, root: Path, arguments: list[str], said: str) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (ExitCode.USAGE, "")
    assert said in re.sub(r"\s*│\s*", " ", ended.err)
    assert "Traceback" not in ended.err
    assert not root.exists()


def test_a_wrong_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_WORKERS", "none")
    ended = run("status")
    assert ended.code == ExitCode.USAGE
    assert ended.err.startswith("error: EVENT_PIPELINE_WORKERS='none': Input should be a valid integer")


def test_help_lists_every_exit_code(run: Run) -> None:
    printed = run("--help").out
    assert all(
        re.search(rf"\n +{code.value} +{re.escape(meaning[:40])}", printed) for code, meaning in EXIT_CODES.items()
    )
    assert EXIT_CODES.keys() == set(ExitCode)


@pytest.mark.parametrize(
    "command", ["generate", "run", "status", "verify", "query", "repair", "settings", "doctor", "dev"]
)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    ended = run(command, "--help")
    assert ended.code == 0
    assert f"event-pipeline {command}" in ended.out


# -- storage that cannot be used


def test_a_file_in_the_place_of_the_data_folder_is_named(run: Run, root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    root.write_text("not a folder")
    for arguments in (
        ["status"], ["run"], ["verify"], ["repair"], ["query", "SELECT 1"], ["generate", "--start", "2025-12-07T00"],
    ):  # fmt: skip
        ended = run(*arguments)
        assert ended.code == ExitCode.STORAGE, arguments
        assert str(root) in ended.err
        assert len(ended.err.splitlines()) == 1
    assert run("doctor").code == ExitCode.NOT_HELD


def test_a_folder_that_cannot_be_written_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # /proc refuses even root, which permission bits would not.
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", "/proc/nothing-can-be-made-here")
    for arguments in (["run"], ["query", "SELECT 1"], ["generate", "--start", "2025-12-07T00"]):
        ended = run(*arguments)
        assert ended.code == ExitCode.STORAGE, arguments
        assert "/proc/nothing-can-be-made-here" in ended.err
        assert "Traceback" not in ended.err
    doctor = run("doctor")
    assert doctor.code == ExitCode.NOT_HELD
    assert re.search(r"fail +data folder +/proc is not writable", doctor.out)


def test_a_damaged_catalog_is_named_and_repair_rebuilds_it(run: Run, built: Path) -> None:
    before = run("query", "FROM silver.events ORDER BY ALL", "--format", "csv").out
    for part in built.glob("catalog.sqlite*"):
        part.unlink()
    (built / "catalog.sqlite").write_bytes(b"garbage" * 1000)
    for arguments in (["status"], ["run"], ["verify"], ["query", "SELECT 1"]):
        ended = run(*arguments)
        assert ended.code == ExitCode.STORAGE, arguments
        assert "the catalog is damaged" in ended.err
        assert "`event-pipeline repair` rebuilds it" in ended.err
    assert re.search(r"fail +catalog", run("doctor").out)

    repaired = run("repair")
    assert repaired.code == 0
    assert re.search(r"silver\.events .*hour=22 .*added", repaired.out)
    assert run("query", "FROM silver.events ORDER BY ALL", "--format", "csv").out == before
    assert re.search(r"0 added, 0 repointed, 0 dropped, \d+ unchanged", run("repair").out)


def test_a_data_folder_of_another_version_is_named(run: Run, built: Path) -> None:
    (built / "layout.json").write_text('{"layout": 99}')
    for arguments in (["status"], ["run"], ["verify"], ["repair"], ["query", "SELECT 1"]):
        ended = run(*arguments)
        assert ended.code == ExitCode.STORAGE, arguments
        assert "the data folder has layout 99, this version reads and writes layout 2" in ended.err
    assert re.search(r"fail +data folder layout", run("doctor").out)


def test_a_damaged_commit_record_is_named(run: Run, built: Path) -> None:
    Layout(built).hour_commit(HOUR).write_text("{")
    # One damaged record hides no other hour.
    ended = run("status")
    assert ended.code == 0
    assert f"Damaged commit record: 1 hour ({HOUR}): `event-pipeline doctor` names the file" in ended.out
    assert f"Due: 1 hour ({HOUR})" not in ended.out
    examined = run("doctor")
    assert re.search(rf"fail +commit records +of 1 hour \({HOUR}\) cannot be read", examined.out)
    assert str(Layout(built).hour_commit(HOUR)) in examined.out


def test_what_a_wrongly_framed_object_holds_is_not_called_proven(run: Run, built: Path) -> None:
    hour = HOUR.plus(2)
    write_object(built, hour, 0, [b"".join(json.dumps({"number": each}).encode() for each in range(50))])
    build(LocalEngine(load_settings(root=built, workers=1)), [hour])

    verified = run("verify")
    assert verified.code == ExitCode.NOT_HELD
    assert f"Wrongly framed, so lost: {hour}: {hour.raw_key(hour.start)}" in verified.out
    assert "The content of wrongly framed objects is lost" in verified.out
    assert "Proven" not in verified.out
    assert re.search(rf"warn +commit records .*wrongly framed objects are lost in 1 hour \({hour}\)", run("doctor").out)


def test_a_damaged_commit_record_hides_no_other_hour(run: Run, built: Path) -> None:
    whole = run("quarantine", "list", "--format", "json").out
    record = Layout(built).hour_commit(HOUR)
    record.write_text("{")

    hours = json.loads(run("status", "--format", "json").out)["hours"]
    assert [each["hour"] for each in hours if each["state"] == "damaged record"] == [str(HOUR)]

    verified = run("verify")
    assert verified.code == ExitCode.NOT_HELD
    assert str(record) in verified.out.replace("\n", "")
    assert f"{HOUR.plus(1)}" in verified.out
    assert "Not proven: 1 difference between raw and what is published" in verified.out

    listed = run("quarantine", "list", "--format", "json")
    assert listed.code == ExitCode.STORAGE
    assert f"without 1 hour ({HOUR}), whose commit record cannot be read: {record}" in listed.err
    rest = [each for each in json.loads(whole) if each["hour"] != str(HOUR)]
    assert json.loads(listed.out or "[]") == rest

    for arguments in (["quarantine", "replay", "--plan"], ["quarantine", "list"]):
        ended = run(*arguments)
        assert ended.code == ExitCode.STORAGE, arguments
        assert str(record) in ended.err


@pytest.mark.parametrize("name", ["what?", "a?mode=memory", "a%20b", "100%Fe", "x=1?&uri=true"])
def test_a_data_folder_that_dagster_cannot_name_is_refused_by_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / name / "data"
    write_object(folder, HOUR, 0, [event(HOUR)])
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(folder))
    for arguments in (["run"], ["dev"], ["backfill", "--from", str(HOUR), "--to", str(HOUR.plus(1))]):
        ended = run(*arguments)
        assert ended.code == ExitCode.STORAGE, arguments
        assert f"{folder / 'dagster'}: Dagster cannot keep its storage under a path with" in ended.err
        assert "set EVENT_PIPELINE_ROOT to another one" in ended.err
    assert not list(tmp_path.rglob("*.db"))
    assert re.search(r"fail +Dagster", run("doctor").out)


@pytest.mark.parametrize(
    "name", ["a&b=c#d", *(pytest.param(name, marks=pytest.mark.long) for name in ("100% sure", "50%", "hour=07"))]
)
def test_other_signs_in_the_path_of_the_data_folder_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(tmp_path / name / "data"))
    write_object(tmp_path / name / "data", HOUR, 0, [event(HOUR)])
    assert run("run").code == 0
    assert run("verify").code == 0


def test_a_damaged_dagster_storage_is_named(run: Run, built: Path) -> None:
    write_object(built, HOUR.plus(2), 0, [event(HOUR.plus(2))])
    home = load_settings(root=built).dagster_home
    (home / "history").mkdir(parents=True)
    shutil.copyfile(DAGSTER_YAML, home / "dagster.yaml")
    (home / "history" / "runs.db").write_bytes(b"garbage" * 1000)
    for arguments in (["status"], ["run"]):
        ended = run(*arguments)
        assert ended.code == ExitCode.STORAGE, arguments
        assert f"{home}: Dagster's storage cannot be used" in ended.err
        assert "Traceback" not in ended.err


FULL_DISK = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from event_pipeline.cli import main
main(sys.argv[2:])
"""


def test_a_full_disk_is_named_and_nothing_half_is_left(run: Run, root: Path) -> None:
    process = start(root, "-c", FULL_DISK, "20000", "generate", "--start", "2025-12-07T22", "--files-per-hour", "1")
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.STORAGE
    assert b"File too large" in err
    assert b"Traceback" not in err
    assert not [path for path in (root / "raw").rglob("*") if path.is_file()]
    assert run("generate", "--start", "2025-12-07T22", "--files-per-hour", "1").code == 0


def test_what_another_process_holds_is_named(run: Run, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_: Any) -> None:
        raise LockTimeoutError("another process has been working on catalog for 600 s")

    monkeypatch.setattr(LocalEngine, "repair", held)
    ended = run("repair")
    assert (ended.code, ended.err) == (
        ExitCode.BUSY, "error: another process has been working on catalog for 600 s\n",
    )  # fmt: skip


# -- verify, repair, doctor


def test_verify_ends_with_1_and_a_table_of_what_differs(run: Run, built: Path) -> None:
    (silver,) = (built / "lake" / "runs" / "hours" / HOUR.hive_path).glob("*/events/events-0.parquet")
    shutil.copyfile(
        next((built / "lake" / "runs" / "hours" / HOUR.plus(1).hive_path).glob("*/events/events-0.parquet")), silver
    )
    ended = run("verify", "--from", "2025-12-07T22", "--to", "2025-12-07T23")
    assert ended.code == ExitCode.NOT_HELD
    assert re.search(r"2025-12-07T22 +│ +silver.events rows from .* +│ 3 +│ 0 ", ended.out)
    assert "Not proven:" in ended.out
    assert "recounting 2025-12-07T22" in ended.err


def test_verify_of_nothing_says_so(run: Run) -> None:
    ended = run("verify")
    assert (ended.code, "there was nothing to recount" in ended.out) == (0, True)


def test_repair_drops_what_no_commit_record_names(run: Run, built: Path) -> None:
    Layout(built).hour_commit(HOUR).unlink()
    ended = run("repair", "--from", "2025-12-07T22", "--to", "2025-12-07T23")
    assert ended.code == 0
    assert re.search(r"silver\.events .*hour=22 .*dropped .*not in any commit record", ended.out)
    assert run("query", "SELECT count(*) AS n FROM silver.events", "--format", "csv").out == "n\r\n3\r\n"


def test_doctor_warns_of_unmatched_keys_and_finds_missing_files(run: Run, built: Path) -> None:
    (built / "raw" / HOUR.raw_prefix / "notes.txt").write_text("hello")
    healthy = run("doctor")
    assert healthy.code == 0
    assert re.search(r"warn +raw objects .*1 keys are not read", healthy.out)
    assert re.search(r"ok +published builds +queries see all 2 committed hours", healthy.out)
    next((built / "lake" / "runs" / "hours" / HOUR.hive_path).glob("*/events/events-0.parquet")).unlink()
    sick = run("doctor")
    assert sick.code == ExitCode.NOT_HELD
    assert re.search(r"fail +published builds +files of 1 hour \(2025-12-07T22\) are gone", sick.out)


def test_doctor_finds_committed_hours_that_queries_do_not_see(run: Run, built: Path) -> None:
    list(LocalEngine(load_settings(root=built, workers=1)).build_silver([HOUR], force=True, progress=lambda _: None))
    ended = run("doctor")
    assert ended.code == ExitCode.NOT_HELD
    assert re.search(r"fail +published builds +queries do not see 1 hour \(2025-12-07T22\)", ended.out)


# -- starting up, and the UI


@pytest.mark.parametrize(
    "arguments",
    [
        ["settings"],
        ["status"],
        ["query", "SELECT 1"],
        ["generate", "--start", "2025-12-07T22", "--files-per-hour", "1", "--events-per-file", "1"],
        ["generate", "--if-empty", "--start", "2025-12-07T22"],
    ],
)
def test_commands_that_need_no_dagster_do_not_import_it(built: Path, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom event_pipeline.cli import main\n"
        "try:\n main(sys.argv[1:])\nexcept SystemExit as end:\n assert end.code == 0\n"
        "print('imported:', sorted({'dagster', 'boto3', 'pandas'} & set(sys.modules)))"
    )
    out, _ = start(built, "-c", code, *arguments).communicate(timeout=60)
    assert out.decode().splitlines()[-1] == "imported: []"


def test_dev_starts_dagster_over_the_same_data(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Replaced(Exception):  # noqa: N818 - ends the command where the process would be replaced
        pass

    started: list[Any] = []

    def replace_process(*arguments: Any) -> None:
        started.extend(arguments)
        raise Replaced

    monkeypatch.chdir(root.parent if root.parent.exists() else Path.cwd())
    monkeypatch.setattr(os, "execve", replace_process)
    with pytest.raises(Replaced):
        main(["dev", "--port", "3123"])
    _, command, environment = started
    assert command[command.index("-m") : command.index("-m") + 2] == ["-m", "event_pipeline.webserver.dev"]
    assert environment["PYTHONSAFEPATH"] == "1"
    assert command[-4:] == ["-h", "127.0.0.1", "-p", "3123"]
    assert environment["DAGSTER_HOME"] == str(root / "dagster")
    assert environment["EVENT_PIPELINE_ROOT"] == str(root)
    assert (root / "dagster" / "dagster.yaml").is_file()
    assert dev.WORKSPACE.is_file()
