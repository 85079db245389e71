"""A result as table, CSV and JSON: exact, complete, readable by any program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, TextIO

import pyarrow as pa
import pytest

from event_pipeline.engines.description import describe
from event_pipeline.errors import QueryError
from event_pipeline.reporting import results
from event_pipeline.reporting.results import print_table, write_csv, write_json, write_markdown
from event_pipeline.reporting.terminal import output
from event_pipeline.rules.contract import SILVER_EVENTS

INSTANT = datetime(2025, 12, 7, 22, 0, 1, 123_000)  # noqa: DTZ001 - as published: UTC without saying so


def written(write: Callable[[pa.Table, TextIO], None], columns: dict[str, Any]) -> str:
    file = io.StringIO(newline="")
    write(pa.table(columns), file)
    return file.getvalue()


def as_json(values: Any) -> Any:
    return json.loads(written(write_json, {"value": values}))[0]["value"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([Decimal("29.90")], pa.decimal128(10, 2)), "29.90"),
        (pa.array([Decimal("0.00")], pa.decimal128(18, 2)), "0.00"),
        (pa.array([Decimal("-1")], pa.decimal128(10, 0)), "-1"),
        (pa.array([Decimal(2**100)], pa.decimal128(38, 0)), 2**100),
        (pa.array([date(2025, 12, 7)]), "2025-12-07"),
        (pa.array([INSTANT], pa.timestamp("us")), "2025-12-07T22:00:01.123"),
        (pa.array([INSTANT.replace(microsecond=0)], pa.timestamp("ms")), "2025-12-07T22:00:01.000"),
        (pa.array([INSTANT.replace(microsecond=5)], pa.timestamp("us")), "2025-12-07T22:00:01.000005"),
        (pa.array([INSTANT.replace(tzinfo=UTC)], pa.timestamp("us", "+02:00")), "2025-12-07T22:00:01.123"),
        (pa.array([time(1, 2, 3)], pa.time64("us")), "01:02:03"),
        (pa.array([0.25]), 0.25),
        (pa.array([float("nan")]), None),
        (pa.array([float("-inf")]), None),
        (pa.array([True]), True),
        (pa.array([None], pa.int32()), None),
        (pa.array([[("a", 1), ("b", None)]], pa.map_(pa.string(), pa.int64())), {"a": 1, "b": None}),
        (pa.array([[("2025", Decimal("1.50"))]], pa.map_(pa.string(), pa.decimal128(5, 2))), {"2025": "1.50"}),
        (pa.array([{"day": date(2025, 1, 1), "n": None}]), {"day": "2025-01-01", "n": None}),
        (pa.array([[Decimal("1.5"), None]], pa.list_(pa.decimal128(3, 1))), ["1.5", None]),
        (pa.array([b"\x00\xff"]), "00ff"),
        (
            pa.array([(14, -2, 3_723_500_000_000)], pa.month_day_nano_interval()),
            "1 year 2 months -2 days 01:02:03.500000",
        ),
        (pa.array([(-1, 0, 0)], pa.month_day_nano_interval()), "-1 month"),
        (pa.array([(0, 0, -90_000_000_000_000)], pa.month_day_nano_interval()), "-25:00:00"),
        (pa.array([(0, 0, 0)], pa.month_day_nano_interval()), "00:00:00"),
        (pa.array(['ü\n"x"']), 'ü\n"x"'),
    ],
)
def test_json_keeps_every_type_exact(values: Any, shown: Any) -> None:
    assert as_json(values) == shown


def test_json_is_one_array_of_objects() -> None:
    assert json.loads(written(write_json, {"a": [1, 2], "b": ["x", None]})) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_json_of_no_rows_is_an_empty_array() -> None:
    assert json.loads(written(write_json, {"a": pa.array([], pa.int64())})) == []


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2_932_897], pa.date32()),
        pa.array([2**31 - 1], pa.date32()),
        pa.array([-800_000], pa.date32()),
        pa.array([2**63 - 1], pa.timestamp("us")),
        pa.array([1], pa.timestamp("ns")),
    ],
)
def test_days_and_instants_that_python_cannot_hold_are_named(values: pa.Array) -> None:
    for write in (write_json, write_csv, write_markdown):
        with pytest.raises(QueryError, match="column 'value' has a day or an instant .* CAST it to VARCHAR"):
            written(write, {"value": values})


def test_json_refuses_two_columns_of_one_name() -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(QueryError, match="column 'a' is in the result twice"):
        write_json(twice, io.StringIO())


def test_csv_is_rfc_4180_and_null_is_an_empty_field() -> None:
    text = written(write_csv, {"id": [1, 2], "text": ['say "hi", twice\r\n', None], "empty": ["", "x"]})
    assert text == 'id,text,empty\r\n1,"say ""hi"", twice\r\n",""\r\n2,,x\r\n'
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["id", "text", "empty"],
        ["1", 'say "hi", twice\r\n', ""],
        ["2", "", "x"],
    ]


def test_csv_of_one_null_column_keeps_its_rows() -> None:
    text = written(write_csv, {"only": pa.array([None, "x"])})
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["only"], [""], ["x"]]


def test_csv_writes_structure_as_json_text() -> None:
    text = written(write_csv, {"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    assert text == 'm\r\n"{""a"": 1}"\r\n'


def test_a_table_that_is_too_wide_becomes_a_block_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    console = output()
    console.width = 40
    print_table(pa.table({"short": [1], "long": ["x" * 60]}), console)
    printed = capsys.readouterr().out
    assert "x" * 60 in printed
    assert "short  1" in printed


def test_meanings_are_wrapped_where_the_terminal_is_narrow(capsys: pytest.CaptureFixture[str]) -> None:
    described = describe("DESCRIBE silver.events", [SILVER_EVENTS])
    assert described is not None
    console = output()
    console.width = 80
    print_table(described, console)
    lines = capsys.readouterr().out.splitlines()
    assert {len(line) for line in lines} == {80}
    assert lines[3].startswith("│ event_ts      │ timestamp     │ Instant of the event in UTC, truncated to ")
    assert lines[4].startswith("│               │               │ the millisecond ")


def test_a_table_says_on_stderr_how_many_rows_it_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MOST_TABLE_ROWS", 2)
    print_table(pa.table({"n": [1, 2, 3]}), output())
    printed = capsys.readouterr()
    assert "2 of 3 rows shown" in printed.err
    assert "3" not in printed.out


def test_control_characters_of_the_data_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(pa.table({"text": ["\x1b[31mred\x07"]}), output())
    assert "\x1b" not in capsys.readouterr().out


def test_markdown_is_one_line_per_row_without_markup_from_data() -> None:
    table = {"snake_case": pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)), "text": ["a|b\n<i>*x*</i>", "_y_"]}
    assert written(write_markdown, table) == (
        "| snake_case | text |\n| ---: | --- |\n| 1.50 | a\\|b\\\\n\\<i\\>\\*x\\*\\</i\\> |\n|  | \\_y\\_ |\n"
    )
