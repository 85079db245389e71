"""Writes query results as an Excel workbook, one sheet per result, without an office library.

Values are exact: a number with more digits than Excel keeps is written as text. Text is never a formula.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from types import TracebackType
from typing import IO, Any, Self
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from event_pipeline.engines.base import ResultStream
from event_pipeline.errors import LimitError
from event_pipeline.reporting.results import as_text, plain_rows

MOST_ROWS = 1_048_576
"""Rows of a sheet, with the one of the column names."""
MOST_CHARACTERS = 32_767
"""Of a cell."""
_EXACT_DIGITS = 15
_DATE, _INSTANT, _HEAD = 1, 2, 3
"""Positions in the list of cell styles."""

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml."
_HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
# Not allowed in XML 1.0, and what looks like Excel's own escape of such a character.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|_(?=x[0-9A-Fa-f]{4}_)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_DAY, _MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\d"), re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}")


class Workbook:
    """A workbook that is written sheet by sheet; closing it makes it complete."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = ZipFile(file, "w", ZIP_DEFLATED)
        self._sheets = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_parts()
        self._zip.close()

    def add(self, result: ResultStream) -> None:
        """Write a result as the next sheet.

        Raises:
            LimitError: it has more rows or longer texts than a sheet can hold.
        """
        self._sheets += 1
        numeric = [_is_exact_kind(field.type) for field in result.schema]
        with self._zip.open(f"xl/worksheets/sheet{self._sheets}.xml", "w", force_zip64=True) as sheet:
            sheet.write(f'{_HEADER}<worksheet xmlns="{_MAIN}">'.encode())
            sheet.write(b'<sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2"')
            sheet.write(b' activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>')
            head = "".join(_text_cell(name, _HEAD) for name in result.schema.names)
            sheet.write(f"<row>{head}</row>".encode())
            for number, row in enumerate(plain_rows(result), start=2):
                if number > MOST_ROWS:
                    raise LimitError(
                        f"the result has more than {MOST_ROWS - 1:,} rows, the most a sheet holds: use --format csv or "
                        "parquet, or narrow the query"
                    )
                cells = "".join(_cell(value, kind) for value, kind in zip(row, numeric, strict=True))
                sheet.write(f"<row>{cells}</row>".encode())
            sheet.write(b"</sheetData></worksheet>")

    def _write_parts(self) -> None:
        numbers = range(1, self._sheets + 1)
        sheets = "".join(f'<sheet name="result {n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
        relations = "".join(
            f'<Relationship Id="rId{n}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
        )
        overrides = "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_TYPES}worksheet+xml"/>' for n in numbers
        )
        style = f'<Relationship Id="rId0" Type="{_OFFICE}/styles" Target="styles.xml"/>'
        parts = {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}sheet.main+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="{_TYPES}styles+xml"/>{overrides}</Types>',
            "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" '
            f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{sheets}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONS}">{style}{relations}</Relationships>',
            "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><numFmts count="2">'
            '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
            '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd hh:mm:ss.000"/></numFmts>'
            '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
            '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
            '<fills count="2"><fill><patternFill patternType="none"/></fill>'
            '<fill><patternFill patternType="gray125"/></fill></fills>'
            '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
            '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
            '<cellXfs count="4"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
            '<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
            '<xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
            '<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/></cellXfs>'
            '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
        }
        for name, content in parts.items():
            self._zip.writestr(name, _HEADER + content)


def _is_exact_kind(arrow_type: Any) -> str:
    """Return how the plain value of a column is to be read: as a number, a date, an instant or text."""
    import pyarrow as pa

    types = pa.types
    if types.is_integer(arrow_type) or types.is_floating(arrow_type) or types.is_decimal(arrow_type):
        return "number"
    if types.is_date(arrow_type):
        return "date"
    return "instant" if types.is_timestamp(arrow_type) else "text"


def _cell(value: Any, kind: str) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    text = as_text(value)
    if kind == "number" and (isinstance(value, float) or _fits(text)):
        return f"<c><v>{text}</v></c>"
    if kind == "date" and _DAY.fullmatch(text) and (serial := _serial(text)) is not None:
        return f'<c s="{_DATE}"><v>{serial}</v></c>'
    if kind == "instant" and _MILLISECONDS.fullmatch(text) and (serial := _serial(text)) is not None:
        return f'<c s="{_INSTANT}"><v>{serial}</v></c>'
    return _text_cell(text)


def _fits(text: str) -> bool:
    """Return whether Excel keeps every digit of a number."""
    return bool(_NUMBER.fullmatch(text)) and len(text.replace("-", "").replace(".", "").lstrip("0")) <= _EXACT_DIGITS


def _serial(text: str) -> Decimal | None:
    """Return a day or an instant as Excel counts it; None before March 1900, where Excel has a day too many."""
    instant = datetime.fromisoformat(text)
    passed = instant - datetime(1899, 12, 30)  # noqa: DTZ001 - days are counted, UTC without saying so
    if instant.date() < date(1900, 3, 1):
        return None
    part = Decimal(passed.seconds * 1_000_000 + passed.microseconds) / 86_400_000_000
    return passed.days + part.quantize(Decimal("1e-12")) if part else Decimal(passed.days)


def _text_cell(text: str, style: int = 0) -> str:
    if len(text) > MOST_CHARACTERS:
        raise LimitError(
            f"a text of {len(text):,} characters does not fit into a cell, which holds {MOST_CHARACTERS:,}: use "
            "--format csv or parquet, or shorten it with left(..., 1000)"
        )
    shown = _NOT_XML.sub(lambda found: f"_x{ord(found[0]):04X}_", text)
    return f'<c t="inlineStr" s="{style}"><is><t xml:space="preserve">{escape(shown)}</t></is></c>'
