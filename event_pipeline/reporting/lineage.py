"""Prints where a number of a Gold table comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from event_pipeline.inspection.lineage import Lineage, Source
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import FAULT, GOOD, QUIET, WARNING
from event_pipeline.rules.printable import plural

MOST_SHOWN = 24
"""Published rows, hours and objects listed; the totals have all of them."""


def print_lineage(lineage: Lineage, console: Console) -> None:
    """Print each step from the published rows back to the raw objects, with sums."""
    table = lineage.table
    where = "".join(f", {name} {value}" for name, value in lineage.values.items())
    console.print(Text.assemble((f"gold.{table.name}, event day {lineage.day}{where}", "bold")), soft_wrap=True)
    if lineage.published:
        names = [column.name for column in table.columns]
        shown = [[_text(row[name]) for name in names] for row in lineage.published[:MOST_SHOWN]]
        left = [column.name.replace("_", " ") for column in table.columns if column.type == "string"]
        console.print(lay_out([name.replace("_", " ") for name in names], shown, left=left))
        _print_more(len(lineage.published) - len(shown), "row", console)
    else:
        console.print("No such row is published.", style=WARNING)
        if not lineage.sources:
            console.print("No Silver row is behind it either.")
            return
    _print_hours(lineage, console)
    _print_objects(lineage, console)
    _print_refused(lineage, console)
    console.print()
    if lineage.retired:
        hours = ", ".join(map(str, lineage.retired[:MOST_SHOWN]))
        console.print(
            f"The Silver rows of {len(lineage.retired):,} of these landing hours are past their retention ({hours}): "
            "their part cannot be walked back further.",
            style=WARNING,
            soft_wrap=True,
        )
    for difference in lineage.differences:
        console.print(f"It does not add up: {difference}.", style=FAULT, soft_wrap=True)
    if not lineage.differences and not lineage.retired:
        rows, objects = len(lineage.published), len(lineage.sources)
        exactly = "exactly the published row" if rows == 1 else f"exactly the {rows:,} published rows"
        console.print(
            f"It adds up: {_count(objects, 'raw object')} gave {_count(lineage.rows, 'Silver row')}, "
            f"from which the table's own SQL gives {exactly}.",
            style=GOOD,
            soft_wrap=True,
        )


def _print_hours(lineage: Lineage, console: Console) -> None:
    others = lineage.hours.keys() - {*lineage.folded, *lineage.not_folded}
    remark = f"with the Silver rows behind it{'; those of other hours do not count in this table' if others else ''}"
    _heading(f"Folded from {_count(len(lineage.folded), 'landing hour')}", remark, console)
    by_hour = {**{hour: list[Source]() for hour in lineage.folded}, **lineage.hours}
    rows = [[str(hour), *_sums(sources), f"{len(sources):,}"] for hour, sources in sorted(by_hour.items())]
    total = [] if len(rows) == 1 else [["all", *_sums(lineage.sources), f"{len(lineage.sources):,}"]]
    headings = ["landing hour", "Silver rows", "purchases", "revenue", "raw objects"]
    console.print(lay_out(headings, [*rows[:MOST_SHOWN], *total], left=headings[:1]))
    _print_more(len(rows) - MOST_SHOWN, "landing hour", console)


def _print_objects(lineage: Lineage, console: Console) -> None:
    shown = lineage.sources[:MOST_SHOWN]
    erased = any(each.account and each.account.erased for each in shown)
    terms = f"Silver rows + quarantined + duplicates{' + erased' if erased else ''}"
    _heading("Raw objects", f"records = {terms}; of the Silver rows, those behind it", console)
    rows = [[each.key, *_account(each, erased), f"{each.rows:,}", f"{each.revenue:,}"] for each in shown]
    counted = ["records", "Silver rows", "quarantined", "duplicates", *(["erased"] if erased else [])]
    headings = ["raw object", *counted, "behind it", "revenue"]
    console.print(lay_out(headings, rows, left=headings[:1]))
    _print_more(len(lineage.sources) - len(rows), "raw object", console)


def _account(source: Source, erased: bool) -> list[str]:
    account = source.account
    if account is None:
        return ["?"] * (5 if erased else 4)
    counts = [account.records, account.silver_rows, account.quarantined, account.duplicates]
    return [f"{each:,}" for each in (*counts, *([account.erased] if erased else []))]


def _print_refused(lineage: Lineage, console: Console) -> None:
    refused = lineage.refused
    if not refused:
        return
    _heading("Refused in the same objects", "records that could have counted", console)
    console.print(
        lay_out(
            ["reason", "records"], [[reason, f"{count:,}"] for reason, count in refused.most_common()], left=["reason"]
        )
    )
    bearing = next(each for each in lineage.sources if each.account and each.account.quarantined)
    console.print(f"  event-pipeline quarantine show --hour {bearing.hour}", style=QUIET, soft_wrap=True)


def _sums(sources: Sequence[Source]) -> list[str]:
    return [
        f"{sum(each.rows for each in sources):,}",
        f"{sum(each.purchases for each in sources):,}",
        f"{sum(each.revenue for each in sources):,.2f}",
    ]


def _heading(title: str, remark: str, console: Console) -> None:
    console.print()
    console.print(Text.assemble((title, "bold"), (f"  {remark}", QUIET)), soft_wrap=True)


def _print_more(count: int, what: str, console: Console) -> None:
    if count > 0:
        console.print(f"and {_count(count, f'more {what}')}", style=QUIET)


def _count(count: int, what: str) -> str:
    return f"{count:,} {plural(count, what)}"


def _text(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if not isinstance(value, str) else value
