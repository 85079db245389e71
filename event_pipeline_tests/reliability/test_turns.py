"""Two workers that take turns at port calls, with the turn at each call: readers see one build of an hour."""

from __future__ import annotations

import pytest

from event_pipeline_tests.reliability.happenings import AnyStep, Build, Erase, Land, Together
from event_pipeline_tests.reliability.histories import replay

LANDED = Land(0, 0, (("buy", 1, 0, 0), ("view", 2, 1, 0)))


@pytest.mark.parametrize("second", [Build((0,), force=True), Erase(1)])
def test_a_registration_that_is_interrupted_by_a_newer_build_shows_no_mix(second: Build | Erase) -> None:
    """Between its looks at two tables it would show its older build in one of them only."""
    begun: list[AnyStep] = [LANDED, Build((0,))]
    turns = range(12, 22)
    broken = [replay([*begun, Together(Build((0,)), second, (each, 400))], query=False) for each in turns]
    assert not any(broken), broken


def test_an_erasure_beside_a_build_leaves_the_files_that_are_not_published_yet() -> None:
    """A build of the same second as the published one looks replaced by its name alone."""
    begun: list[AnyStep] = [LANDED, Build((0,)), Erase(0)]
    turns = range(4, 40)
    broken = [replay([*begun, Together(Build((0,), force=True), Erase(0), (each, 400))], query=False) for each in turns]
    assert not any(broken), broken
