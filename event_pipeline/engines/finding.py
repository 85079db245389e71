"""What an examination says about one subject: its level, what was found, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from event_pipeline.errors import PipelineError

if TYPE_CHECKING:
    from event_pipeline.engines.base import PartitionChange

REPAIR = "`event-pipeline repair` makes the catalog agree with the commit records"


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


def entries_finding(differing: Sequence[PartitionChange]) -> Finding:
    """Say whether the catalog shows what the commit records say, by what `repair` would change."""
    if not differing:
        return Finding(Level.OK, "published builds", "the catalog shows what the commit records say")
    first = differing[0]
    found = (
        f"{len(differing):,} catalog entries are not what the commit records say, first: {first.table} "
        f"{first.partition}: {first.reason}"
    )
    return Finding(Level.FAIL, "published builds", found, REPAIR)
