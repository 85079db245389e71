"""Prints what is published of a person, and the receipt of their erasure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from event_pipeline.engines.erasures import Held, HeldRaw
from event_pipeline.errors import StorageError
from event_pipeline.operations.erasing import Erased, Found
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import FAULT, GOOD, QUIET, WARNING
from event_pipeline.rules.hour import Hour, hours_text

MOST_SHOWN = 24
"""Hours and raw objects that are listed; the receipt has all of them."""


def print_found(found: Found, console: Console) -> None:
    """Print what is published of a person."""
    if not found.hours and not found.retired and not found.damaged:
        console.print("Nothing that is published holds this person.")
    _print_held(found.hours, found.retired, console)
    if found.hours or found.retired:
        console.print("Nothing was changed. Without --plan, raw objects are looked through as well.", style=QUIET)
    _print_damaged(found.damaged, console)


def print_erased(erased: Erased, console: Console) -> None:
    """Print the receipt, and what is left."""
    receipt = erased.receipt
    if not receipt.hours and not receipt.retired:
        console.print("Nothing that is published held this person. Later builds leave them out.")
    _print_held(receipt.hours, receipt.retired, console)
    if receipt.old_files:
        console.print(f"{receipt.old_files:,} files of replaced builds were removed.")
    rewritten = {key: held for key, held in receipt.raw.items() if held.rewritten}
    left = {key: held for key, held in receipt.raw.items() if not held.rewritten}
    _print_raw("Raw objects that were rewritten", rewritten, console)
    if rewritten:
        hours = sorted({Hour.parse(held.hour) for held in rewritten.values()})
        console.print(f"`event-pipeline run` builds {hours_text(hours)} from them, unless a sensor does.", style=QUIET)
    _print_raw("Raw objects that still hold the person", left, console)
    if left:
        console.print(
            "Builds leave those lines out. --rewrite-raw takes them out of the objects, or whoever owns them does.",
            style=WARNING,
        )
    for key in erased.changed_raw:
        console.print(f"{key} was replaced while it was rewritten: erase again", style=FAULT)
    if receipt.unreadable:
        listed = ", ".join(receipt.unreadable[:MOST_SHOWN])
        console.print(f"Raw objects that nobody can read, and no build uses: {listed}", style=WARNING, soft_wrap=True)
    _print_damaged(erased.damaged, console)
    if receipt.finished_at:
        console.print(Text(f"Erased: {receipt.digest}", style=GOOD), soft_wrap=True)
    console.print(f"The receipt is {erased.place}", soft_wrap=True)


def _print_held(hours: Mapping[Hour, Held], retired: Mapping[Hour, int], console: Console) -> None:
    if hours:
        rows = [[str(hour), f"{held.silver_rows:,}", f"{held.quarantined:,}"] for hour, held in sorted(hours.items())]
        silver_rows = sum(held.silver_rows for held in hours.values())
        total = ["all", f"{silver_rows:,}", f"{sum(held.quarantined for held in hours.values()):,}"]
        shown = [*rows[:MOST_SHOWN], *([total] if len(rows) > 1 else [])]
        headings = ("landing hour", "Silver rows", "quarantined")
        console.print(lay_out(headings, shown, left=headings[:1], title="Records of the person"))
        _print_more(rows, console)
    if retired:
        console.print(
            f"{sum(retired.values()):,} values in Gold partials of {hours_text(sorted(retired))}, past their "
            "retention: the id is replaced by its digest there, so that counts of people stay exact."
        )


def _print_raw(title: str, held: Mapping[str, HeldRaw], console: Console) -> None:
    if held:
        rows = [[key, f"{each.records:,}"] for key, each in sorted(held.items())]
        console.print(lay_out(("raw object", "records"), rows[:MOST_SHOWN], left=("raw object",), title=title))
        _print_more(rows, console)


def _print_more(rows: Sequence[object], console: Console) -> None:
    if len(rows) > MOST_SHOWN:
        console.print(f"and {len(rows) - MOST_SHOWN:,} more, see the receipt", style=QUIET)


def _print_damaged(damaged: Mapping[Hour, StorageError], console: Console) -> None:
    for hour, error in damaged.items():
        console.print(f"{hour} cannot be read, so it may hold the person: {error}", style=FAULT, soft_wrap=True)
