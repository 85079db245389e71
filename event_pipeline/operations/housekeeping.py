"""One round of housekeeping: finds what an engine and Dagster no longer need, and removes it item by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from event_pipeline.dagster_instance.history import OldRun, forget_run, old_runs
from event_pipeline.engines.base import Engine, Leftover
from event_pipeline.errors import TransientError
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

OLD_RUN = "Dagster run"
"""The name of deleted runs in the summary, next to the kinds of leftovers."""


@dataclass(frozen=True, slots=True)
class Housework:
    """Everything that may be removed at one moment."""

    leftovers: tuple[Leftover, ...]
    runs: tuple[OldRun, ...]
    """Dagster runs that may be deleted; the run that does the housekeeping has not finished, so it is not included."""
    history_days: int


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One kind of item that may be removed, or was."""

    kind: str
    count: int
    files: int
    size: int
    """Bytes."""
    why: str
    """The reason for the first of them."""


def find_housework(engine: Engine, instance: DagsterInstance | None, settings: Settings, now: datetime) -> Housework:
    """List what may be removed; changes nothing.

    Raises:
        StorageError: the data folder or Dagster's storage is damaged.
    """
    runs = old_runs(instance, settings, now) if instance else ()
    return Housework(tuple(engine.leftovers(now)), tuple(runs), settings.run_history_days)


def remove_housework(
    work: Housework,
    engine: Engine,
    instance: DagsterInstance | None,
    settings: Settings,
    progress: Callable[[str, int], None],
) -> tuple[Housework, list[str]]:
    """Remove the items one by one; return what was removed, and why the others were not.

    An item that another process holds is left for the next round; it does not stop the others.

    Raises:
        StorageError: an item cannot be removed; those before it are gone.
    """
    gone, kept, forgotten = list[Leftover](), list[str](), list[OldRun]()
    for leftover in work.leftovers:
        progress(f"{leftover.kind} {leftover.place}", len(gone) + len(kept))
        try:
            engine.remove(leftover)
        except TransientError as fault:
            kept.append(str(fault))
        else:
            gone.append(leftover)
    for run in work.runs:
        if instance is not None:
            progress(f"{OLD_RUN} {run.run_id}", len(gone) + len(kept) + len(forgotten))
            forget_run(instance, settings, run)
            forgotten.append(run)
    return Housework(tuple(gone), tuple(forgotten), work.history_days), kept


def summarize(work: Housework) -> list[SummaryRow]:
    """Sum the items by kind, in the order of removal."""
    rows = []
    for kind in dict.fromkeys(leftover.kind for leftover in work.leftovers):
        alike: Sequence[Leftover] = [leftover for leftover in work.leftovers if leftover.kind is kind]
        files, size = sum(len(each.paths) for each in alike), sum(each.size for each in alike)
        rows.append(SummaryRow(kind.value, len(alike), files, size, alike[0].why))
    if work.runs:
        why = f"ended over {work.history_days} days ago, and newer runs built the same hours"
        rows.append(SummaryRow(OLD_RUN, len(work.runs), len(work.runs), sum(each.size for each in work.runs), why))
    return rows
