"""Prints what partition repair changed in the catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from event_pipeline.engines.base import PartitionAction, PartitionChange


def print_changes(changes: Sequence[PartitionChange], console: Console) -> None:
    """Print every entry that was added, repointed or dropped, and how many are unchanged."""
    counts = Counter(change.action for change in changes)
    changed = [change for change in changes if change.action is not PartitionAction.UNCHANGED]
    if changed:
        table = Table()
        for name in ("table", "partition", "action", "why"):
            table.add_column(name, overflow="fold")
        for change in changed:
            table.add_row(change.table, change.partition, change.action, change.reason)
        console.print(table)
    named = ", ".join(f"{counts[action]:,} {action}" for action in PartitionAction)
    console.print(f"Catalog entries: {named}")
