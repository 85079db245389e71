"""The whole pipeline as people run it: `event-pipeline dev`, objects landing, the daemon killed, everything killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_pipeline_tests.rehearsal import rehearse


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hours_fed_to_a_pipeline_that_is_killed_twice_are_published_exactly(tmp_path: Path) -> None:
    rehearsed = rehearse(tmp_path, hours_fed=3, every_seconds=0.3)

    # Killed runs were retried or their hours asked for again, and no pool was held twice.
    assert rehearsed.runs >= 4
    assert rehearsed.most_at_once["silver"] == 1
