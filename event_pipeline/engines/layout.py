"""The layout of the lake, a folder or a bucket: keys and prefixes.

runs/hours/<hour>/<run>/events|quarantine|ledger/    Parquet files of one build of one landing hour
runs/partials/<table>/<hour>/<run>/                  Gold partials
runs/days/<table>/event_date=.../<run>/              Gold days
commits/hours|partials|days/...json                  commit records: the only source of truth about what is published
commits/erasures.json                                keyed digests of the people who were erased
commits/erasures/<digest>.json                       what was done to erase one of them
commits/digests/<hour>.json                          digests of raw objects that were copied since they were built
decoded/<hour>/<digest>/                             decoded raw objects of hours that are not over (Glue)
costs/<hour>/<step>-<run>.json                       what each step used (AWS)

Every run prefix holds the files of one table and nothing else, because a catalog partition shows whatever is under
its location.
"""

from __future__ import annotations

from datetime import date

from event_pipeline.engines.commit import Commit, DayCommit, HourCommit, PartialCommit
from event_pipeline.rules.contract import HOUR_LEDGER, SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline.rules.hour import Hour

MANIFEST = "manifest.json"
FAILURE = "failure.txt"
"""Written by the job instead of the manifest if it could not build an hour; contains the reason."""
"""Written by the Glue job last into an hour's run prefix: its accounts and files."""

RUNS = "runs/"
COMMITS = "commits/"
ERASED = f"{COMMITS}erasures.json"
COSTS = "costs/"
DECODED = "decoded/"

HOUR_FOLDERS = {
    SILVER_EVENTS.full_name: "events/",
    SILVER_QUARANTINE.full_name: "quarantine/",
    HOUR_LEDGER.full_name: "ledger/",
}
"""Table -> its folder in the run of a landing hour."""


def hour_build(hour: Hour, build_id: str) -> str:
    """Return the prefix of a build of a landing hour."""
    return f"{RUNS}hours/{hour.hive_path}/{build_id}/"


def partial_build(table: str, hour: Hour, build_id: str) -> str:
    """Return the prefix of a build of a Gold partial."""
    return f"{RUNS}partials/{table}/{hour.hive_path}/{build_id}/"


def day_build(table: str, day: date, build_id: str) -> str:
    """Return the prefix of a fold of a Gold day."""
    return f"{RUNS}days/{table}/event_date={day}/{build_id}/"


def hour_commit(hour: Hour) -> str:
    """Return the key of the commit record of a landing hour."""
    return f"{COMMITS}hours/{hour.hive_path}.json"


def partial_commit(table: str, hour: Hour) -> str:
    """Return the key of the commit record of a Gold partial."""
    return f"{COMMITS}partials/{table}/{hour.hive_path}.json"


def day_commit(table: str, day: date) -> str:
    """Return the key of the commit record of a Gold day."""
    return f"{COMMITS}days/{table}/event_date={day}.json"


def commit_key(commit: Commit) -> str:
    """Return the key of any commit record."""
    match commit:
        case HourCommit():
            return hour_commit(commit.hour)
        case PartialCommit():
            return partial_commit(commit.table, commit.hour)
        case DayCommit():
            return day_commit(commit.table, commit.day)


def build_prefix(commit: Commit) -> str:
    """Return the prefix of the files of any commit."""
    match commit:
        case HourCommit():
            return hour_build(commit.hour, commit.build_id)
        case PartialCommit():
            return partial_build(commit.table, commit.hour, commit.build_id)
        case DayCommit():
            return day_build(commit.table, commit.day, commit.build_id)


def decoded(hour: Hour) -> str:
    """Return the prefix of the decoded objects of a landing hour that is not over."""
    return f"{DECODED}{hour.hive_path}/"


def digests(hour: Hour) -> str:
    """Return the key of the digests of an hour's raw objects whose ETags have changed since it was built."""
    return f"{COMMITS}digests/{hour.hive_path}.json"


def erasure_receipt(digest: str) -> str:
    """Return the key of the receipt for the erasure of one person."""
    return f"{COMMITS}erasures/{digest}.json"


def cost_prefix(hour: Hour) -> str:
    """Return the prefix of the cost records of a landing hour."""
    return f"{COSTS}{hour.hive_path}/"


def partial_lock(table: str, hour: Hour) -> str:
    """Return the lock for building, committing and registering a partial of a Gold table."""
    return f"partials/{table}/{hour}"


def day_lock(table: str, day: date) -> str:
    """Return the lock for folding, committing and registering a Gold day."""
    return f"days/{table}/event_date={day}"
