"""One round of housekeeping: what an engine and Dagster have left over, and removing it piece by piece."""

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
"""How forgotten runs are called in the summary, beside the kinds of leftovers."""


@dataclass(frozen=True, slots=True)
class Housework:
    """Everything that may go at one moment."""

    leftovers: tuple[Leftover, ...]
    runs: tuple[OldRun, ...]
    """Dagster runs that may be forgotten; the one that does the housekeeping is not finished, so not among them."""
    history_days: int


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One kind of things that may go, or went."""

    kind: str
    count: int
    files: int
    size: int
    """Bytes."""
    why: str
    """Of the first of them."""


def find_housework(engine: Engine, instance: DagsterInstance | None, settings: Settings, now: datetime) -> Housework:
    """List what may go; changes nothing.

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
    """Remove it, one after the other; return what is gone, and why the others are not.

    A leftover that another process holds is left for the next round; it stops no other one.

    Raises:
        StorageError: something cannot be removed; what was removed before is gone.
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
    """Sum what may go by kind, in the order in which it goes."""
    rows = []
    for kind in dict.fromkeys(leftover.kind for leftover in work.leftovers):
        alike: Sequence[Leftover] = [leftover for leftover in work.leftovers if leftover.kind is kind]
        files, size = sum(len(each.paths) for each in alike), sum(each.size for each in alike)
        rows.append(SummaryRow(kind.value, len(alike), files, size, alike[0].why))
    if work.runs:
        why = f"ended over {work.history_days} days ago, and newer runs built the same hours"
        rows.append(SummaryRow(OLD_RUN, len(work.runs), len(work.runs), sum(each.size for each in work.runs), why))
    return rows
