"""Takes erased people out of what is published: filters the files of a landing hour into a new build of it.

Raw is not needed, so an hour whose raw objects are lost can be erased from as well, and nobody else's records are
judged again. The new build is published like any other: by replacing the commit record by compare and swap. A build of
the hour that began before has lost that race, and cannot bring the person back.
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from event_pipeline.engines import layout
from event_pipeline.engines.builder import Builder
from event_pipeline.engines.commit import DataFile, HourCommit, PartialCommit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.erasures import ErasureList, Held
from event_pipeline.engines.names import commit_time, new_build_id
from event_pipeline.engines.raw import RawPlace
from event_pipeline.engines.silver import check_law, put_ledger
from event_pipeline.engines.store import Store
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import DayTotals, HourAccount, ObjectAccount, RawObject, add_days
from event_pipeline.rules.arrow import day_totals
from event_pipeline.rules.contract import SILVER_EVENTS, SILVER_QUARANTINE, SOURCE_OBJECT, USER, Table
from event_pipeline.rules.erasure import Erasures, with_blank_lines
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.silver_files import (
    PARQUET_OPTIONS,
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    EventsFile,
    OtherColumnsError,
    gathered,
    read_rows,
    write_quarantine,
)

_REASON = "reason"
_RECORD = "record"


class Eraser:
    """Erases people from the published hours and partials of one lake."""

    def __init__(self, lake: Store, commits: CommitStore, raw: RawPlace, builder: Builder, scratch: Path) -> None:
        """`scratch` holds files until they are part of the lake."""
        self.list = ErasureList(lake)
        """Who is erased, and the receipts."""
        self._lake = lake
        self._commits = commits
        self._raw = raw
        self._builder = builder
        self._scratch = scratch

    def held(self, commit: HourCommit, erasures: Erasures) -> Held:
        """Count the records of erased people in the committed files of an hour.

        Raises:
            StorageError: a file is missing or damaged.
        """
        user, silver_rows, quarantined = USER.column.name, 0, 0
        for file in commit.files_of(SILVER_EVENTS.full_name):
            for batch in self._columns(file, [user]):
                if theirs := erasures.among(batch[user]):
                    silver_rows += pc.is_in(batch[user], pa.array(sorted(theirs))).true_count
        for file in commit.files_of(SILVER_QUARANTINE.full_name):
            for batch in self._columns(file, [_RECORD]):
                quarantined += sum(map(erasures.has_record, batch[_RECORD].to_pylist()))
        return Held(silver_rows, quarantined)

    def erase(self, hour: Hour, erasures: Erasures) -> HourCommit | None:
        """Publish the hour without erased people; return None if it has no such records, or no Silver.

        Raises:
            OvertakenError: another process published the hour meanwhile.
            BrokenLawError: records do not add up afterwards; nothing was published.
            StorageError: a file is missing or damaged.
        """
        with self._lake.exclusive(f"hours/{hour}"):
            published = self._commits.hour(hour)
            commit = published.commit
            if commit is None or commit.retired_at or not self.held(commit, erasures).records:
                return None
            build_id, files = new_build_id(), list[DataFile]()
            days, gone = dict[str, DayTotals](), Counter[str]()
            refused_gone = Counter[tuple[str, str]]()
            with self._folder() as folder:
                for file in commit.files_of(SILVER_EVENTS.full_name):
                    with EventsFile(str(folder / "rows.parquet")) as kept:
                        for rows in gathered(self._rows(file, SILVER_EVENTS), ROW_GROUP_ROWS, ROW_GROUP_BYTES):
                            rest, removed = _divided(rows, erasures)
                            gone.update(removed[SOURCE_OBJECT.name].to_pylist())
                            add_days(days, day_totals(rest))
                            kept.write(rest)
                    files += self._taken(file, folder / "rows.parquet", hour, build_id, kept.rows)
                for file in commit.files_of(SILVER_QUARANTINE.full_name):
                    others = self._others(file, erasures, refused_gone)
                    count = write_quarantine(str(folder / "rows.parquet"), others)
                    files += self._taken(file, folder / "rows.parquet", hour, build_id, count)
            # An hour that was built while it was open still has to be built whole.
            committed_at = commit_time() if hour.is_closed(commit.committed_at) else commit.committed_at
            account = _account(commit.account, gone, refused_gone, days)
            silver, quarantine = (
                sum(file.rows for file in files if file.table == table.full_name)
                for table in (SILVER_EVENTS, SILVER_QUARANTINE)
            )
            check_law(hour, account, silver, quarantine)
            made = replace(commit, build_id=build_id, committed_at=committed_at, account=account, files=tuple(files))
            made = replace(made, files=(*files, put_ledger(self._lake, made)))
            self._commits.publish(made, published.version)
            with closing(self._builder):
                self._builder.published(hour)
            return made

    def held_in_partials(self, partials: Sequence[PartialCommit], erasures: Erasures) -> int:
        """Count the values in partials that are ids of erased people."""
        files = (file for commit in partials for file in commit.files)
        return sum(_without_ids(self._whole(file), erasures)[1] for file in files)

    def holds(self, path: str, erasures: Erasures) -> bool:
        """Return whether a data file has records or ids of erased people; one that cannot be read may have them.

        Raises:
            StorageError: the store does not give it.
        """
        if path.endswith(layout.MANIFEST):
            return False
        with self._folder() as folder:
            return self._lake.download(path, folder / "file") and _may_hold(folder / "file", erasures)

    def erase_examples(self, hour: Hour) -> None:
        """Drop the example values of unknown fields from the commit record of an hour past its retention.

        Raises:
            OvertakenError: another process published the hour meanwhile.
        """
        with self._lake.exclusive(f"hours/{hour}"):
            published = self._commits.hour(hour)
            if published.commit is not None and published.commit.account.unknown_examples:
                account = replace(published.commit.account, unknown_examples={})
                self._commits.publish(replace(published.commit, account=account), published.version)

    def erase_partial(self, commit: PartialCommit, erasures: Erasures) -> int:
        """Replace the ids of erased people in a partial by their digests; return how many values were replaced.

        For hours past their retention, whose partials cannot be made again from Silver: counts of people stay exact.

        Raises:
            OvertakenError: another process published the partial meanwhile.
            StorageError: a file is missing or damaged.
        """
        with self._lake.exclusive(layout.partial_lock(commit.table, commit.hour)):
            published = self._commits.partial(commit.table, commit.hour)
            if published.commit is None:
                return 0
            commit, replaced, files = published.commit, 0, list[DataFile]()
            build_id = new_build_id()
            with self._folder() as folder:
                for number, file in enumerate(commit.files):
                    rows, count = _without_ids(self._whole(file), erasures)
                    replaced += count
                    path = folder / f"{number}.parquet"
                    pq.write_table(rows, path, **PARQUET_OPTIONS)
                    name = PurePosixPath(file.path).name
                    key = f"{layout.partial_build(commit.table, commit.hour, build_id)}{name}"
                    files.append(DataFile.of_file(file.table, key, file.rows, path))
                if not replaced:
                    return 0
                for number, made in enumerate(files):
                    self._lake.take(made.path, folder / f"{number}.parquet")
            self._commits.publish(
                replace(commit, build_id=build_id, committed_at=commit_time(), files=tuple(files)), published.version
            )
            return replaced

    def rewrite_raw(self, listed: RawObject, lines: Sequence[int]) -> bool:
        """Replace a raw object by one with these lines blank; return False if it has changed since it was listed.

        Raises:
            StorageError: it cannot be read or written.
        """
        with self._raw.open(listed.key) as stored:
            content = with_blank_lines(stored, lines)
        return self._raw.rewrite(listed, content)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Make a folder for a block; what a killed process leaves there is housekeeping's."""
        folder = self._scratch / f"erasing-{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _taken(self, file: DataFile, path: Path, hour: Hour, build_id: str, rows: int) -> list[DataFile]:
        """Move a finished file into a build of an hour, under its old name; a file without rows is left out."""
        if not rows:
            return []
        folder = layout.HOUR_FOLDERS[file.table]
        key = f"{layout.hour_build(hour, build_id)}{folder}{PurePosixPath(file.path).name}"
        made = DataFile.of_file(file.table, key, rows, path)
        self._lake.take(key, path)
        return [made]

    def _others(self, file: DataFile, erasures: Erasures, gone: Counter[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
        """Yield the quarantined records of a file that are nobody's who is erased, and count the others."""
        for batch in self._rows(file, SILVER_QUARANTINE):
            theirs = pa.array([erasures.has_record(each) for each in batch[_RECORD].to_pylist()], pa.bool_())
            removed = batch.filter(theirs)
            gone.update(zip(removed[SOURCE_OBJECT.name].to_pylist(), removed[_REASON].to_pylist(), strict=True))
            yield batch.filter(pc.invert(theirs))

    def _rows(self, file: DataFile, table: Table) -> Iterator[pa.RecordBatch]:
        try:
            with self._lake.open(file.path, file.size) as content:
                yield from read_rows(content, table)
        except (OtherColumnsError, pa.ArrowException, OSError) as error:
            raise self._unreadable(file, error) from error

    def _columns(self, file: DataFile, names: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            with self._lake.open(file.path, file.size) as content:
                yield from pq.ParquetFile(content).iter_batches(columns=names)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(file, error) from error

    def _whole(self, file: DataFile) -> pa.Table:
        try:
            with self._lake.open(file.path, file.size) as content:
                return pq.read_table(content, coerce_int96_timestamp_unit="ms")
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(file, error) from error

    def _unreadable(self, file: DataFile, error: Exception) -> StorageError:
        return StorageError(
            f"{self._lake.url(file.path)}: a data file cannot be read: {error}; `event-pipeline run` builds what is "
            "missing, then erase again"
        )


def _may_hold(path: Path, erasures: Erasures) -> bool:
    try:
        with pq.ParquetFile(path) as content:
            texts = [field.name for field in content.schema_arrow if pa.types.is_string(field.type)]
            if USER.column.name in texts:
                texts = [USER.column.name]
            for batch in content.iter_batches(columns=texts):
                if any(map(erasures.has_record, batch[_RECORD].to_pylist() if _RECORD in texts else ())):
                    return True
                if any(erasures.among(batch[name]) for name in texts if name != _RECORD):
                    return True
    except (pa.ArrowException, OSError):  # pyarrow says of a damaged page that it is an OSError
        return True
    return False


def _divided(rows: pa.Table, erasures: Erasures) -> tuple[pa.Table, pa.Table]:
    """Divide Silver rows into those that stay and those of erased people."""
    users = rows[USER.column.name]
    theirs = pc.is_in(users, pa.array(sorted(erasures.among(users)), pa.string()))
    return rows.filter(pc.invert(theirs)), rows.filter(theirs)


def _account(
    account: HourAccount,
    gone: Mapping[str, int],
    refused_gone: Mapping[tuple[str, str], int],
    days: Mapping[str, DayTotals],
) -> HourAccount:
    """Return the account of an hour without some rows: by object, and by object and reason.

    Duplicates of erased records stay counted as duplicates. The examples of unknown fields may be an erased person's.
    """

    def rest(of: ObjectAccount) -> ObjectAccount:
        refused = {reason: refused_gone.get((of.key, reason), 0) for reason in of.quarantined_by_reason}
        left = {reason: count - refused[reason] for reason, count in of.quarantined_by_reason.items()}
        return replace(
            of,
            silver_rows=of.silver_rows - gone.get(of.key, 0),
            quarantined_by_reason={reason: count for reason, count in left.items() if count},
            erased=of.erased + gone.get(of.key, 0) + sum(refused.values()),
        )

    objects = tuple(map(rest, account.objects))
    return replace(account, objects=objects, days=dict(sorted(days.items())), unknown_examples={})


def _without_ids(rows: pa.Table, erasures: Erasures) -> tuple[pa.Table, int]:
    """Replace the ids of erased people in all texts of some rows; return how many there were."""
    replaced = 0
    for position, column in enumerate(rows.schema):
        if not pa.types.is_string(column.type):
            continue
        values = rows.column(position)
        for each in sorted(erasures.among(values)):
            is_theirs = pc.equal(values, each)
            replaced += is_theirs.combine_chunks().true_count
            values = pc.if_else(is_theirs, f"erased-{erasures.digest_of(each).hex()}", values)
        rows = rows.set_column(position, column, values)
    return rows, replaced
