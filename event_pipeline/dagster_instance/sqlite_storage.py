"""Dagster's SQLite storage for a process that executes runs: connections are kept, and commits are not synced.

Dagster opens and closes a connection for every event, and each commit waits for the disk: two thirds of the time of a
run over tiny hours. The files are Dagster's own; daemon and web server use them with Dagster's own classes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._utils.concurrency import ConcurrencyClaimStatus
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

from event_pipeline.dagster_instance.run_hours import close_abandoned_runs

_SECONDS_BETWEEN_CLAIMS = 0.25
_CLAIMS_BETWEEN_LOOKS = 20
"""Claims in vain until it is looked again whether the pool's holder is gone."""


class KeptEventLogStorage(SqliteEventLogStorage):
    """The event log over one connection per database, which calls take in turn."""

    def __init__(self, base_dir: str) -> None:
        self._engines: dict[str, Engine] = {}
        self._tables: set[str] = set()
        self._claims_in_vain = 0
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engines.get(shard)
            if engine is None:
                engine = self._engines[shard] = create_engine(
                    self.conn_string_for_shard(shard),
                    poolclass=StaticPool,
                    connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
                )
                event.listen(engine, "connect", _sync_less)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def has_table(self, table_name: str) -> bool:
        """Return whether the index has a table; Dagster asks for every event, and none is ever dropped."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event, and show web servers that watch the run that there is one.

        They watch the database's file, which a kept connection changes only when it checkpoints.
        """
        super().store_event(event)
        os.utime(self.path_for_shard(event.run_id))

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        """Claim a place in a pool for a step; where none is free, wait a moment before saying so.

        A run that waits for a pool asks again after seconds, and spends them in a loop that takes a whole core
        (`interval_to_next_pending_claim_check` is never above zero). So the wait is here, and the next look follows.

        Who holds the pool may be killed, and there need not be a daemon that notices: the one who waits looks itself.
        """
        status = super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        if status.is_claimed:
            self._claims_in_vain = 0
            return status
        if self._claims_in_vain % _CLAIMS_BETWEEN_LOOKS == 0:
            close_abandoned_runs(self._instance)
            self._assign_free_place(concurrency_key)
        self._claims_in_vain += 1
        time.sleep(_SECONDS_BETWEEN_CLAIMS)
        at_once: ConcurrencyClaimStatus = status.with_sleep_interval(0.0)
        return at_once

    def _assign_free_place(self, pool: str) -> None:
        """Give a free place to the step that waits longest.

        Whoever leaves a pool does that, but it may be killed before, or have left when the step was not waiting yet.
        """
        if self.has_unassigned_slots(pool):
            self.assign_pending_steps([pool])

    def dispose(self) -> None:
        """Close the connections."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()


class KeptSqliteStorage(DagsterSqliteStorage):
    """Dagster's storage with that event log."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = KeptEventLogStorage(self._event_log_storage._base_dir)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> KeptSqliteStorage:
        """Make it as Dagster makes its own."""
        return cls.from_local(inst_data=inst_data, **config_value)


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Let an instance that serves one run use the kept event log, if its event log is Dagster's own in SQLite."""
    own = instance.event_log_storage
    if type(own) is SqliteEventLogStorage:
        kept = KeptEventLogStorage(own._base_dir)
        kept.register_instance(instance)
        instance._event_storage = kept


def _sync_less(connection: Any, _: Any) -> None:
    """Sync the write-ahead log at checkpoints only: a power cut may take the last events, and damages nothing."""
    connection.execute("PRAGMA synchronous = NORMAL")
