"""A webhook receiver, and a Dagster instance in memory, for the tests of one room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from event_pipeline_tests.instances import _no_waiting_for_the_disk, instance
from event_pipeline_tests.receiver import Receiver, webhook_receiver

__all__ = ["_no_waiting_for_the_disk", "instance", "receiver"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook on loopback."""
    with webhook_receiver() as running:
        yield running
