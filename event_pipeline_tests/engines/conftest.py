"""The embedded engine over a test's data folder."""

from __future__ import annotations

import pytest

from event_pipeline.engines.local import LocalEngine
from event_pipeline.settings import Settings


@pytest.fixture
def engine(settings: Settings) -> LocalEngine:
    """The embedded engine."""
    return LocalEngine(settings)
