"""Where every landing hour stands: a grid of days x 24 hours from raw listing, commit records, catalog and Dagster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_pipeline.automation.dagster_storage import RunState
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import DUE_STATES, HourState
from event_pipeline.errors import StorageError
from event_pipeline.reporting.terminal import FAULT, GOOD, NOTE, QUIET, WARNING
from event_pipeline.reporting.unmatched import unmatched_lines
from event_pipeline.rules.accounting import UnmatchedKey
from event_pipeline.rules.framing import wrongly_framed
from event_pipeline.rules.hour import Hour, HourRange, hours_text, implausible, plausible_part

WIDE_GRID = 112
"""Columns from which every hour of the grid gets a heading and room of its own."""


UNMATCHED_IN_JSON = 100


@dataclass(frozen=True, slots=True)
class HourStatus:
    """One landing hour."""

    hour: Hour
    state: HourState
    gap: bool
    """No raw objects, although there are some before and after."""
    objects: int
    """Raw objects that are listed now."""
    records: int | None
    """Of the published build, as the next two; None when nothing is published."""
    quarantined: int | None
    duplicates: int | None
    run: RunState | None
    wrongly_framed: int = 0
    """Objects of the published build that are not one JSON object a line, so lost."""


@dataclass(frozen=True, slots=True)
class Status:
    """Every landing hour between the first and the last that is known, or of a range."""

    hours: tuple[HourStatus, ...]
    unmatched: tuple[UnmatchedKey, ...]
    """Keys under `events/` that do not match the raw layout."""

    def of_state(self, *states: HourState) -> list[Hour]:
        """Return the hours in any of some states."""
        return [each.hour for each in self.hours if each.state in states]


@dataclass(frozen=True, slots=True)
class _Mark:
    symbol: str
    plain: str
    """The symbol where the output cannot show others than ASCII."""
    style: str
    meaning: str


_GAP = _Mark("×", "x", FAULT, "gap: no raw objects")
_QUIET = _Mark("□", "e", FAULT, "gap, built as empty")
_EXPIRED = _Mark("▪", "+", GOOD, "ready, raw objects expired")
_RUNS = {
    RunState.FAILED: _Mark("F", "F", "bold white on red", "last run failed"),
    RunState.IN_PROGRESS: _Mark("R", "R", "bold white on blue", "run in progress"),
}
_STATES = {
    HourState.READY: _Mark("■", "#", GOOD, "ready"),
    HourState.NEW: _Mark("N", "N", NOTE, "new, not built yet"),
    HourState.CHANGED: _Mark("C", "C", WARNING, "changed since it was built"),
    HourState.OUTDATED: _Mark("O", "O", WARNING, "outdated rules"),
    HourState.PROVISIONAL: _Mark("P", "P", WARNING, "provisional: built while it was open"),
    HourState.UNREGISTERED: _Mark("U", "U", WARNING, "unregistered"),
    HourState.GOLD_BEHIND: _Mark("G", "G", WARNING, "Gold behind"),
    HourState.DAMAGED: _Mark("D", "D", FAULT, "commit record damaged"),
    HourState.SHRUNK: _Mark("S", "S", FAULT, "shrunk: raw objects lost"),
    HourState.RETIRED: _Mark("▫", "-", QUIET, "past its retention"),
    HourState.OPEN: _Mark("▸", ">", NOTE, "open, not over yet"),
    HourState.NO_RAW: _Mark("·", ".", QUIET, "nothing landed"),
}


def read_status(pipeline: Pipeline, now: datetime, hours: HourRange | None, runs: Mapping[Hour, RunState]) -> Status:
    """Gather where every hour of a range stands, or every hour from the first known one to the last.

    Raises:
        StorageError: the data folder cannot be read or is damaged.
    """
    engine = pipeline.engine
    listings = engine.list_raw_hours(hours)
    damaged: dict[Hour, StorageError] = {}  # the state says which hours these are
    commits = engine.hour_commits(hours, damaged)
    # Nothing walks outside the hours that there can be, whatever an older version published or a person types.
    first = pipeline.settings.first_partition
    found = [hour for hour in {*listings, *commits, *damaged} if not implausible(hour, first, now)]
    known = HourRange.of(found) if found else None
    if hours is not None:
        known = plausible_part(hours, first, now)
    states = {}
    if known:
        states = pipeline.states(now, known, listings=listings, thorough=True)
    landed = HourRange.of(sorted(listings)) if listings else None
    statuses = []
    for hour, state in states.items():
        listing, commit = listings.get(hour), commits.get(hour)
        account = commit.account if commit else None
        statuses.append(
            HourStatus(
                hour,
                state,
                gap=listing is None and not (account and account.objects) and landed is not None and hour in landed,
                objects=len(listing.objects) if listing else 0,
                records=account.records if account else None,
                quarantined=account.quarantined if account else None,
                duplicates=account.duplicates if account else None,
                run=runs.get(hour),
                wrongly_framed=_wrongly_framed(hour, commits),
            )
        )
    return Status(tuple(statuses), tuple(engine.unmatched_raw_keys()))


def _wrongly_framed(hour: Hour, commits: Mapping[Hour, HourCommit]) -> int:
    commit, before = commits.get(hour), commits.get(hour.plus(-1))
    return len(wrongly_framed(commit.account, before.account if before else None)) if commit else 0


def status_as_json(status: Status) -> dict[str, Any]:
    """Return the status as one JSON document: hours in order, how many keys are unmatched, and the first of them."""
    hours = [
        {
            "hour": str(each.hour),
            "state": each.state.value,
            "gap": each.gap,
            "objects": each.objects,
            "records": each.records,
            "quarantined": each.quarantined,
            "duplicates": each.duplicates,
            "wrongly_framed": each.wrongly_framed,
            "last_run": each.run.value if each.run else None,
        }
        for each in status.hours
    ]
    return {
        "hours": hours,
        "unmatched_keys": len(status.unmatched),
        "first_unmatched_keys": [
            {"key": each.key, "reason": each.reason} for each in status.unmatched[:UNMATCHED_IN_JSON]
        ],
    }


def print_status(status: Status, console: Console) -> None:
    """Print the grid, what its symbols mean, and what there is to do."""
    if not status.hours:
        console.print("No raw objects yet. `event-pipeline generate` writes some.")
    else:
        console.print(_grid(status, console))
        console.print()
        console.print(_legend(status, console))
        console.print()
    for line in _findings(status):
        console.print(line)


def _grid(status: Status, console: Console) -> Table:
    wide = console.width >= WIDE_GRID and console.is_terminal
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=QUIET)
    table.add_column("day")
    table.add_column(_heading(wide), no_wrap=True)
    for name in ("ready", "objects", "records", "bad"):
        table.add_column(name, justify="right")
    for day, statuses in groupby(status.hours, key=lambda each: each.hour.start.date()):
        table.add_row(*_day_row(day, list(statuses), wide, console))
    return table


def _heading(wide: bool) -> str:
    if wide:
        return " ".join(f"{hour:02d}" for hour in range(24))
    return " ".join(f"{hour:02d}    " for hour in range(0, 24, 6))


def _day_row(day: date, statuses: Sequence[HourStatus], wide: bool, console: Console) -> list[Text]:
    marks = {each.hour.start.hour: _mark(each) for each in statuses}
    cells = Text()
    for hour in range(24):
        mark = marks.get(hour)
        cells.append(_symbol(mark, console) if mark else " ", style=mark.style if mark else "")
        cells.append("  " if wide else " " if hour % 6 == 5 else "")
    done = (HourState.READY, HourState.RETIRED)
    ready = sum(each.state in done or _mark(each) is _EXPIRED for each in statuses)
    records = sum(each.records or 0 for each in statuses)
    quarantined = sum(each.quarantined or 0 for each in statuses)
    return [
        Text(str(day)),
        cells,
        Text(f"{ready}/{len(statuses)}", style=GOOD if ready == len(statuses) else WARNING),
        Text(f"{sum(each.objects for each in statuses):,}"),
        Text(f"{records:,}"),
        Text(f"{quarantined / records:.2%}" if records else ""),
    ]


def _mark(status: HourStatus) -> _Mark:
    if status.run is not None:
        return _RUNS[status.run]
    if status.gap:
        return _GAP if status.records is None else _QUIET
    if status.state is HourState.SHRUNK and not status.objects:
        return _EXPIRED
    return _STATES[status.state]


def _symbol(mark: _Mark, console: Console) -> str:
    return mark.symbol if console.encoding.startswith("utf") else mark.plain


def _legend(status: Status, console: Console) -> Columns:
    used = [_mark(each) for each in status.hours]
    entries = [mark for mark in (*_STATES.values(), _EXPIRED, _GAP, _QUIET, *_RUNS.values()) if mark in used]
    texts = [Text.assemble((_symbol(mark, console), mark.style), f" {mark.meaning}") for mark in entries]
    return Columns(texts, padding=(0, 3))


def _findings(status: Status) -> list[Text]:
    lines = []
    damaged = status.of_state(HourState.DAMAGED)
    if damaged:
        remedy = "`event-pipeline doctor` names the file: move it away, then `event-pipeline run`"
        lines.append(Text(f"Damaged commit record: {hours_text(damaged)}: {remedy}", style=FAULT))
    due = status.of_state(*(DUE_STATES - {HourState.DAMAGED}))
    if due:
        lines.append(Text(f"Due: {hours_text(due)}: `event-pipeline run` brings them up to date", style=WARNING))
    shrunk = [each.hour for each in status.hours if each.state is HourState.SHRUNK and each.objects]
    if shrunk:
        remedy = "put the objects back, or `event-pipeline run --from HOUR --to HOUR --allow-fewer-objects`"
        lines.append(Text(f"Shrunk: {hours_text(shrunk)}: {remedy}", style=FAULT))
    gaps = [each.hour for each in status.hours if each.gap]
    if gaps:
        lines.append(Text(f"Gaps: {hours_text(gaps)}: nothing landed", style=FAULT))
    framed = [each.hour for each in status.hours if each.wrongly_framed]
    if framed:
        remedy = "`event-pipeline verify` names them, and what the producer can do"
        lines.append(Text(f"Wrongly framed objects, so lost: {hours_text(framed)}: {remedy}", style=FAULT))
    for state in RunState:
        hours = [each.hour for each in status.hours if each.run is state]
        if hours:
            lines.append(Text(f"Dagster's last run {state}: {hours_text(hours)}", style=_RUNS[state].style))
    lines += unmatched_lines(status.unmatched)
    return lines
