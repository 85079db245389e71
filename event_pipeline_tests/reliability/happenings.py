"""What can happen to a lake: the steps of a history, how they are drawn at random, and how they are written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from event_pipeline.rules.hour import Hour
from event_pipeline_tests.reliability.steps import Fault

HOURS = tuple(Hour.parse("2025-12-07T22").plus(number) for number in range(4))
"""Two hours before midnight and two after; the last two are not over when a history begins."""
USERS = ("u_1", "u_2", "u_3")
LIMITS = ((7, 5), (1, 5), (7, 0))
"""Days that an event may be older than its landing hour, and minutes that it may be younger."""
RETENTIONS = ((0, 0), (2, 0), (3, 12))
"""Days of Silver and of Gold; 0 is for ever."""

Line = tuple[str, int, int, int]
"""Kind, second, user and hours before the landing hour (negative: after)."""


@dataclass(frozen=True)
class Land:
    """An object lands, or replaces the one of its minute."""

    hour: int
    minute: int
    lines: tuple[Line, ...]
    broken: bool = False
    """Whether it is cut off."""


@dataclass(frozen=True)
class Swap:
    """An object is replaced by one of the same size in the same second."""

    hour: int
    minute: int


@dataclass(frozen=True)
class Expire:
    """Raw objects of an hour are deleted: one, or all."""

    hour: int
    minute: int | None


@dataclass(frozen=True)
class Copy:
    """All raw objects are copied: the same bytes at another time."""


@dataclass(frozen=True)
class Rules:
    """Another rules version."""

    which: int


@dataclass(frozen=True)
class Sql:
    """Another version of the Gold SQL."""

    which: int


@dataclass(frozen=True)
class Wait:
    """Time passes."""

    hours: int


@dataclass(frozen=True)
class Build:
    """A run over some hours, from raw to Gold."""

    hours: tuple[int, ...]
    force: bool = False
    allow_lost: bool = False
    only_silver: bool = False


@dataclass(frozen=True)
class Repair:
    """The catalog is repaired, after it lost some entries."""

    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clean:
    """A round of housekeeping, which also retires hours and days."""


@dataclass(frozen=True)
class Erase:
    """A person is erased."""

    user: int
    rewrite_raw: bool = False


Work = Build | Repair | Clean | Erase


@dataclass(frozen=True)
class Break:
    """Work in which a port call fails, loses its reply, or is the last one."""

    work: Work
    at: int
    fault: Fault


@dataclass(frozen=True)
class Together:
    """Two workers, which take turns at port calls; a process may end in between."""

    first: Work
    second: Work
    turns: tuple[int, ...]
    """Calls that one takes before it is the other's turn; then each runs to its end."""
    ends_at: int | None = None
    """The call of the first worker at which its process ends."""


@dataclass(frozen=True)
class Ask:
    """A question about a range of days."""

    table: int
    first: int
    days: int


AnyStep = Land | Swap | Expire | Copy | Rules | Sql | Wait | Work | Break | Together | Ask


# -- drawing them


def _of_kinds(*kinds: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Draw from several strategies, each with its weight; `one_of` would merge equal ones and prefer the first."""
    return st.sampled_from([kind for weight, kind in kinds for _ in range(weight)]).flatmap(lambda kind: kind)


_rarely = st.sampled_from((False, False, False, False, True))
_hour = st.sampled_from(range(len(HOURS)))
_minute = st.sampled_from((0, 5))
_at = st.sampled_from(range(1, 61))
_line = st.tuples(
    st.sampled_from(("buy", "buy", "view", "view", "search", "bad", "garbage")),
    st.sampled_from(range(4)),
    st.sampled_from(range(len(USERS))),
    st.sampled_from((0, 0, 0, 0, 1, 2, 48, -1)),
)
_lines = st.lists(_line, min_size=1, max_size=6).map(tuple)
_land = st.builds(Land, _hour, _minute, _lines, st.sampled_from((False,) * 14 + (True,)))
_some_hours = st.sampled_from(((0,), (1,), (2,), (3,), (0, 1), (1, 2), (2, 3), (0, 1, 2, 3), (0, 1, 2, 3)))
_build = st.builds(Build, _some_hours, force=_rarely, allow_lost=_rarely, only_silver=_rarely)
_repair = st.builds(Repair, st.sampled_from(((), ("silver",), ("ledger", "quarantine"), ("partials",), ("gold",))))
_clean = st.just(Clean())
_erase = st.builds(Erase, st.sampled_from((0, 1)), st.booleans())
_work = _of_kinds((6, _build), (1, st.just(Repair())), (2, _clean), (1, _erase))
_break = st.builds(Break, _work, _at, st.sampled_from(tuple(Fault)))
_turns = st.lists(st.sampled_from(range(1, 26)), min_size=1, max_size=6).map(tuple)
_together = st.builds(Together, _work, _work, _turns, st.one_of(st.none(), _at))
_step: st.SearchStrategy[AnyStep] = _of_kinds(
    (5, _land),
    (2, st.builds(Swap, _hour, _minute)),
    (2, st.builds(Expire, _hour, st.sampled_from((0, 0, 5, None)))),
    (1, st.just(Copy())),
    (1, st.builds(Rules, st.sampled_from(range(len(LIMITS))))),
    (1, st.builds(Sql, st.sampled_from((0, 1)))),
    (2, st.builds(Wait, st.sampled_from((1, 1, 30, 24 * 8)))),
    (6, _build),
    (2, _repair),
    (2, _clean),
    (1, _erase),
    (5, _break),
    (5, _together),
    (1, st.builds(Ask, st.sampled_from((0, 1)), st.sampled_from((-3, -1, 0)), st.sampled_from((1, 2, 5)))),
)


def histories_of(steps: int) -> st.SearchStrategy[list[AnyStep]]:
    """Draw histories that begin with an object in each hour."""
    first = st.tuples(*(st.builds(Land, st.just(hour), st.just(0), _lines) for hour in range(len(HOURS))))
    rest = st.lists(_step, min_size=steps - len(HOURS), max_size=steps - len(HOURS))
    return st.builds(lambda first, rest: [*first, *rest], first, rest)


# -- writing them down


def script(history: Sequence[AnyStep], assembly: str, retention: int) -> str:
    """Return a Python script that repeats a history."""
    steps = "\n".join(f"    {_source(step)}," for step in history)
    return (
        "from event_pipeline_tests.reliability.happenings import *\n"
        "from event_pipeline_tests.reliability.histories import replay\n\n"
        f"history = [\n{steps}\n]\n"
        f"print(replay(history, {assembly!r}, retention={retention}) or 'no promise is broken')\n"
    )


def _source(step: AnyStep) -> str:
    text = repr(step)
    for fault in Fault:
        text = text.replace(repr(fault), f"Fault.{fault.name}")
    return text
