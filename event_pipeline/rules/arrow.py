"""The contract's tables as Arrow: schemas, Silver rows from accepted events, control totals of each event day.

Money stays in whole cents until the last step, where the cents become the decimal's unscaled integer: exact by
construction. Standard library and pyarrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import (
    ADD_TO_CART,
    PAGE_VIEW,
    PURCHASE,
    REMOVE_FROM_CART,
    SEARCH,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Table,
)

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
        ("instant", pa.timestamp("us")),
        ("user_id", pa.string()),
        ("session_id", pa.string()),
        ("event_type", pa.string()),
        ("product_id", pa.string()),
        ("category", pa.string()),
        ("quantity", pa.int32()),
        ("price_cents", pa.int64()),
        ("search_query", pa.string()),
        ("line_number", pa.int64()),
    ]
)
"""Accepted events: the nine normalised fields (instant in naive UTC) and the physical line number."""

SILVER_SCHEMA = arrow_schema(SILVER_EVENTS)
QUARANTINE_SCHEMA = arrow_schema(SILVER_QUARANTINE)


def silver_rows(events: pa.Table, source_object: str) -> pa.Table:
    """Convert accepted events (EVENTS_SCHEMA, without duplicates) to rows of `silver.events` (SILVER_SCHEMA).

    Instants are truncated to the millisecond toward the past, even before 1970. `source_object` is the key of their
    raw object.
    """
    event_ts = _truncated_to_ms(events["instant"])
    columns = {
        **{name: events[name] for name in events.column_names if name in SILVER_SCHEMA.names},
        "event_ts": event_ts,
        "event_date": pc.cast(event_ts, pa.date32()),
        "price": _as_decimal(events["price_cents"], SILVER_SCHEMA.field("price").type),
        "revenue": _as_decimal(_revenue_cents(events), SILVER_SCHEMA.field("revenue").type),
        "source_object": pa.repeat(source_object, events.num_rows),
    }
    return pa.table([columns[name] for name in SILVER_SCHEMA.names], schema=SILVER_SCHEMA)


def day_totals(rows: pa.Table) -> dict[str, DayTotals]:
    """Aggregate rows of `silver.events` to the control totals of each event day, ordered by ISO date."""
    counts: dict[str, dict[str, int]] = {}
    by_type = rows.select(["event_date", "event_type"]).group_by(["event_date", "event_type"], use_threads=False)
    for row in by_type.aggregate([([], "count_all")]).to_pylist():
        counts.setdefault(row["event_date"].isoformat(), {})[row["event_type"]] = row["count_all"]

    # Revenue is summed as a decimal of 38 digits: a day of the highest purchases in cents does not fit 64 bits.
    sales = rows.select(["event_date", "quantity", "revenue"])
    purchases = sales.filter(pc.equal(rows["event_type"], PURCHASE))
    sold = {
        row["event_date"].isoformat(): (row["quantity_sum"], row["revenue_sum"])
        for row in purchases.group_by("event_date", use_threads=False)
        .aggregate([("quantity", "sum"), ("revenue", "sum")])
        .to_pylist()
    }
    totals = {}
    for day, of_type in sorted(counts.items()):
        items_sold, revenue = sold.get(day, (0, Decimal("0.00")))
        totals[day] = DayTotals(
            events=sum(of_type.values()),
            page_views=of_type.get(PAGE_VIEW, 0),
            add_to_carts=of_type.get(ADD_TO_CART, 0),
            remove_from_carts=of_type.get(REMOVE_FROM_CART, 0),
            purchases=of_type.get(PURCHASE, 0),
            searches=of_type.get(SEARCH, 0),
            items_sold=items_sold,
            revenue=revenue,
        )
    return totals


def _truncated_to_ms(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.floor_temporal(instants, unit="millisecond"), pa.timestamp("ms"))


def _revenue_cents(events: pa.Table) -> pa.ChunkedArray:
    """Return price x quantity of purchases in cents, null for other events: at most 10^16, which fits int64."""
    quantity = pc.cast(events["quantity"], pa.int64())
    is_purchase = pc.equal(events["event_type"], PURCHASE)
    return pc.if_else(is_purchase, pc.multiply(events["price_cents"], quantity), pa.scalar(None, pa.int64()))


def _as_decimal(cents: pa.ChunkedArray, decimal: pa.Decimal128Type) -> pa.ChunkedArray:
    """Reinterpret whole cents as a decimal with two places: the same integers, no division."""
    integers = pc.cast(cents, pa.decimal128(_INT64_DIGITS, 0))
    return pa.chunked_array([chunk.view(decimal) for chunk in integers.chunks], decimal)
