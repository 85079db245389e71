"""A workbook that any office program reads: exact numbers, real dates, text that is never a formula."""

from __future__ import annotations

import io
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree
from zipfile import ZipFile

import pyarrow as pa
import pytest

from event_pipeline.engines.base import ResultStream
from event_pipeline.errors import LimitError
from event_pipeline.reporting import spreadsheet
from event_pipeline.reporting.spreadsheet import Workbook

_NAMES = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def written(*columns: dict[str, Any]) -> ZipFile:
    """Write each result as a sheet, and check that every part is XML."""
    file = io.BytesIO()
    with Workbook(file) as workbook:
        for each in columns:
            table = pa.table(each)
            workbook.add(ResultStream(table.schema, iter(table.to_batches())))
    book = ZipFile(file)
    for name in book.namelist():
        ElementTree.fromstring(book.read(name))  # noqa: S314 - written here
    return book


def cells(book: ZipFile, sheet: int = 1) -> list[list[tuple[str, str, str]]]:
    """Return type, style and content of every cell."""
    root = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml"))  # noqa: S314 - written here
    return [
        [(cell.get("t", "n"), cell.get("s", "0"), "".join(cell.itertext())) for cell in row.findall("m:c", _NAMES)]
        for row in root.findall(".//m:row", _NAMES)
    ]


@pytest.mark.parametrize(
    ("values", "cell"),
    [
        (pa.array([7], pa.int64()), ("n", "0", "7")),
        (pa.array([Decimal("19.90")], pa.decimal128(18, 2)), ("n", "0", "19.9")),
        (pa.array([Decimal("1234567890123456.78")], pa.decimal128(38, 2)), ("inlineStr", "0", "1234567890123456.78")),
        (pa.array([2**60], pa.int64()), ("inlineStr", "0", str(2**60))),
        (pa.array([0.25]), ("n", "0", "0.25")),
        (pa.array([True]), ("b", "0", "1")),
        (pa.array([date(2025, 12, 7)]), ("n", "2", "45998")),
        (pa.array([date(1850, 1, 1)]), ("inlineStr", "0", "1850-01-01")),
        (pa.array([datetime(2025, 12, 7, 18)], pa.timestamp("us")), ("n", "2", "45998.75")),  # noqa: DTZ001
        (pa.array(["=1+1"]), ("inlineStr", "0", "=1+1")),
        (pa.array(["0123"]), ("inlineStr", "0", "0123")),
        (pa.array(["<a>&\x00_x0000_"]), ("inlineStr", "0", "<a>&_x0000__x005F_x0000_")),
    ],
)
def test_a_value_is_a_cell_of_its_kind(values: pa.Array, cell: tuple[str, str, str]) -> None:
    assert cells(written({"value": values})) == [[("inlineStr", "1", "value")], [cell]]


def test_null_and_what_is_no_number_are_empty_cells() -> None:
    book = written({"a": [None, float("nan"), float("inf"), 1.5], "b": ["x", "y", "z", None]})
    assert [[cell[-1] for cell in row] for row in cells(book)] == [["a", "b"], ["x"], ["y"], ["z"], ["1.5"]]


def test_days_and_instants_are_shown_as_such() -> None:
    moment = datetime(2025, 12, 7, 18)  # noqa: DTZ001 - UTC without saying so
    book = written({"day": pa.array([moment.date()]), "instant": pa.array([moment], pa.timestamp("us"))})
    styles = ElementTree.fromstring(book.read("xl/styles.xml"))  # noqa: S314 - written here
    formats = {each.get("numFmtId"): each.get("formatCode") for each in styles.findall(".//m:numFmt", _NAMES)}
    used = [each.get("numFmtId") for each in styles.findall("m:cellXfs/m:xf", _NAMES)]
    assert [formats[used[int(style)]] for _, style, _ in cells(book)[1]] == [
        "yyyy\\-mm\\-dd",
        "yyyy\\-mm\\-dd hh:mm:ss.000",
    ]


def test_every_result_is_a_sheet() -> None:
    book = written({"a": [1]}, {"b": ["x", "y"]})
    assert [len(cells(book, sheet)) for sheet in (1, 2)] == [2, 3]


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitError, match="32,768 characters does not fit into a cell.*--format csv"):
        written({"a": ["x" * 32_768]})
    monkeypatch.setattr(spreadsheet, "MOST_ROWS", 3)
    assert len(cells(written({"a": [1, 2]}))) == 3
    with pytest.raises(LimitError, match="more than 2 rows.*--format csv"):
        written({"a": [1, 2, 3]})
