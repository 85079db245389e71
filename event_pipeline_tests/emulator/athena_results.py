"""Rows as Athena returns them: every value as text in Athena's own form, in pages and as a CSV file."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from event_pipeline_tests.emulator.athena_outcome import Outcome

_PLAIN_NAMES = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.string(): "varchar",
    pa.binary(): "varbinary",
}


def page(outcome: Outcome, start: int, size: int) -> dict[str, Any]:
    """Return one page of GetQueryResults. A SELECT's first row is its header; other statements have none."""
    columns = [_column_info(field) for field in outcome.table.schema]
    headers, end = int(outcome.header), start + size
    rows: list[list[str | None]] = [list(outcome.table.column_names)] if outcome.header and start == 0 else []
    first = max(start - headers, 0)
    rows += _texts(outcome.table.slice(first, end - headers - first))
    answer: dict[str, Any] = {
        "ResultSet": {
            "Rows": [{"Data": [{} if text is None else {"VarCharValue": text} for text in row]} for row in rows],
            "ResultSetMetadata": {"ColumnInfo": columns},
        }
    }
    if outcome.update_count is not None:
        answer["UpdateCount"] = outcome.update_count
    if end < outcome.table.num_rows + headers:
        answer["NextToken"] = str(end)
    return answer


def as_file(outcome: Outcome) -> str:
    """Return the result file: CSV with every value quoted and nulls left empty, or plain lines without a header."""
    if not outcome.header:
        return "".join("\t".join(text or "" for text in row) + "\n" for row in _texts(outcome.table))
    rows = [list(outcome.table.column_names), *_texts(outcome.table)]
    return "".join(",".join(_quoted(text) for text in row) + "\n" for row in rows)


def _quoted(text: str | None) -> str:
    return "" if text is None else '"' + text.replace('"', '""') + '"'


def _texts(table: pa.Table) -> list[list[str | None]]:
    columns = [
        [None if value is None else _text(value, column.type) for value in column.to_pylist()]
        for column in table.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _column_info(field: pa.Field) -> dict[str, Any]:
    type_name, precision, scale = _athena_type(field.type)
    return {
        "CatalogName": "hive",
        "SchemaName": "",
        "TableName": "",
        "Name": field.name,
        "Label": field.name,
        "Type": type_name,
        "Precision": precision,
        "Scale": scale,
        "Nullable": "UNKNOWN",
        "CaseSensitive": type_name == "varchar",
    }


def _athena_type(arrow: pa.DataType) -> tuple[str, int, int]:
    if arrow in _PLAIN_NAMES:
        name = _PLAIN_NAMES[arrow]
        return name, {"varchar": 2_147_483_647, "integer": 10, "bigint": 19, "double": 17}.get(name, 0), 0
    if pa.types.is_decimal(arrow):
        return "decimal", arrow.precision, arrow.scale
    if pa.types.is_timestamp(arrow):
        return ("timestamp with time zone" if arrow.tz else "timestamp"), 3, 0
    if pa.types.is_map(arrow):
        return "map", 0, 0
    if pa.types.is_list(arrow):
        return "array", 0, 0
    if pa.types.is_struct(arrow):
        return "row", 0, 0
    raise TypeError(f"a column of type {arrow} has no Athena type in this emulator")


def _text(value: Any, arrow: pa.DataType) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return java_double(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        zone = " UTC" if value.tzinfo else ""
        return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}{zone}"
    if isinstance(value, bytes):
        return value.hex(" ")
    if pa.types.is_map(arrow):
        pairs = (f"{_inner(key, arrow.key_type)}={_inner(item, arrow.item_type)}" for key, item in value)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inner(item, arrow.value_type) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}={_inner(value[name], arrow.field(name).type)}" for name in value) + "}"
    return str(value)


def _inner(value: Any, arrow: pa.DataType) -> str:
    return "null" if value is None else _text(value, arrow)


def java_double(value: float) -> str:
    """Write a double as Java's Double.toString does, which is what Athena shows: 1.0E10, 0.25, 1.0E-5."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = f"{Decimal(repr(value)):f}"
        return text if "." in text else text + ".0"
    digits, _, exponent = f"{Decimal(repr(value)).normalize():E}".partition("E")
    return f"{digits if '.' in digits else digits + '.0'}E{int(exponent)}"
