"""Concurrency: the pools that steps share, their limits, and whether an instance has them.

The run queue's own limits are in dagster.yaml. `default_limit` there takes effect only from a pool's second batch of
steps on, so every pool gets an explicit limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import dagster as dg
from dagster._core.instance.config import PoolGranularity
from dagster._core.storage.tags import BACKFILL_ID_TAG

from event_pipeline.assets.gold import gold_pool
from event_pipeline.assets.silver import SILVER_POOL
from event_pipeline.rules.query import GOLD_FOLDER, load_gold_tables
from event_pipeline.settings import Settings


def pool_limits(settings: Settings, gold_folder: Path = GOLD_FOLDER) -> dict[str, int]:
    """Return every pool that assets and jobs use, with its limit from the settings."""
    tables = load_gold_tables(gold_folder)
    return {
        SILVER_POOL: settings.silver_pool_limit,
        **{gold_pool(table.name): settings.gold_pool_limit for table in tables},
    }


def set_pool_limits(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Set the limit of every pool of an instance; running steps continue."""
    present = _explicit_limits(instance)
    for pool, limit in pool_limits(settings).items():
        if present.get(pool) != limit:
            instance.event_log_storage.set_concurrency_slots(pool, limit)


def limit_faults(instance: dg.DagsterInstance, settings: Settings) -> list[str]:
    """Return which limits of an instance differ from the settings and from the checkout's dagster.yaml."""
    present = _explicit_limits(instance)
    faults = [
        f"pool {pool} has {f'the limit {present[pool]}' if pool in present else 'no limit of its own'}, not {limit}"
        for pool, limit in pool_limits(settings).items()
        if present.get(pool) != limit
    ]
    concurrency = instance.get_concurrency_config()
    if concurrency.pool_config.pool_granularity is not PoolGranularity.OP:
        faults.append("pools hold whole runs: dagster.yaml needs concurrency.pools.granularity: op")
    queue = concurrency.run_queue_config
    if queue is None or not any(limit.get("key") == BACKFILL_ID_TAG for limit in queue.tag_concurrency_limits):
        faults.append(f"backfills may take every run: dagster.yaml needs a limit for the tag {BACKFILL_ID_TAG}")
    return faults


def taken_pools(instance: dg.DagsterInstance) -> Iterable[str]:
    """Yield which pools have no free slot: Dagster waits for one silently."""
    for pool in sorted(_explicit_limits(instance)):
        info = instance.event_log_storage.get_concurrency_info(pool)
        if info.slot_count and len(info.claimed_slots) >= info.slot_count:
            runs = ", ".join(slot.run_id[:8] for slot in info.claimed_slots)
            yield f"waiting for pool {pool}, which is taken by run {runs}"


def _explicit_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits() if not pool.from_default}
