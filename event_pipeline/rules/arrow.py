"""The contract's tables as Arrow: schemas, Silver rows from accepted events, control totals of each event day.

Money stays in whole cents until the last step, where the cents become the decimal's unscaled integer: exact by
construction. Standard library and pyarrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.certificates import normalised_type
from event_pipeline.rules.contract import (
    EVENT_DATE,
    EVENT_HOUR,
    EVENT_TIME,
    EVENT_TYPE,
    FIELDS,
    PRICE,
    PURCHASE,
    QUANTITY,
    RESCUED,
    REVENUE,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    SOURCE_OBJECT,
    Table,
)
from event_pipeline.rules.kinds import Instant, Kind, Money

_ARROW_TYPES: dict[str, Callable[[], pa.DataType]] = {
    "string": pa.string,
    "int": pa.int32,
    "bigint": pa.int64,
    "double": pa.float64,
    "boolean": pa.bool_,
    "date": pa.date32,
    "timestamp": lambda: pa.timestamp("ms"),
    "map<string,bigint>": lambda: pa.map_(pa.string(), pa.int64()),
}
_DECIMAL_TYPE = re.compile(r"decimal\((\d{1,2}),(\d{1,2})\)", re.ASCII)

_INT64_DIGITS = 19


def arrow_type(glue_type: str) -> pa.DataType:
    """Return the Arrow type for a Glue type of the contract; `timestamp` is in milliseconds, naive UTC.

    Raises:
        ValueError: the contract has no such type.
    """
    if decimal := _DECIMAL_TYPE.fullmatch(glue_type):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    if glue_type in _ARROW_TYPES:
        return _ARROW_TYPES[glue_type]()
    raise ValueError(f"{glue_type!r} is not a type of the contract: {', '.join(_ARROW_TYPES)} or decimal(p,s)")


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table's data columns, without its partition columns."""
    return pa.schema([(column.name, arrow_type(column.type)) for column in table.columns])


EVENTS_SCHEMA = pa.schema(
    [
        *((field.name, normalised_type(field.kind)) for field in FIELDS),
        (RESCUED.name, pa.string()),
        ("line_number", pa.int64()),
    ]
)
"""Accepted events: the normalised fields (instants in naive UTC, money in whole cents), what is rescued of unknown
fields, and the physical line number."""

SILVER_SCHEMA = arrow_schema(SILVER_EVENTS)
QUARANTINE_SCHEMA = arrow_schema(SILVER_QUARANTINE)


def silver_rows(events: pa.Table, source_object: str) -> pa.Table:
    """Convert accepted events (EVENTS_SCHEMA, without duplicates) to rows of `silver.events` (SILVER_SCHEMA).

    Instants are truncated to the millisecond toward the past, even before 1970. `source_object` is the key of their
    raw object.
    """
    columns = {field.column.name: _silver_values(field.kind, events[field.name]) for field in FIELDS}
    event_ts = columns[EVENT_TIME.column.name]
    columns |= {
        EVENT_DATE.name: pc.cast(event_ts, pa.date32()),
        EVENT_HOUR.name: pc.cast(pc.hour(event_ts), pa.int32()),
        REVENUE.name: _as_decimal(revenue_cents(events), arrow_type(REVENUE.type)),
        RESCUED.name: events[RESCUED.name],
        SOURCE_OBJECT.name: pa.repeat(source_object, events.num_rows),
    }
    return pa.table([columns[name] for name in SILVER_SCHEMA.names], schema=SILVER_SCHEMA)


def day_totals(rows: pa.Table) -> dict[str, DayTotals]:
    """Aggregate rows of `silver.events` to the control totals of each event day, ordered by ISO date."""
    day, event_type, quantity = EVENT_DATE.name, EVENT_TYPE.column.name, QUANTITY.column.name
    counts: dict[str, dict[str, int]] = {}
    by_type = rows.select([day, event_type]).group_by([day, event_type], use_threads=False)
    for row in by_type.aggregate([([], "count_all")]).to_pylist():
        counts.setdefault(row[day].isoformat(), {})[row[event_type]] = row["count_all"]

    # Revenue is summed as a decimal of 38 digits: a day of the highest purchases in cents does not fit 64 bits.
    sales = rows.select([day, quantity, REVENUE.name])
    purchases = sales.filter(pc.equal(rows[event_type], PURCHASE.name))
    sold = {
        row[day].isoformat(): (row[f"{quantity}_sum"], row[f"{REVENUE.name}_sum"])
        for row in purchases.group_by(day, use_threads=False)
        .aggregate([(quantity, "sum"), (REVENUE.name, "sum")])
        .to_pylist()
    }
    return {day: DayTotals(of_type, *sold.get(day, ())) for day, of_type in sorted(counts.items())}


def revenue_cents(events: pa.Table) -> pa.ChunkedArray:
    """Return price x quantity of purchases (EVENTS_SCHEMA) in cents, null for others: at most 10^16, fits int64."""
    quantity = pc.cast(events[QUANTITY.name], pa.int64())
    is_purchase = pc.equal(events[EVENT_TYPE.name], PURCHASE.name)
    return pc.if_else(is_purchase, pc.multiply(events[PRICE.name], quantity), pa.scalar(None, pa.int64()))


def _silver_values(kind: Kind, values: pa.ChunkedArray) -> pa.ChunkedArray:
    match kind:
        case Instant():
            return _truncated_to_ms(values)
        case Money():
            return _as_decimal(values, arrow_type(kind.glue_type))
    return values


def _truncated_to_ms(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.floor_temporal(instants, unit="millisecond"), pa.timestamp("ms"))


def _as_decimal(cents: pa.ChunkedArray, decimal: pa.Decimal128Type) -> pa.ChunkedArray:
    """Reinterpret whole cents as a decimal with two places: the same integers, no division."""
    integers = pc.cast(cents, pa.decimal128(_INT64_DIGITS, 0))
    return pa.chunked_array([chunk.view(decimal) for chunk in integers.chunks], decimal)
