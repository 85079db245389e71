"""Makes a lake older: Silver without `event_hour` and `rescued`, a funnel without money, the rules of version 0.1.0.

Data files are written anew without the columns that came later, and the commit records point at them. Build a lake with
today's code first; whatever catalog it has must be made older or removed by the caller.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pyarrow.parquet as pq

from event_pipeline.engines.store import Store

LATER_COLUMNS = {
    "silver.events": ("event_hour", "rescued"),
    "partials.conversion_funnel": ("items_sold", "revenue"),
    "gold.conversion_funnel": ("items_sold", "revenue"),
}
"""Table -> the columns that version 0.1.0 did not have."""
OLDER_RULES = "2:604800s:300s:1048576B:4294967296B:20000000"


def make_older(lake: Store) -> None:
    """Make every published file and commit record of a lake older."""
    for listed in list(lake.list("commits/")):
        found = lake.read(listed.key)
        assert found is not None
        commit = json.loads(found[0])
        if commit["kind"] == "hour":
            commit["rules_version"] = OLDER_RULES
        elif commit["kind"] in ("partial", "day") and commit["table"] == "conversion_funnel":
            commit["sql_version"] = "0123456789abcdef"
        for file in commit.get("files", ()):
            _make_file_older(lake, file)
        lake.write(listed.key, json.dumps(commit).encode())


def _make_file_older(lake: Store, file: dict[str, Any]) -> None:
    later = LATER_COLUMNS.get(file["table"])
    if later is None:
        return
    found = lake.read(file["path"])
    assert found is not None
    rows = pq.read_table(io.BytesIO(found[0]))
    written = io.BytesIO()
    pq.write_table(
        rows.drop_columns([name for name in later if name in rows.column_names]),
        written,
        compression="zstd",
        store_schema=False,
        store_decimal_as_integer=True,
    )
    body = written.getvalue()
    lake.write(file["path"], body)
    file["size"], file["sha256"] = len(body), hashlib.sha256(body).hexdigest()
