"""Lets modules read a clock of the tests where they ask for the time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from types import ModuleType
from typing import Any, Protocol
from unittest import mock


class Clock(Protocol):
    """What shows the time."""

    def now(self, zone: Any = None) -> datetime:
        """Return the time, UTC."""


@contextmanager
def reading(clock: Clock, modules: Iterable[ModuleType]) -> Iterator[None]:
    """Let some modules, which import `datetime`, read a clock."""

    class Moving(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return clock.now()

    with ExitStack() as patches:
        for module in modules:
            patches.enter_context(mock.patch.object(module, "datetime", Moving))
        yield
