"""Materialization metadata for the cost of a step and its logs; empty where nothing is billed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from event_pipeline.engines.base import Cost


def cost_metadata(cost: Cost | None, hours_together: int = 1) -> dict[str, Any]:
    """Return an hour's share of a cost shared by `hours_together` hours."""
    if cost is None:
        return {}
    return {
        "estimated_usd": round(float(cost.usd) / hours_together, 6),
        "glue_dpu_seconds": round(float(cost.dpu_seconds) / hours_together, 1),
        "athena_bytes_scanned": cost.bytes_scanned // hours_together,
        "athena_queries": round(cost.queries / hours_together, 2),
        "s3_requests": round(cost.requests / hours_together, 2),
    }


def details_metadata(details: Mapping[str, str]) -> dict[str, Any]:
    """Return the details of a build, links as links."""
    return {name: dg.MetadataValue.url(text) if text.startswith("https://") else text for name, text in details.items()}
