"""Years of built hours in a minute: one day is built, and the days before it are copies of it.

Raw objects, data files and commit records are copied, and the catalog shows them. In a copy, every key, path and date
is that of its own day; only the instants inside the Parquet files are those of the built day. So what depends on how
much there is (records, files, the catalog, listings) is as after a year of builds.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from event_pipeline.engines.commit import Commit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.local.catalog import entries_of
from event_pipeline.engines.local.files import FileStore
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
from event_pipeline_tests.benchmark.inputs import FIRST_HOUR, land_whole_hours
from event_pipeline_tests.benchmark.measuring import BenchmarkError
from event_pipeline_tests.pipeline import build

_HOURS_OF_A_DAY = 24
_LOCK_SECONDS = 60


def make_history(root: Path, hours: int, events: int) -> HourRange:
    """Fill a data folder with so many built hours, all of whole days but the built one's, and return them.

    Raises:
        BenchmarkError: an hour does not count as built.
    """
    built = HourRange(FIRST_HOUR, FIRST_HOUR.plus(min(hours, _HOURS_OF_A_DAY)))
    days = -(-hours // _HOURS_OF_A_DAY)
    history = HourRange(FIRST_HOUR.plus(-_HOURS_OF_A_DAY * (days - 1)), built.end)
    settings = load_settings(root=root, first_partition=history.first)
    engine = LocalEngine(settings)
    land_whole_hours(root, built, events)
    build(engine, list(built))
    copies = [_day_words(built.first, built.first.plus(-_HOURS_OF_A_DAY * back)) for back in range(1, days)]
    copy_builds(root, copies)
    show_all(root)
    states = Pipeline(engine, load_gold_tables(), settings).states(datetime.now(UTC), history)
    behind = {hour: state for hour, state in states.items() if state is not HourState.READY}
    if behind or set(states) != set(history) or engine.disagreements():
        raise BenchmarkError(f"history of {hours} hours: {len(states)} known, not built: {behind}")
    return history


def _day_words(built: Hour, copied: Hour) -> dict[str, str]:
    """Return how a day is written in paths and records, and how its copy writes it."""
    words = ("year=%Y/month=%m/day=%d", "%Y-%m-%d", "%Y%m%d")
    return {f"{built.start:{word}}": f"{copied.start:{word}}" for word in words}


def copy_builds(root: Path, copies: Sequence[Mapping[str, str]]) -> None:
    """Copy everything that is built, once for each way in which the words of the built day are replaced."""
    for folder in ("raw", "lake/runs", "lake/commits"):
        for path in [each for each in (root / folder).rglob("*") if each.is_file()]:
            text = path.read_text() if folder == "lake/commits" else None
            for words in copies:
                copied = root / _replaced(str(path.relative_to(root)), words)
                copied.parent.mkdir(parents=True, exist_ok=True)
                if text is None:
                    os.link(path, copied)
                else:
                    copied.write_text(_replaced(text, words))


def show_all(root: Path) -> None:
    """Make the catalog show every commit record at once; `repair` would wait for the disk at each of them."""
    layout = Layout(root)
    commits = CommitStore(FileStore(layout.lake, layout, _LOCK_SECONDS))
    with closing(sqlite3.connect(layout.catalog)) as connection, connection:
        for commit in list[Commit](chain(commits.hours(None), commits.partials(), commits.days())):
            for entry in entries_of(commit):
                for table, values in entry.rows:
                    connection.execute(
                        f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(values))})", values
                    )


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text
