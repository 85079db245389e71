"""What an examination says of one subject: how it stands, what was found, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a finding stands."""

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
