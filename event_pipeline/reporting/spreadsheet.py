"""Writes query results as an Excel workbook, one sheet per result.

Values are exact: a number with more digits than Excel keeps is written as text. Text is never a formula or a link.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from event_pipeline.engines.base import ResultStream
from event_pipeline.errors import LimitError
from event_pipeline.reporting.results import as_text, plain_rows

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

MOST_ROWS = 1_048_576
"""Rows of a sheet, with the one of the column names."""
MOST_CHARACTERS = 32_767
"""Of a cell."""
_EXACT_DIGITS = 15
_FIRST_DAY = date(1900, 3, 1)
"""Before it, Excel has a day that never was."""


class Workbook:
    """A workbook that is written sheet by sheet, row by row; closing it makes it complete."""

    def __init__(self, file: IO[bytes]) -> None:
        import xlsxwriter

        self._book = xlsxwriter.Workbook(file, {"constant_memory": True, "strings_to_urls": False})
        self._head = self._book.add_format({"bold": True})
        self._day = self._book.add_format({"num_format": "yyyy\\-mm\\-dd"})
        self._instant = self._book.add_format({"num_format": "yyyy\\-mm\\-dd hh:mm:ss.000"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._book.close()
        else:
            # What is half done is not to be written; only its temporary files are closed.
            self._book.fileclosed = True
            for sheet in self._book.worksheets():
                sheet.row_data_fh.close()

    def add(self, result: ResultStream) -> None:
        """Write a result as the next sheet.

        Raises:
            LimitError: it has more rows or longer texts than a sheet can hold.
        """
        sheet = self._book.add_worksheet(f"result {len(self._book.worksheets()) + 1}")
        sheet.freeze_panes(1, 0)
        for column, name in enumerate(result.schema.names):
            _write_text(sheet, 0, column, name, self._head)
        writers = [self._writer(sheet, field.type) for field in result.schema]
        for number, row in enumerate(plain_rows(result), start=1):
            if number >= MOST_ROWS:
                raise LimitError(
                    f"the result has more than {MOST_ROWS - 1:,} rows, the most a sheet holds: use --format csv or "
                    "parquet, or narrow the query"
                )
            for column, (value, write) in enumerate(zip(row, writers, strict=True)):
                if value is not None:
                    write(number, column, value)

    def _writer(self, sheet: Worksheet, arrow_type: Any) -> Callable[[int, int, Any], None]:
        """Return how the plain values of a column are written: as numbers, days, instants or text."""
        import pyarrow.types as pt

        def number(row: int, column: int, value: Any) -> None:
            if _keeps_digits(value):
                sheet.write_number(row, column, float(value))
            else:
                _write_text(sheet, row, column, as_text(value))

        def instant(row: int, column: int, value: Any) -> None:
            moment = datetime.fromisoformat(value)
            if moment.date() < _FIRST_DAY:
                _write_text(sheet, row, column, as_text(value))
            else:
                sheet.write_datetime(row, column, moment, self._day if pt.is_date(arrow_type) else self._instant)

        if pt.is_integer(arrow_type) or pt.is_floating(arrow_type) or pt.is_decimal(arrow_type):
            return number
        if pt.is_date(arrow_type) or (pt.is_timestamp(arrow_type) and arrow_type.tz is None):
            return instant
        if pt.is_boolean(arrow_type):
            return lambda row, column, value: sheet.write_boolean(row, column, value)
        return lambda row, column, value: _write_text(sheet, row, column, as_text(value))


def _keeps_digits(value: float | int | str) -> bool:
    """Return whether Excel keeps every digit of a number; a double is one itself."""
    if isinstance(value, float):
        return math.isfinite(value)
    return len(Decimal(value).normalize().as_tuple().digits) <= _EXACT_DIGITS


def _write_text(sheet: Worksheet, row: int, column: int, text: str, form: Any = None) -> None:
    if len(text) > MOST_CHARACTERS:
        raise LimitError(
            f"a text of {len(text):,} characters does not fit into a cell, which holds {MOST_CHARACTERS:,}: use "
            "--format csv or parquet, or shorten it with left(..., 1000)"
        )
    sheet.write_string(row, column, text, form)
