"""Collects runs that nobody needs: replaced, abandoned or never published, once they are older than a grace period."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from event_pipeline.engines.aws import layout
from event_pipeline.engines.aws.storage import Bucket


@dataclass(frozen=True, slots=True)
class Collected:
    """What was deleted."""

    runs: int
    files: int
    size: int
    """Bytes."""


def collect_runs(lake: Bucket, needed: Iterable[str], now: datetime, grace: timedelta) -> Collected:
    """Delete every run below `runs/` that is not among the needed prefixes and whose newest file is old enough.

    A query that began before a partition was repointed still reads the replaced run: hence the grace period. A
    build under way has no commit record yet: it is younger than any sensible grace.
    """
    kept = set(needed)
    newest = defaultdict[str, datetime](lambda: datetime.min.replace(tzinfo=now.tzinfo))
    files = defaultdict[str, list[tuple[str, int]]](list)
    for each in lake.list(layout.RUNS):
        run = _run_of(each.key)
        if run is None or run in kept:
            continue
        newest[run] = max(newest[run], each.modified)
        files[run].append((each.key, each.size))
    old = [run for run in files if newest[run] < now - grace]
    lake.delete(key for run in old for key, _ in _last_manifest_first(files[run]))
    return Collected(len(old), sum(len(files[run]) for run in old), sum(size for run in old for _, size in files[run]))


def _run_of(key: str) -> str | None:
    """Return the run prefix that a key lies below: `runs/hours/<4 parts>/<run>/`, `runs/days/<table>/<day>/<run>/`."""
    parts = key.split("/")
    depth = {"hours": 7, "partials": 8, "days": 5}.get(parts[1] if len(parts) > 1 else "", 0)
    return "/".join(parts[:depth]) + "/" if depth and len(parts) > depth else None


def _last_manifest_first(files: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Put the manifest first: a run that lost it is no finished run to anybody."""
    return iter(sorted(files, key=lambda file: (not file[0].endswith(layout.MANIFEST), file[0])))
