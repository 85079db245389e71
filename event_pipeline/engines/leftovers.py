"""Which files of a lake may be removed: the single rule for all engines.

A file is needed while a commit record or a catalog entry refers to it. After that it is kept for a grace period that
begins when its place was published again, because a query reads the files of the build that was published when the
query started. A build in progress has published nothing yet, but its files are young.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from event_pipeline.engines.base import Leftover, LeftoverKind
from event_pipeline.engines.commit import DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.names import commit_time, day_partition, gold_table, new_build_id
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, Table
from event_pipeline.rules.hour import Hour

PASSING_GRACE = timedelta(days=1)
"""Minimum age of scratch files, drafts and locks: no step works on one hour for that long."""

_PLACE_DEPTH = {"hours": 6, "partials": 7, "days": 4}
"""Folder under `runs/` -> path components of the builds of a landing hour, a partial or a Gold day."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file under `runs/` in a listing."""

    path: str
    """Relative to the lake."""
    size: int
    modified: datetime


Commit = HourCommit | PartialCommit | DayCommit


def place_of(commit: Commit) -> str:
    """Return the folder, relative to the lake, of all builds of a commit's hour, partial or day."""
    match commit:
        case HourCommit():
            return f"runs/hours/{commit.hour.hive_path}"
        case PartialCommit():
            return f"runs/partials/{commit.table}/{commit.hour.hive_path}"
        case DayCommit():
            return f"runs/days/{commit.table}/{day_partition(commit.day)}"


def published_since(commit: Commit) -> datetime:
    """Return when the current content of a place was published."""
    return (commit.retired_at if isinstance(commit, HourCommit) else None) or commit.committed_at


def old_builds(
    files: Iterable[StoredFile], needed: Set[str], commits: Iterable[Commit], now: datetime, grace: timedelta
) -> Iterator[Leftover]:
    """Yield the builds, or parts of them, that are no longer needed and whose grace period is over.

    `needed` holds paths of files, and of folders with a trailing `/`.
    """
    published = {place_of(commit): commit for commit in commits}
    builds = defaultdict[tuple[str, str], list[StoredFile]](list)
    for file in files:
        if (build := _build_of(file.path)) is not None:
            builds[build].append(file)
    until = now - grace
    for (place, run), found in sorted(builds.items()):
        commit = published.get(place)
        if commit is not None and published_since(commit) > until:
            continue
        if any(file.modified > until for file in found):
            continue
        unneeded = [file for file in found if not _is_needed(file.path, needed)]
        if unneeded:
            yield _old_build(f"{place}/{run}", run, commit, unneeded, grace)


def _old_build(place: str, run: str, commit: Commit | None, files: Sequence[StoredFile], grace: timedelta) -> Leftover:
    paths = tuple(sorted((file.path for file in files), key=_manifest_first))
    size = sum(file.size for file in files)
    days = f"{grace.days} days"
    if isinstance(commit, HourCommit) and commit.retired_at is not None and run == commit.build_id:
        why = f"past its retention, unregistered for over {days}"
        return Leftover(LeftoverKind.RETIRED_FILES, place, paths, size, why)
    if commit is not None and run != commit.build_id and _second(run) <= _second(commit.build_id):
        why = f"a newer build has been published for over {days}"
        return Leftover(LeftoverKind.REPLACED, place, paths, size, why)
    return Leftover(LeftoverKind.ABANDONED, place, paths, size, f"not in any commit record, older than {days}")


def _build_of(path: str) -> tuple[str, str] | None:
    """Return place and build id of a file; None if it is not part of a build."""
    parts = path.split("/")
    depth = _PLACE_DEPTH.get(parts[1], 0) if len(parts) > 1 and parts[0] == "runs" else 0
    if not depth or len(parts) <= depth:
        return None
    return "/".join(parts[:depth]), parts[depth].removesuffix(".parquet")


def _is_needed(path: str, needed: Set[str]) -> bool:
    parts = path.split("/")
    return path in needed or any("/".join(parts[:depth]) + "/" in needed for depth in range(1, len(parts)))


def _second(run: str) -> str:
    """Return the start time in a run id; the rest of the id is random."""
    return run.partition("-")[0]


def _manifest_first(path: str) -> tuple[bool, str]:
    """Return the sort key that puts a manifest first: without it a Glue run does not count as finished."""
    return not path.endswith("/manifest.json"), path


# -- retention


def is_past(end: datetime, retention_days: int, now: datetime) -> bool:
    """Return whether something that ended at `end` is past its retention; 0 days keep everything."""
    return retention_days > 0 and end + timedelta(days=retention_days) <= now


def retired(commit: HourCommit, now: datetime) -> HourCommit:
    """Return the commit record of an hour past its retention, whose only file is the ledger.

    The account stays complete: it proves that the hour was built, and Gold is still checked against its control totals.
    """
    return replace(commit, files=commit.files_of(HOUR_LEDGER.full_name), retired_at=now)


def shown_tables(commit: HourCommit) -> tuple[Table, ...]:
    """Return the tables in which the catalog shows an hour: only the ledger for a retired one."""
    return HOUR_TABLES if commit.retired_at is None else (HOUR_LEDGER,)


def hours_to_retire(
    commits: Mapping[Hour, HourCommit],
    registered: Mapping[Hour, str],
    behind: Set[Hour],
    retention_days: int,
    now: datetime,
) -> Iterator[Leftover]:
    """Yield the hours whose Silver may be removed: past their retention and completely in Gold.

    An hour that is retired but still registered was left by a process that died.
    """
    for hour, commit in commits.items():
        done = commit.retired_at is not None
        if (done and hour in registered) or (
            not done
            and is_past(hour.end, retention_days, now)
            and registered.get(hour) == commit.build_id
            and hour not in behind
        ):
            ledger = commit.files_of(HOUR_LEDGER.full_name)
            size = sum(file.size for file in commit.files if file not in ledger)
            why = f"older than {retention_days} days" if not done else "retired, and still registered"
            yield Leftover(LeftoverKind.RETIRED_HOUR, str(hour), (), size, why)


def days_to_retire(
    commits: Iterable[DayCommit],
    hours: Mapping[Hour, HourCommit],
    shown: Mapping[tuple[str, date], str],
    retention_days: int,
    now: datetime,
) -> Iterator[Leftover]:
    """Yield the Gold days that may be removed: past their retention and made only from retired hours.

    A day with an hour that still has Silver would be folded again. `shown` maps Gold table (short name) and day to the
    run in the catalog; if that is not the retired one, a process died before it registered it.
    """
    for commit in commits:
        end = datetime.combine(commit.day, time(tzinfo=UTC)) + timedelta(days=1)
        feeding = [hours.get(Hour.of_hive_path(path)) for path in commit.partials]
        past = is_past(end, retention_days, now) and all(hour and hour.retired_at for hour in feeding)
        half_done = is_retired_day(commit) and shown.get((commit.table, commit.day)) not in (None, commit.build_id)
        if half_done or (past and commit.files):
            size = sum(file.size for file in commit.files)
            why = "retired, and still registered" if half_done else f"older than {retention_days} days"
            yield Leftover(LeftoverKind.RETIRED_DAY, f"{gold_table(commit.table)} {commit.day}", (), size, why)


def day_of_leftover(leftover: Leftover) -> tuple[str, date]:
    """Return the Gold table (short name) and the day of a RETIRED_DAY."""
    table, _, day = leftover.place.partition(" ")
    return table.removeprefix("gold."), date.fromisoformat(day)


def retired_day(commit: DayCommit) -> DayCommit:
    """Return the commit record of a Gold day past its retention: an empty fold without files."""
    return replace(commit, build_id=new_build_id(), committed_at=commit_time(), partials={}, files=())


def is_retired_day(commit: DayCommit) -> bool:
    """Return whether a Gold day is an empty fold."""
    return not commit.files and not commit.partials
