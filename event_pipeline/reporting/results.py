"""Writes a query result as text: a table, CSV, JSON or Markdown. Timestamps are UTC, decimals keep their scale."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_pipeline.engines.base import PROSE, ResultStream
from event_pipeline.errors import QueryError
from event_pipeline.reporting.tables import fits
from event_pipeline.reporting.terminal import QUIET, messages, output
from event_pipeline.rules.printable import json_escaped, plural, printable

if TYPE_CHECKING:
    import pyarrow as pa

    Result: TypeAlias = pa.Table | ResultStream

MOST_TABLE_ROWS = 1_000
"""Rows shown by the table format, which measures every cell first. CSV and JSON have no limit."""

_BATCH_ROWS = 10_000


class ResultFormat(StrEnum):
    """Output formats of a query result."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"
    PARQUET = "parquet"
    XLSX = "xlsx"


def write_result(result: Result, result_format: ResultFormat) -> None:
    """Write a result, and nothing else, to stdout; the format is one of text."""
    if result_format is ResultFormat.TABLE:
        print_table(result, output())
        return
    # Not sys.stdout itself: the data is UTF-8 with its own line endings, whatever the terminal's encoding is.
    writer = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=True)
    try:
        # CSV has no escapes: a file gets the values unchanged, a terminal gets them without control characters.
        write_text(result, result_format, writer, visible=sys.stdout.isatty())
        writer.flush()
    finally:
        writer.detach()


def write_text(result: Result, result_format: ResultFormat, file: TextIO, *, visible: bool = False) -> None:
    """Write a result as CSV, JSON or Markdown; `visible` escapes control characters of CSV for a terminal."""
    match result_format:
        case ResultFormat.CSV:
            write_csv(result, file, visible=visible)
        case ResultFormat.JSON:
            write_json(result, file)
        case ResultFormat.MARKDOWN:
            write_markdown(result, file)
        case _:
            raise ValueError(f"{result_format} is not written as text")


def check_names(names: list[str]) -> None:
    """Check that no two columns have the same name, which an object or a file cannot hold.

    Raises:
        QueryError: two have.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise QueryError(f"column {twice[0]!r} is in the result twice: rename one with AS")


def write_markdown(result: Result, file: TextIO) -> None:
    """Write a table of GitHub's Markdown; numbers are aligned to the right, null is an empty cell.

    Values are written as in JSON, as one line of visible characters; what Markdown or HTML would read as markup is
    escaped.
    """

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |\n"

    file.write(line([_markdown_cell(name) for name in result.schema.names]))
    file.write(line(["---:" if is_number(field.type) else "---" for field in result.schema]))
    for row in plain_rows(result):
        file.write(line(["" if value is None else _markdown_cell(as_text(value)) for value in row]))


_MARKUP = re.compile(r"[\\`*_\[\]<>|~&]")


def _markdown_cell(text: str) -> str:
    # Between letters and digits an underscore is no markup for GitHub, and names of columns have many.
    return _MARKUP.sub(
        lambda found: "_" if found[0] == "_" and _within_word(found) else f"\\{found[0]}", printable(text)
    )


def _within_word(found: re.Match[str]) -> bool:
    before, after = found.string[found.start() - 1 : found.start()], found.string[found.end() : found.end() + 1]
    return before.isalnum() and after.isalnum()


def write_json(result: Result, file: TextIO) -> None:
    """Write one array with one object per row.

    Decimals are strings with their scale, dates `YYYY-MM-DD`, timestamps `2025-12-07T22:00:01.123` in UTC, maps
    are objects, bytes hexadecimal strings; NaN and infinities, which JSON does not have, are null. Invisible characters
    are written as JSON escapes, which parse to the same text.

    Raises:
        QueryError: two columns have the same name, which an object cannot hold.
    """
    names = result.schema.names
    check_names(names)
    separator = "["
    for row in plain_rows(result):
        text = json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
        file.write(separator + json_escaped(text))
        separator = ",\n"
    file.write("[]\n" if separator == "[" else "]\n")


def write_csv(result: Result, file: TextIO, *, visible: bool = False) -> None:
    r"""Write a header and one record per row as RFC 4180 (`\r\n`), null as an empty field, empty text as `""`.

    Values are written as in JSON; maps, structs and lists as JSON text. `visible` escapes terminal control characters.
    """
    shown = printable if visible else str
    file.write(",".join(_csv_field(shown(name)) for name in result.schema.names) + "\r\n")
    for row in plain_rows(result):
        line = ",".join("" if value is None else _csv_field(shown(as_text(value))) for value in row)
        # A record with a single null would be a blank line, which readers skip.
        file.write((line or '""') + "\r\n")


def print_table(result: Result, console: Console) -> None:
    """Print a result as a table, or as one block of `column value` lines per row where the table is too wide."""
    shown: list[pa.RecordBatch] = []
    found = 0
    for batch in _batches(result):
        if found < MOST_TABLE_ROWS:
            shown.append(batch.slice(0, MOST_TABLE_ROWS - found))
        found += batch.num_rows
    rows = [[_cell(value) for value in row] for row in plain_rows(ResultStream(result.schema, iter(shown)))]
    table = Table()
    for field in result.schema:
        table.add_column(Text(printable(field.name)), justify=_side(field.type), no_wrap=not _is_prose(field))
    for row in rows:
        table.add_row(*row)
    if fits(table, console, wrapped=any(map(_is_prose, result.schema))):
        console.print(table)
    else:
        _print_blocks([printable(name) for name in result.schema.names], rows, console)
    if found > len(rows):
        messages().print(
            f"{len(rows):,} of {found:,} rows shown: --format csv or json writes all",
            soft_wrap=True,
        )


def _print_blocks(names: list[str], rows: list[list[Text]], console: Console) -> None:
    width = max(map(len, names))
    for number, row in enumerate(rows, start=1):
        console.print(Text(f"-- row {number:,} ", style=QUIET), soft_wrap=True)
        for name, value in zip(names, row, strict=True):
            console.print(Text.assemble((f"{name:<{width}}  ", "bold"), value), soft_wrap=True)


def plain_rows(result: Result) -> Iterator[list[Any]]:
    """Yield the rows of a result as JSON-compatible values, a batch at a time.

    Raises:
        QueryError: a day or an instant is beyond what Python, and Excel, can hold.
    """
    converters = [_converter(field.type) for field in result.schema]
    for batch in _batches(result):
        parts = zip(result.schema.names, batch.columns, converters, strict=True)
        yield from map(list, zip(*(_plain_column(*each) for each in parts), strict=True))


def _plain_column(name: str, column: pa.Array, convert: Callable[[Any], Any]) -> list[Any]:
    try:
        return [None if value is None else convert(value) for value in column.to_pylist()]
    except (OverflowError, ValueError) as error:
        raise QueryError(
            f"column {name!r} has a day or an instant outside of the years 1 to 9999, or with nanoseconds: CAST it to "
            f"VARCHAR: {error}"
        ) from error


def _batches(result: Result) -> Iterator[pa.RecordBatch]:
    if isinstance(result, ResultStream):
        yield from result.batches
    else:
        yield from result.to_batches(max_chunksize=_BATCH_ROWS)


def as_text(value: Any) -> str:
    """Return a plain value as text; nested values as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_prose(field: pa.Field) -> bool:
    return PROSE in (field.metadata or {})


def _side(arrow_type: pa.DataType) -> Literal["left", "right"]:
    return "right" if is_number(arrow_type) else "left"


def is_number(arrow_type: pa.DataType) -> bool:
    """Return whether a column holds numbers."""
    import pyarrow as pa

    types = pa.types
    return bool(types.is_integer(arrow_type) or types.is_floating(arrow_type) or types.is_decimal(arrow_type))


def _converter(arrow_type: pa.DataType) -> Callable[[Any], Any]:
    import pyarrow as pa

    types = pa.types
    if types.is_boolean(arrow_type) or types.is_integer(arrow_type) or types.is_string(arrow_type):
        return lambda value: value
    if types.is_decimal(arrow_type):
        # DuckDB returns its 128-bit integers, such as SUM over integers, as decimal(38, 0).
        return int if (arrow_type.precision, arrow_type.scale) == (38, 0) else lambda value: format(value, "f")
    if types.is_floating(arrow_type):
        return lambda value: value if math.isfinite(value) else None
    if types.is_timestamp(arrow_type):
        return _timestamp_text
    if types.is_date(arrow_type) or types.is_time(arrow_type):
        return lambda value: value.isoformat()
    if types.is_interval(arrow_type):
        return _interval_text
    if types.is_map(arrow_type):
        convert_key, convert_item = _converter(arrow_type.key_type), _converter(arrow_type.item_type)
        return lambda pairs: {
            as_text(convert_key(key)): None if item is None else convert_item(item) for key, item in pairs
        }
    if types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type):
        convert_each = _converter(arrow_type.value_type)
        return lambda items: [None if item is None else convert_each(item) for item in items]
    if types.is_struct(arrow_type):
        parts = {field.name: _converter(field.type) for field in arrow_type}
        return lambda struct: {
            name: None if struct[name] is None else convert(struct[name]) for name, convert in parts.items()
        }
    if types.is_binary(arrow_type) or types.is_large_binary(arrow_type):
        return lambda value: value.hex()
    return str


def _timestamp_text(value: datetime) -> str:
    if getattr(value, "nanosecond", 0):
        # Of pandas, which pyarrow uses for them if it is installed; without it, pyarrow raises the same.
        raise ValueError("nanoseconds")
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat(timespec="microseconds" if value.microsecond % 1_000 else "milliseconds")


def _interval_text(value: Any) -> str:
    """Return an interval as DuckDB writes it: `1 year 2 months 3 days 04:05:06.500000`."""
    years, months = divmod(abs(value.months), 12)
    sign = -1 if value.months < 0 else 1
    counts = ((sign * years, "year"), (sign * months, "month"), (value.days, "day"))
    parts = [f"{count} {plural(count, name)}" for count, name in counts if count]
    if value.nanoseconds or not parts:
        minutes, micros = divmod(abs(value.nanoseconds) // 1_000, 60_000_000)
        seconds, fraction = divmod(micros, 1_000_000)
        time = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{f'.{fraction:06}' if fraction else ''}"
        parts.append(f"-{time}" if value.nanoseconds < 0 else time)
    return " ".join(parts)


def _csv_field(text: str) -> str:
    if text and not any(special in text for special in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _cell(value: Any) -> Text:
    return Text("null", style=QUIET) if value is None else Text(printable(as_text(value)))
