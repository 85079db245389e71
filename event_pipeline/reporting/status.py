"""Prints the state of every landing hour, as a grid of days x 24 hours or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_pipeline.dagster_instance.storage import RunState
from event_pipeline.engines.state import DUE_STATES, HourState
from event_pipeline.inspection.status import HourStatus, Status
from event_pipeline.reporting.terminal import FAULT, GOOD, NOTE, QUIET, WARNING
from event_pipeline.reporting.unmatched import unmatched_lines
from event_pipeline.rules.drift import DRIFT_ADVICE, drift_text
from event_pipeline.rules.hour import hours_text

WIDE_GRID = 112
"""Terminal width from which every hour of the grid gets its own heading and spacing."""


UNMATCHED_IN_JSON = 100

MOST_DAYS_ALIKE = 3
"""More days in a row without anything to see are one row of the grid."""


@dataclass(frozen=True, slots=True)
class _Mark:
    symbol: str
    plain: str
    """The symbol for ASCII-only output."""
    style: str
    meaning: str


_GAP = _Mark("×", "x", FAULT, "gap: no raw objects")
_QUIET = _Mark("□", "e", FAULT, "gap, built as empty")
_ALL_LOST = _Mark("▪", "+", GOOD, "ready, all raw objects lost")
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
    HourState.LOST_OBJECTS: _Mark("S", "S", FAULT, "raw objects lost"),
    HourState.RETIRED: _Mark("▫", "-", QUIET, "past its retention"),
    HourState.OPEN: _Mark("▸", ">", NOTE, "open, not over yet"),
    HourState.NO_RAW: _Mark("·", ".", QUIET, "nothing landed"),
}


def status_as_json(status: Status) -> dict[str, Any]:
    """Return the status as one JSON document: hours in order, the number of unmatched keys, and the first ones."""
    hours = [
        {
            "hour": str(each.hour),
            "state": each.state.value,
            "gap": each.gap,
            "objects": each.objects,
            "records": each.records,
            "quarantined": each.quarantined,
            "duplicates": each.duplicates,
            "erased": each.erased,
            "unknown_fields": each.unknown_fields,
            "wrongly_framed": each.wrongly_framed,
            "last_run": each.run.value if each.run else None,
        }
        for each in status.hours
    ]
    return {
        "hours": hours,
        "schema_drift": [
            {"field": each.name, "records": each.records, "example": each.example or None} for each in status.drift
        ],
        "unmatched_keys": len(status.unmatched),
        "first_unmatched_keys": [
            {"key": each.key, "reason": each.reason} for each in status.unmatched[:UNMATCHED_IN_JSON]
        ],
    }


def print_status(status: Status, console: Console) -> None:
    """Print the grid, its legend, and what needs action."""
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
    days = [(day, list(statuses)) for day, statuses in groupby(status.hours, key=lambda each: each.hour.start.date())]
    for mark, alike in groupby(days, key=lambda each: _only_mark(each[1])):
        some = list(alike)
        if mark is not None and len(some) > MOST_DAYS_ALIKE:
            table.add_row(*_folded_row(mark, [day for day, _ in some], sum(len(hours) for _, hours in some), console))
        else:
            for day, statuses in some:
                table.add_row(*_day_row(day, statuses, wide, console))
    return table


def _only_mark(statuses: Sequence[HourStatus]) -> _Mark | None:
    """Return the mark of all hours of a day on which there is nothing to see; None for any other day."""
    marks = list(map(_mark, statuses))
    nothing = (_STATES[HourState.NO_RAW], _STATES[HourState.RETIRED], _GAP)
    return marks[0] if marks[0] in nothing and all(mark is marks[0] for mark in marks) else None


def _folded_row(mark: _Mark, days: Sequence[date], hours: int, console: Console) -> list[Text]:
    done = hours if mark is _STATES[HourState.RETIRED] else 0
    return [
        Text(str(days[0])),
        Text(f"to {days[-1]}  {_symbol(mark, console)} {mark.meaning}", style=mark.style),
        Text(f"{done:,}/{hours:,}", style=GOOD if done else WARNING),
    ]


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
    ready = sum(each.state in done or _mark(each) is _ALL_LOST for each in statuses)
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
    if status.state is HourState.LOST_OBJECTS and not status.objects:
        return _ALL_LOST
    return _STATES[status.state]


def _symbol(mark: _Mark, console: Console) -> str:
    return mark.symbol if console.encoding.startswith("utf") else mark.plain


def _legend(status: Status, console: Console) -> Columns:
    used = [_mark(each) for each in status.hours]
    entries = [mark for mark in (*_STATES.values(), _ALL_LOST, _GAP, _QUIET, *_RUNS.values()) if mark in used]
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
    lost = [each.hour for each in status.hours if each.state is HourState.LOST_OBJECTS and each.objects]
    if lost:
        remedy = "restore the objects, or `event-pipeline run --from HOUR --to HOUR --allow-lost-objects`"
        lines.append(Text(f"Lost objects: {hours_text(lost)}: {remedy}", style=FAULT))
    gaps = [each.hour for each in status.hours if each.gap]
    if gaps:
        lines.append(Text(f"Gaps: {hours_text(gaps)}: nothing landed", style=FAULT))
    if erased := [each for each in status.hours if each.erased]:
        records = sum(each.erased or 0 for each in erased)
        counted = f"{records:,} record{'s' if records > 1 else ''}"
        named = hours_text([each.hour for each in erased])
        lines.append(Text(f"Erased: {counted} of erased people in {named}", style=QUIET))
    framed = [each.hour for each in status.hours if each.wrongly_framed]
    if framed:
        remedy = "`event-pipeline verify` names them, and what the producer can do"
        lines.append(Text(f"Wrongly framed objects, so lost: {hours_text(framed)}: {remedy}", style=FAULT))
    for state in RunState:
        hours = [each.hour for each in status.hours if each.run is state]
        if hours:
            lines.append(Text(f"Dagster's last run {state}: {hours_text(hours)}", style=_RUNS[state].style))
    drifted = [each.hour for each in status.hours if each.unknown_fields]
    if drifted:
        lines.append(Text(f"Schema drift: {hours_text(drifted)}: new fields {drift_text(status.drift)}", style=WARNING))
        lines.append(Text(f"  {DRIFT_ADVICE}", style=QUIET))
    lines += unmatched_lines(status.unmatched)
    return lines
