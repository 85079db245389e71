"""The ruler of Silver: DuckDB's own typed JSON reader, straight into Parquet; no verdicts, no checks."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb

_COLUMNS = (
    "{timestamp: 'TIMESTAMP', user_id: 'VARCHAR', session_id: 'VARCHAR', event_type: 'VARCHAR', product_id: 'VARCHAR',"
    " quantity: 'INTEGER', price: 'DECIMAL(10,2)', category: 'VARCHAR', search_query: 'VARCHAR'}"
)


def copy_bare(source: str, target: Path, threads: int) -> None:
    """Read the objects that a pattern names, and write one file."""
    reader = f"read_json('{source}', format = 'newline_delimited', columns = {_COLUMNS})"
    with closing(duckdb.connect(config={"threads": threads})) as connection:
        connection.execute(f"COPY (FROM {reader}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
