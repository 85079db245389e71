"""Fixtures of Dagster's storage: in memory, or quick on disk. A room's conftest takes those that it needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's storage, in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Storage of a test need not survive a power cut; waiting for the disk took half of its time."""

    def in_a_hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", in_a_hurry)
    yield
    event.remove(Engine, "connect", in_a_hurry)
