"""What was tried to break a promise, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

Say = Callable[[str], None]
"""Called with a line of progress."""


class Promise(StrEnum):
    """What the pipeline promises; the value is the sentence on `docs/reliability.md`."""

    COMPLETE = "Nothing is lost and nothing is doubled: every record has one verdict, and every hour adds up."
    WHOLE = "Readers see the old hour or the new one, never a half, a doubled or a missing one."
    HEALS = "After any failure, a plain rerun publishes exactly what a run without failure would have."
    DURABLE = "What has been published survives a power cut, or its damage is noticed and healed."
    EQUAL = "Neither the order of work, the layout of the input, nor the place to run changes a row."
    TOTAL = "No input crashes it or makes it hang: every line, object and record gets one verdict or one clear error."
    BOUNDED = "Memory and storage do not grow with the time that it runs."
    GUARDED = "A defect in the product itself fails a test: the proofs can see."


@dataclass(frozen=True, slots=True)
class Trial:
    """One kind of attempt to break a promise, as often as it was made."""

    promise: Promise
    tried: str
    """What was tried, as text without numbers; names the assembly where it is not all of them."""
    times: int
    seed: int | None
    """The seed of random choices; None if there are none."""
    violations: tuple[str, ...]
    """What broke the promise, one text each, with all that a person needs to repeat it."""
    seconds: float


class Part(Protocol):
    """A module of this folder that breaks things."""

    def trials(self, scale: int, seed: int, say: Say) -> Iterator[Trial]:
        """Try everything once (`scale` 1, what CI runs), or random choices `scale` times as often."""
