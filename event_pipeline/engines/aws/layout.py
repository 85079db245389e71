"""Where everything lies in the lake bucket: keys and prefixes, as `engines/local/layout.py` has them for a disk.

runs/hours/<hour>/<run>/events|quarantine|ledger/    Parquet files of one build of one landing hour
runs/partials/<table>/<hour>/<run>/                  Gold partials
runs/days/<table>/event_date=.../<run>/              Gold days
commits/hours|partials|days/...json                  commit records: the only truth about what is published
commits/digests/<hour>.json                          digests of raw objects that were copied since they were built
decoded/<hour>/<digest>/                             decoded raw objects of hours that are not over
costs/<hour>/<step>-<run>.json                       what each step used
alerts.json                                          what people were told; lost, it is told once more

Every run prefix holds the files of one table and nothing else, because a catalog partition shows whatever lies
under its location.
"""

from __future__ import annotations

from datetime import date

from event_pipeline.engines.commit import DayCommit, HourCommit, PartialCommit
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

Commit = HourCommit | PartialCommit | DayCommit


def hour_run(hour: Hour, run_id: str) -> str:
    """Prefix of one build of a landing hour."""
    return f"{RUNS}hours/{hour.hive_path}/{run_id}/"


def partial_run(table: str, hour: Hour, run_id: str) -> str:
    """Prefix of one build of a Gold partial."""
    return f"{RUNS}partials/{table}/{hour.hive_path}/{run_id}/"


def day_run(table: str, day: date, run_id: str) -> str:
    """Prefix of one fold of a Gold day."""
    return f"{RUNS}days/{table}/event_date={day}/{run_id}/"


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


def run_prefix(commit: Commit) -> str:
    """Prefix under which the files of any commit lie."""
    match commit:
        case HourCommit():
            return hour_run(commit.hour, commit.run_id)
        case PartialCommit():
            return partial_run(commit.table, commit.hour, commit.run_id)
        case DayCommit():
            return day_run(commit.table, commit.day, commit.run_id)


def decoded(hour: Hour) -> str:
    """Prefix of what is decoded of a landing hour that is not over."""
    return f"{DECODED}{hour.hive_path}/"


def digests(hour: Hour) -> str:
    """Key of the digests of raw objects of a landing hour that have another ETag since it was built."""
    return f"{COMMITS}digests/{hour.hive_path}.json"


def cost_prefix(hour: Hour) -> str:
    """Prefix of the cost records of a landing hour."""
    return f"{COSTS}{hour.hive_path}/"
