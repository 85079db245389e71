"""A lake of the version before, read and built upon by a real Trino: the test body of the other engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.engines.aws.test_evolution import (  # noqa: F401
    gold,
    older_world,
    test_older_hours_show_null_until_they_are_built_again,
)

pytestmark = pytest.mark.trino


@pytest.fixture
def older(aws: EmulatedAws, settings: Settings, root: Path, gold: Path) -> World:  # noqa: F811 - the imported fixture
    """The older lake, in an account whose queries Trino answers."""
    return older_world(settings, aws, root, gold)
