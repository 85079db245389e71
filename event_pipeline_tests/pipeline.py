"""Steps that many tests take: writing raw objects, building hours without Dagster, holding results to the oracle."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from event_pipeline.engines.base import Engine, SilverBuild
from event_pipeline.reporting.answers import named_query
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable, load_gold_tables
from event_pipeline_tests import oracle

HOUR = Hour.parse("2025-12-07T22")


def event(hour: Hour = HOUR, second: float = 0, **fields: Any) -> dict[str, Any]:
    """One page view of an hour; fields win over the defaults."""
    instant = hour.start + timedelta(seconds=second)
    return {
        "timestamp": instant.isoformat(),
        "user_id": "u_1",
        "session_id": "s_1",
        "event_type": "page_view",
        "product_id": "p_1",
        "quantity": None,
        "price": None,
        "category": "books",
        "search_query": None,
    } | fields


def purchase(hour: Hour = HOUR, second: float = 0, **fields: Any) -> dict[str, Any]:
    """One purchase of an hour."""
    return event(hour, second, **({"event_type": "purchase", "quantity": 2, "price": 9.99} | fields))


def write_object(root: Path, hour: Hour, minute: int, lines: Iterable[Any] | bytes, second: int = 0) -> str:
    """Write one raw object (dicts become JSON lines; bytes are stored as they are) and return its key."""
    landed: datetime = hour.start + timedelta(minutes=minute, seconds=second)
    key = hour.raw_key(landed)
    path = root / "raw" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(lines, bytes):
        stored = lines
    else:
        encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        stored = gzip.compress(b"\n".join(encoded), mtime=0)
    path.write_bytes(stored)
    return key


ALL_GOLD = load_gold_tables()


def build(
    engine: Engine, hours: Sequence[Hour], tables: Sequence[GoldTable] = ALL_GOLD, **options: bool
) -> list[SilverBuild]:
    """Take hours the whole way without Dagster: Silver, registration, Gold."""
    builds = list(engine.build_silver(hours, progress=silent, **options))
    engine.register_hours(hours)
    for table in tables:
        engine.refresh_gold(table, hours, progress=silent)
    return builds


def silent(_: str) -> None:
    """Progress that nobody watches."""


def rows(engine: Engine, sql: str) -> list[dict[str, Any]]:
    """Rows of a query."""
    found: list[dict[str, Any]] = engine.query(sql).to_pylist()
    return found


def in_order(found: Iterable[dict[str, Any]]) -> list[str]:
    """Rows as comparable text, sorted: equal lists mean equal multisets of rows, types included."""
    return sorted(repr(sorted(row.items())) for row in found)


def assert_agrees_with_oracle(
    engine: Engine,
    root: Path,
    limits: oracle.Limits = oracle.DEFAULT_LIMITS,
    tables: Sequence[GoldTable] = ALL_GOLD,
) -> oracle.Expected:
    """Hold Silver, quarantine, ledger and Gold tables to what the oracle makes of the same raw folder."""
    expected = oracle.read_root(root, limits)
    assert in_order(rows(engine, "FROM silver.events")) == in_order(expected.silver)
    assert in_order(rows(engine, "FROM silver.quarantine")) == in_order(expected.quarantine)
    for row in rows(engine, "FROM ops.hour_ledger"):
        hour = expected.hours["{year}-{month}-{day}T{hour}".format(**row)]
        found = {name: row[name] for name in ("objects", "unreadable_objects", "raw_bytes", "records", "silver_rows")}
        assert found == {
            "objects": hour.objects,
            "unreadable_objects": len(hour.unreadable),
            "raw_bytes": hour.raw_bytes,
            "records": hour.records,
            "silver_rows": hour.silver_rows,
        }
        assert row["duplicates"] == hour.duplicates
        assert dict(row["quarantined_by_reason"]) == dict(hour.quarantined)
        assert row["quarantined"] == hour.quarantined.total()
    assert set(expected.gold) == {table.name for table in ALL_GOLD}
    for table in tables:
        assert rows(engine, named_query(table.name, ALL_GOLD)) == expected.gold[table.name], table.name
    return expected
