"""Prints what the independent recount proved, or what differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from event_pipeline.inspection.verification import Difference, GoldVerdict, HourVerdict, Verification
from event_pipeline.reporting.tables import fits, lay_out
from event_pipeline.reporting.terminal import FAULT, GOOD, WARNING
from event_pipeline.reporting.unmatched import unmatched_lines
from event_pipeline.rules.accounting import UnmatchedKey
from event_pipeline.rules.framing import objects_text, remedies
from event_pipeline.rules.hour import Hour, hours_text

MOST_PAIRS = 10
"""Pairs of hours with the same records that are listed."""
OBJECTS_NAMED = 5
"""Wrongly framed objects per hour that are listed."""


def print_verification(
    verification: Verification, unmatched: Sequence[UnmatchedKey], expected_objects: int, console: Console
) -> None:
    """Print what was recounted, then everything that differs, then what could not be recounted.

    Keys that are not read, and hours with fewer objects than expected, are not differences: what they would add to the
    data is unknown here.
    """
    if verification.hours:
        console.print(_hours_table(verification.hours))
    if verification.gold:
        console.print()
        console.print(_gold_table(verification.gold))
    if verification.differences:
        console.print()
        _print_differences(verification.differences, console)
    console.print()
    few = [each.hour for each in verification.hours if 0 < each.objects < expected_objects]
    if few:
        console.print(Text(f"Fewer than {expected_objects} raw objects landed in {hours_text(few)}", style=WARNING))
    for line in (*unmatched_lines(unmatched), *_conclusion(verification)):
        console.print(line)


def _hours_table(verdicts: tuple[HourVerdict, ...]) -> Table:
    rows: list[list[Text | str]] = []
    erased = any(each.erased for each in verdicts)
    for each in verdicts:
        counts = [each.objects, each.unreadable, each.records, each.silver_rows, each.quarantined, each.duplicates]
        counts += [each.erased] if erased else []
        rows.append([str(each.hour), *(f"{count:,}" for count in counts), _seal(each.differences)])
    headings = (
        "hour",
        "objects",
        "broken",
        "records",
        "=rows",
        "+bad",
        "+dup",
        *(["+erased"] if erased else []),
        "Silver",
    )
    return lay_out(headings, rows, left=("hour",), title="Raw, recounted, against what queries see")


def _gold_table(verdicts: tuple[GoldVerdict, ...]) -> Table:
    days: defaultdict[date, dict[str, GoldVerdict]] = defaultdict(dict)
    for each in verdicts:
        days[each.day][each.table] = each
    names = list(dict.fromkeys(each.table for each in verdicts))
    rows: list[list[Text | str]] = [
        [str(day), *(Text.assemble(f"{tables[name].rows:,} ", _seal(tables[name].differences)) for name in names)]
        for day, tables in days.items()
    ]
    title = "Rows of Gold, recomputed from all Silver of the day, against what is published"
    return lay_out(["event day", *(name.replace("_", " ") for name in names)], rows, left=("event day",), title=title)


def _seal(differences: tuple[Difference, ...]) -> Text:
    return Text("differs", style=FAULT) if differences else Text("equal", style=GOOD)


def _print_differences(differences: list[Difference], console: Console) -> None:
    """Print a table if it fits, else one line per difference."""
    table = Table("where", "what", "expected", "found", title="What differs", title_justify="left", title_style=FAULT)
    for each in differences:
        table.add_row(each.place, each.what, each.expected, each.found)
    if fits(table, console):
        console.print(table)
        return
    console.print("What differs", style=FAULT)
    for place, group in groupby(differences, key=lambda each: each.place):
        console.print(place, style="bold")
        for each in group:
            line = Text.assemble(f"{each.what}: expected {each.expected}, ", (f"found {each.found}", WARNING))
            console.print(Padding(line, (0, 0, 0, 2)))


def _conclusion(verification: Verification) -> list[Text]:
    lines = []
    alike: defaultdict[str, list[Hour]] = defaultdict(list)
    for hour, left in verification.not_recounted.items():
        alike[left].append(hour)
    for left, hours in alike.items():
        lines.append(Text(f"Not recounted: {hours_text(hours)}: {left}, what was built stays published", style=WARNING))
    if verification.retired:
        named = hours_text(verification.retired)
        lines.append(
            Text(f"Past their retention, so not recounted: {named}; Gold is checked against their control totals")
        )
    if verification.not_built:
        named = hours_text(verification.not_built)
        lines.append(Text(f"Not built yet, so not verified: {named}: `event-pipeline run`", style=WARNING))
    pairs = list(verification.sent_again.items())
    for (hour, other), shared in pairs[:MOST_PAIRS]:
        lines.append(Text(f"Sent again, so counted twice: {hour} and {other} both hold {shared}", style=WARNING))
    if len(pairs) > MOST_PAIRS:
        lines.append(Text(f"Sent again, too: {len(pairs) - MOST_PAIRS:,} more pairs of hours", style=WARNING))
    for hour, framed in verification.wrongly_framed.items():
        lines.append(Text(f"Wrongly framed, so lost: {hour}: {objects_text(framed, OBJECTS_NAMED)}", style=FAULT))
        lines.append(Text(f"  What to do: {remedies(framed)}"))
    differences = verification.differences
    if differences:
        count = f"{len(differences):,} difference{'s' if len(differences) != 1 else ''}"
        lines.append(Text(f"Not proven: {count} between raw and what is published", style=FAULT))
    elif verification.hours:
        named = hours_text([each.hour for each in verification.hours])
        records = sum(each.records for each in verification.hours)
        law = (
            "every record is in Silver, in quarantine or a duplicate, contents are equal, and Gold is what Silver says"
        )
        if verification.wrongly_framed:
            told = f"Counted for {named} and {records:,} records: {law}. The content of wrongly framed objects is lost"
            lines.append(Text(told, style=FAULT))
        else:
            lines.append(Text(f"Proven for {named} and {records:,} records: {law}", style=GOOD))
    elif not verification.not_recounted and not verification.retired:
        lines.append(Text("Nothing is published here: there was nothing to recount", style=WARNING))
    return lines
