"""Cost estimates for building hours, with the chosen builder of Silver and with each other one."""

from __future__ import annotations

from collections.abc import Sequence

from event_pipeline.engines.base import Engine
from event_pipeline.reporting.costs import print_alternative, print_estimate
from event_pipeline.reporting.terminal import output
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings, SilverBuilderKind


def print_estimates(engine: Engine, hours: Sequence[Hour], settings: Settings) -> bool:
    """Print the estimates and return True; where nothing is billed, print nothing and return False."""
    estimate = engine.estimate(hours)
    if estimate is None:
        return False
    print_estimate(estimate, settings, output())
    for other in SilverBuilderKind:
        alternative = engine.with_builder(other).estimate(hours) if hours and other is not estimate.builder else None
        if alternative is not None:
            print_alternative(alternative, output())
    return True
