"""Findings of an examination: level, what was found, and what to do."""

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
    """A finding about one subject."""

    level: Level
    subject: str
    found: str
    remedy: str = ""
    """What to do; empty if nothing is wrong."""


def guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    """Run one check; an error that prevents it becomes its finding."""
    try:
        return check()
    except (PipelineError, OSError) as error:
        return Finding(Level.FAIL, subject, str(error))
