"""What an examination says about one subject: its level, what was found, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from event_pipeline.errors import PipelineError


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject."""

    level: Level
    subject: str
    found: str
    remedy: str = ""
    """What to do; empty when all is well."""


def guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    """Run one check; what keeps it from looking is its finding."""
    try:
        return check()
    except (PipelineError, OSError) as error:
        return Finding(Level.FAIL, subject, str(error))
