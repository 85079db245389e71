"""Where everything is in the lake, a folder or a bucket: keys and prefixes.

runs/hours/<hour>/<run>/events|quarantine|ledger/    Parquet files of one build of one landing hour
runs/partials/<table>/<hour>/<run>/                  Gold partials
runs/days/<table>/event_date=.../<run>/              Gold days
commits/hours|partials|days/...json                  commit records: the only truth about what is published
commits/digests/<hour>.json                          digests of raw objects that were copied since they were built
decoded/<hour>/<digest>/                             decoded raw objects of hours that are not over (Glue)
costs/<hour>/<step>-<run>.json                       what each step used (AWS)

Every run prefix holds the files of one table and nothing else, because a catalog partition shows whatever lies
under its location.
"""

from __future__ import annotations

from datetime import date

from event_pipeline.engines.commit import Commit, DayCommit, HourCommit, PartialCommit
from event_pipeline.rules.contract import HOUR_LEDGER, SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline.rules.hour import Hour

MANIFEST = "manifest.json"
FAILURE = "failure.txt"
"""Left by the job in place of the manifest of an hour that it could not build: why."""
"""What the Glue job writes last into an hour's run prefix: its accounts and files."""

RUNS = "runs/"
COMMITS = "commits/"
COSTS = "costs/"
DECODED = "decoded/"

HOUR_FOLDERS = {
    SILVER_EVENTS.full_name: "events/",
    SILVER_QUARANTINE.full_name: "quarantine/",
    HOUR_LEDGER.full_name: "ledger/",
}
"""Table -> its folder inside the run of a landing hour."""


def hour_build(hour: Hour, build_id: str) -> str:
    """Prefix of one build of a landing hour."""
    return f"{RUNS}hours/{hour.hive_path}/{build_id}/"


def partial_build(table: str, hour: Hour, build_id: str) -> str:
    """Prefix of one build of a Gold partial."""
    return f"{RUNS}partials/{table}/{hour.hive_path}/{build_id}/"


def day_build(table: str, day: date, build_id: str) -> str:
    """Prefix of one fold of a Gold day."""
    return f"{RUNS}days/{table}/event_date={day}/{build_id}/"


def hour_commit(hour: Hour) -> str:
    """Key of the commit record of a landing hour."""
    return f"{COMMITS}hours/{hour.hive_path}.json"


def partial_commit(table: str, hour: Hour) -> str:
    """Key of the commit record of a Gold partial."""
    return f"{COMMITS}partials/{table}/{hour.hive_path}.json"


def day_commit(table: str, day: date) -> str:
    """Key of the commit record of a Gold day."""
    return f"{COMMITS}days/{table}/event_date={day}.json"


def commit_key(commit: Commit) -> str:
    """Key of any commit record."""
    match commit:
        case HourCommit():
            return hour_commit(commit.hour)
        case PartialCommit():
            return partial_commit(commit.table, commit.hour)
        case DayCommit():
            return day_commit(commit.table, commit.day)


def build_prefix(commit: Commit) -> str:
    """Prefix under which the files of any commit lie."""
    match commit:
        case HourCommit():
            return hour_build(commit.hour, commit.build_id)
        case PartialCommit():
            return partial_build(commit.table, commit.hour, commit.build_id)
        case DayCommit():
            return day_build(commit.table, commit.day, commit.build_id)


def decoded(hour: Hour) -> str:
    """Prefix of what is decoded of a landing hour that is not over."""
    return f"{DECODED}{hour.hive_path}/"


def digests(hour: Hour) -> str:
    """Key of the digests of raw objects of a landing hour that have another ETag since it was built."""
    return f"{COMMITS}digests/{hour.hive_path}.json"


def cost_prefix(hour: Hour) -> str:
    """Prefix of the cost records of a landing hour."""
    return f"{COSTS}{hour.hive_path}/"


def partial_lock(table: str, hour: Hour) -> str:
    """Name the lock under which the partial of a Gold table is made, committed and registered."""
    return f"partials/{table}/{hour}"


def day_lock(table: str, day: date) -> str:
    """Name the lock under which a Gold day is folded, committed and registered."""
    return f"days/{table}/event_date={day}"
