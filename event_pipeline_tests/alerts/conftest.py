"""A webhook receiver for the tests of one room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from event_pipeline_tests.receiver import Receiver, webhook_receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook on loopback."""
    with webhook_receiver() as running:
        yield running
