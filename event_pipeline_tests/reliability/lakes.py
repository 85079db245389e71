"""Small lakes to break: their state can be copied, what readers see of it can be looked at, and its leftovers counted.

What readers see is read from the files that the catalog shows, in one look and without a query engine: a query does the
same, and takes a hundred times as long.
"""

from __future__ import annotations

import io
import re
import shutil
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.commit import Commit
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.layout import COMMITS, COSTS, RUNS
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.names import gold_table, partial_table
from event_pipeline.rules.contract import BRONZE_EVENTS, HOUR_TABLES
from event_pipeline.rules.query import GoldTable, load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.conftest import BY_HOST
from event_pipeline_tests.engines.memory_catalog import MemoryCatalog
from event_pipeline_tests.engines.memory_engine import MemoryEngine
from event_pipeline_tests.engines.memory_store import MemoryStore

GOLD = "user_activity"
TABLES: tuple[GoldTable, ...] = tuple(table for table in load_gold_tables() if table.name == GOLD)
"""One table is enough to have every step of Gold; this one's partials hold people."""
SHOWN = [*(table.full_name for table in HOUR_TABLES), partial_table(GOLD), gold_table(GOLD)]

_OF_THE_BUILD = ("run_id", "committed_at")
"""Columns of the ledger that differ from build to build."""

View = Mapping[str, tuple[str, ...]]
"""What becomes visible at once -> the rows that readers see of it, in order. Without rows it is left out."""

_BUILD_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
_CHANCE = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?|\b[0-9a-f]{32,64}\b|"size": \d+')


@dataclass
class Lake(ABC):
    """The state that processes of one assembly leave behind."""

    root: Path
    """Folder of the raw objects, and of whatever is on this machine."""
    gold: Path
    """Folder of the Gold tables."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Settings other than the defaults."""
    name = ""
    defines_tables = False
    """Whether its catalog has to create tables."""
    is_quick = True
    """Whether there is time to look at it between steps."""
    shows_at_once = True
    """Whether a change of several partitions is one change for readers."""

    @property
    def settings(self) -> Settings:
        """The settings of all engines over it."""
        return _settings().model_copy(update={"root": self.root, **self.changed})

    @cached_property
    def onlooker(self) -> PortEngine[Any]:
        """An engine that only looks."""
        return self.engine()

    @abstractmethod
    def engine(self) -> PortEngine[Any]:
        """Return a new engine over it, as a new process has one."""

    @abstractmethod
    def copied(self, root: Path) -> Lake:
        """Return a copy, whose folder is `root`."""

    @abstractmethod
    def files_of(self, entry: Any) -> dict[str, bool]:
        """Return the keys of the files that an entry of the catalog shows, and whether they are there."""

    def landed(self) -> None:
        """Put what landed in the folder where the engine reads it."""
        return

    def fetch_raw(self) -> None:
        """Make the folder hold the raw objects as the engine left them."""
        return

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.root)

    def unknown_files(self) -> list[str]:
        """Return what is stored and in no listing of the lake: hidden files, and scratch."""
        return []

    def view(self, rows_of: dict[str, list[str]]) -> View:
        """Look at what readers see; `rows_of` keeps the rows of files, which never change, for the next look."""
        engine = self.onlooker
        shown = defaultdict[tuple[str, str], list[str]](list)
        for (table, partition), entry in engine._catalog.everything(SHOWN, None).items():
            for key, is_there in self.files_of(entry).items():
                shown[table, partition] += self._rows(engine, key, rows_of) if is_there else [f"{key} is gone"]
        found = defaultdict[str, tuple[str, ...]](tuple)
        for (table, partition), rows in sorted(shown.items()):
            of_hour = table in {each.full_name for each in HOUR_TABLES}
            unit = f"hour {partition}" if of_hour and self.shows_at_once else f"{table} {partition}"
            found[unit] += tuple(f"{table}: {row}" for row in sorted(rows))
        return dict(found)

    def _rows(self, engine: PortEngine[Any], key: str, rows_of: dict[str, list[str]]) -> list[str]:
        if key not in rows_of:
            body, _ = engine._lake.read(key) or (b"", "")
            rows_of[key] = rows_in(pq.read_table(io.BytesIO(body)))
        return rows_of[key]

    def holding(self, text: str, rows_of: dict[str, list[str]]) -> list[str]:
        """Return the keys of all data files and records that hold a text."""
        engine, found = self.onlooker, list[str]()
        for each in engine._lake.list(RUNS):
            if any(text in row for row in self._rows(engine, each.key, rows_of)):
                found.append(each.key)
        for each in engine._lake.list(COMMITS):
            if text.encode() in (engine._lake.read(each.key) or (b"", ""))[0]:
                found.append(each.key)
        return found

    def stored(self) -> str:
        """Return all that is stored, but for what chance and the clock put there: lakes that are alike are equal."""
        engine, names = self.onlooker, dict[str, str]()

        def plain(text: str) -> str:
            for build in _BUILD_ID.findall(text):
                names.setdefault(build, f"build {len(names)}")
            return _CHANCE.sub("?", _BUILD_ID.sub(lambda found: names[found[0]], text))

        lines = []
        for each in engine._lake.list(COMMITS):
            body = (engine._lake.read(each.key) or (b"", ""))[0]
            lines.append(f"{plain(each.key)}: {plain(body.decode())}")
        for place, entry in sorted(engine._catalog.everything(SHOWN, None).items()):
            lines.append(f"{place}: {sorted(plain(text) for text in self.texts_of(entry))}")
        # Two builds that nobody knows have no order.
        known = dict(names)
        lines += sorted(
            _BUILD_ID.sub(lambda found: known.get(found[0], "another"), each.key) for each in engine._lake.list(RUNS)
        )
        lines += [_CHANCE.sub("?", _BUILD_ID.sub("?", each)) for each in self.unknown_files()]
        raw = self.root / "raw"
        lines += [f"{path.relative_to(raw)}: {path.read_bytes().hex()}" for path in sorted(raw.rglob("*.gz"))]
        return "\n".join(lines)

    def texts_of(self, entry: Any) -> list[str]:
        """Return an entry as text."""
        return [repr(entry)]


class LakeOnDisk(Lake):
    """A data folder."""

    name = "on disk"

    def engine(self) -> LocalEngine:
        """Return a new engine over the folder."""
        return LocalEngine(self.settings, self.gold)

    def copied(self, root: Path) -> LakeOnDisk:
        """Copy the folder."""
        shutil.copytree(self.root, root)
        return LakeOnDisk(root, self.gold, self.changed)

    def files_of(self, entry: Any) -> dict[str, bool]:
        """Return the files in the entry's rows."""
        keys = (values[2] for name, values in entry.rows if name == "data_file")
        return {key: (self.root / "lake" / key).is_file() for key in keys}

    def texts_of(self, entry: Any) -> list[str]:
        """Return the rows of an entry, without the sizes of files."""
        return [repr(values[:3] if name == "data_file" else values) for name, values in entry.rows]

    def unknown_files(self) -> list[str]:
        """Return hidden files of the lake, and everything in scratch."""
        found = []
        for top in ("lake", "scratch"):
            for path in sorted((self.root / top).rglob("*")):
                name = path.relative_to(self.root).as_posix()
                if path.is_file() and (top == "scratch" or any(part.startswith(".") for part in Path(name).parts)):
                    found.append(name)
        return found


class CatalogInSteps(MemoryCatalog):
    """A catalog that changes many partitions in one call, one after the other, as Glue does."""

    changes_at_once = 100


@dataclass
class LakeInMemory(Lake):
    """Dictionaries, beside a folder with raw objects; no locks, and a catalog that changes one partition at a time."""

    store: MemoryStore = field(default_factory=MemoryStore)
    catalog: MemoryCatalog = field(default_factory=CatalogInSteps)
    name = "in memory"
    shows_at_once = False

    def engine(self) -> MemoryEngine:
        """Return a new engine over the same dictionaries."""
        return MemoryEngine(self.settings, self.gold, self.store, self.catalog)

    def copied(self, root: Path) -> LakeInMemory:
        """Copy the dictionaries, and the folder with the raw objects."""
        shutil.copytree(self.root / "raw", root / "raw")
        store, catalog = MemoryStore(), CatalogInSteps()
        store._objects, store._writes = self.store._objects.copy(), self.store._writes
        catalog._entries = self.catalog._entries.copy()
        return LakeInMemory(root, self.gold, self.changed, store, catalog)

    def files_of(self, entry: Any) -> dict[str, bool]:
        """Return the files of an entry."""
        return {key: key in self.store._objects for key in entry.files}


Objects = dict[tuple[str, str], bytes]
"""Bucket and key -> content."""
Partitions = dict[str, list[dict[str, Any]]]
"""Table -> its partitions, as Glue takes them."""


@dataclass
class LakeOnAws(Lake):
    """Buckets and a catalog of an emulated account, which holds one copy at a time; this host builds everything."""

    account: EmulatedAws | None = None
    kept: tuple[Objects, Partitions] | None = None
    """What the account holds when it is to be copied."""
    name = "on AWS by its host"
    shows_at_once = False
    is_quick = False
    defines_tables = True

    @property
    def settings(self) -> Settings:
        """Return settings for the account."""
        return self._account.settings(root=self.root, **BY_HOST).model_copy(update=dict(self.changed))

    @property
    def _account(self) -> EmulatedAws:
        assert self.account is not None
        return self.account

    def engine(self) -> AwsEngine:
        """Return a new engine over the account."""
        return AwsEngine(self.settings, self.gold)

    def copied(self, root: Path) -> LakeOnAws:
        """Set the account back to what it was when this was first asked for."""
        if self.kept is None:
            self.kept = self._objects(), self._partitions()
        objects, partitions = self.kept
        s3, now = self._account.client("s3"), self._objects()
        for bucket, key in now.keys() - objects.keys():
            s3.delete_object(Bucket=bucket, Key=key)
        for (bucket, key), content in objects.items():
            if now.get((bucket, key)) != content:
                encoded = {"ContentEncoding": "gzip"} if key.endswith(".gz") else {}
                s3.put_object(Bucket=bucket, Key=key, Body=content, **encoded)
        for table, there in self._partitions().items():
            wanted = partitions.get(table, [])
            named = dict(zip(("DatabaseName", "TableName"), table.split("."), strict=True))
            for each in (each for each in there if each not in wanted):
                self._account.client("glue").delete_partition(**named, PartitionValues=each["Values"])
            for each in (each for each in wanted if each not in there):
                self._account.client("glue").create_partition(**named, PartitionInput=each)
        copy = LakeOnAws(root, self.gold, self.changed, self.account, self.kept)
        root.mkdir()
        copy.fetch_raw()
        return copy

    def landed(self) -> None:
        """Upload what differs from the bucket."""
        raw, there = self.root / "raw", self._objects()
        for path in sorted(raw.rglob("*.gz")):
            place = (self.settings.raw_bucket, path.relative_to(raw).as_posix())
            if there.get(place) != path.read_bytes():
                put = self._account.client("s3").put_object
                put(Bucket=place[0], Key=place[1], Body=path.read_bytes(), ContentEncoding="gzip")

    def fetch_raw(self) -> None:
        """Download the raw objects."""
        for (bucket, key), content in self._objects().items():
            if bucket == self.settings.raw_bucket:
                (self.root / "raw" / key).parent.mkdir(parents=True, exist_ok=True)
                (self.root / "raw" / key).write_bytes(content)

    def files_of(self, entry: Any) -> dict[str, bool]:
        """Return what is under the location of a partition; its query reads whatever is there."""
        prefix = entry.location.removeprefix(f"s3://{self.settings.lake_bucket}/")
        found = {each.key: True for each in self.onlooker._lake.list(prefix)}
        return found or ({prefix: False} if entry.parameters["rows"] != "0" else {})

    def _objects(self) -> Objects:
        s3 = self._account.client("s3")
        return {
            (bucket, each["Key"]): s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
            for bucket in (self.settings.raw_bucket, self.settings.lake_bucket)
            for each in s3.list_objects_v2(Bucket=bucket).get("Contents", [])
            if not each["Key"].startswith(COSTS)
        }

    def _partitions(self) -> Partitions:
        found, glue = Partitions(), self._account.client("glue")
        for database in glue.get_databases()["DatabaseList"]:
            for table in glue.get_tables(DatabaseName=database["Name"])["TableList"]:
                name = f"{database['Name']}.{table['Name']}"
                if name == BRONZE_EVENTS.full_name:
                    continue  # it has no partitions that anybody writes
                there = glue.get_partitions(DatabaseName=database["Name"], TableName=table["Name"])["Partitions"]
                fields = ("Values", "StorageDescriptor", "Parameters")
                found[name] = [{field: each[field] for field in fields} for each in there]
        return found


@cache
def _settings() -> Settings:
    return load_settings(workers=1, lock_timeout_seconds=20)


def needed_and_stored(engine: PortEngine[Any]) -> tuple[set[str], set[str]]:
    """Return the keys of the data files that commit records name, and of those that the lake has."""
    records = engine._commits
    commits: list[Commit] = [*records.hours(None), *records.partials(), *records.days()]
    return {file.path for commit in commits for file in commit.files}, {each.key for each in engine._lake.list(RUNS)}


def rows_in(table: pa.Table) -> list[str]:
    """Return rows as text, without what differs from build to build."""
    kept = [name for name in table.column_names if name not in _OF_THE_BUILD]
    return [repr(row) for row in table.select(kept).to_pylist()]
