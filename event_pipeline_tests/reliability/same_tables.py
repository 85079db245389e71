"""The same records in another layout, order or place to run give the same tables.

A day around midnight is written and built in two ways, and what is published is compared: Gold row by row, Silver and
quarantine as multisets of rows without the columns that name the place in the input. Of equal records of an hour one
stays, whichever comes first; so equal records here are equal in everything that Silver keeps.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.host import pool_builder
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.names import gold_table
from event_pipeline.rules.contract import HOUR_LEDGER, SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable, load_gold_tables
from event_pipeline.rules.silver_files import FILE_BYTES, ROW_GROUP_ROWS
from event_pipeline.rules.validation import CHUNK_BYTES, judge_stored_object
from event_pipeline.settings import load_settings
from event_pipeline_tests.assemblies import variables
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.conftest import BY_HOST
from event_pipeline_tests.engines.memory_engine import MemoryEngine
from event_pipeline_tests.pipeline import build
from event_pipeline_tests.reliability.trial import Promise, Say, Trial

HOURS = tuple(Hour.parse("2025-12-07T22").plus(number) for number in range(3))
MEMORY, DISK, AWS = "in memory", "on disk", "on AWS by its host"
TABLES = tuple(table for table in load_gold_tables() if table.name in ("top_products", "user_activity"))
"""One with ties and one with distinct counts: the other three are sums."""

Records = Mapping[Hour, Sequence[bytes]]
Objects = dict[tuple[Hour, int], list[bytes]]
"""Landing hour and second within it -> lines."""


@dataclass(frozen=True)
class Way:
    """One way to write and to build the same records; the defaults are the plainest."""

    permuted: bool = False
    """Whether lines, or records of equal objects, are in another order."""
    objects: int = 2
    """Objects of each hour: more split them, fewer merge them."""
    renamed: bool = False
    """Whether objects have other minutes and seconds."""
    members: int = 1
    """Members of each gzip object."""
    line_end: bytes = b"\n"
    blank_lines: bool = False
    order: tuple[int, ...] = (0, 1, 2)
    """The order in which the hours are built."""
    one_range: bool = True
    """Whether they are built in one run."""
    twice: bool = False
    """Whether everything is built again by force."""
    workers: int = 1
    chunk_bytes: int = CHUNK_BYTES
    row_group_rows: int = ROW_GROUP_ROWS
    file_bytes: int = FILE_BYTES
    assembly: str = MEMORY

    def __str__(self) -> str:
        different = {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if getattr(self, each.name) != each.default
        }
        return ", ".join(f"{name}={value!r}" for name, value in different.items()) or "the plainest way"


def some_way(chance: random.Random, assembly: str) -> Way:
    """Return several changes at once, drawn at random."""
    return Way(
        permuted=chance.random() < 0.7,
        objects=chance.choice((1, 2, 3, 7)),
        renamed=chance.random() < 0.7,
        members=chance.choice((1, 1, 3)),
        line_end=chance.choice((b"\n", b"\r\n")),
        blank_lines=chance.random() < 0.3,
        order=tuple(chance.sample(range(3), 3)),
        one_range=chance.random() < 0.5,
        twice=chance.random() < 0.2,
        chunk_bytes=chance.choice((1, 100, 1000, 1 << 20)),
        row_group_rows=chance.choice((1, 7, 600_000)),
        file_bytes=chance.choice((1, 1 << 28)),
        assembly=assembly,
    )


def some_records(chance: random.Random) -> Records:
    """Draw the records of each hour: good, late, early, repeated and broken ones."""
    records = {}
    for hour in HOURS:
        lines = [_record(chance, hour) for _ in range(chance.randint(30, 60))]
        lines += chance.choices(lines, k=chance.randint(0, 12))
        records[hour] = lines
    return records


def _record(chance: random.Random, hour: Hour) -> bytes:
    if chance.random() < 0.05:
        return chance.choice((b"{", b"[]", b"null", b'{"user_id": "u_1"', b"\xff\xfe"))
    away = chance.choice((0, 0, 0, 0, -3600, -7200, -8 * 86400, 3600))
    microseconds = chance.choice((0, 0, 999_600, 1))
    instant = hour.start + timedelta(seconds=away + chance.randint(0, 3599), microseconds=microseconds)
    record: dict[str, Any] = {
        "timestamp": instant.isoformat(),
        "user_id": f"u_{chance.randint(1, 9)}",
        "session_id": f"s_{chance.randint(1, 15)}",
        "event_type": chance.choice(
            ("page_view", "page_view", "add_to_cart", "remove_from_cart", "purchase", "search")
        ),
        "product_id": f"p_{chance.randint(1, 12)}",
        "category": chance.choice(("books", "toys", "home")),
        "quantity": chance.randint(1, 5),
        "price": chance.choice((9.99, 0.01, 19.5, 3)),
        "search_query": "tea",
    }
    if chance.random() < 0.1:
        record[chance.choice(tuple(record))] = chance.choice((None, "", -1, "?" * 200))
    # The same in equal records, because it is made of nothing else.
    if record["quantity"] == 5:
        record["campaign"] = f"of {record['user_id']}"
    return json.dumps(record).encode()


def laid_out(records: Records, way: Way, chance: random.Random) -> Objects:
    """Divide the records of each hour into objects."""
    objects: Objects = {}
    for hour, lines in records.items():
        shares: list[list[bytes]] = [[] for _ in range(way.objects)]
        for number, line in enumerate(lines):
            shares[number * way.objects // len(lines)].append(line)
        if way.permuted:
            shuffled = chance.sample(list(lines), len(lines))
            shares = [[shuffled.pop() for _ in share] for share in shares]
        seconds = chance.sample(range(3600), way.objects) if way.renamed else [300 * n for n in range(way.objects)]
        objects |= {(hour, second): share for second, share in zip(seconds, shares, strict=True)}
    return objects


def stored(lines: Sequence[bytes], way: Way) -> bytes:
    """Return the bytes of an object."""
    content = way.line_end.join(lines)
    if way.blank_lines:
        content = b"\n \n".join((b"", content, b""))
    cuts = [len(content) * number // way.members for number in range(way.members + 1)]
    return b"".join(gzip.compress(content[a:b], mtime=0) for a, b in zip(cuts, cuts[1:], strict=False))


Tables = dict[str, list[str]]
"""What is published: name -> rows in an order of their own."""


def published(records: Records, way: Way, seed: int, tables: Sequence[GoldTable] = TABLES) -> Tables:
    """Write and build records in one way, and return the tables."""
    chance = random.Random(seed)
    root = Path(tempfile.mkdtemp(prefix="same-"))
    try:
        with ExitStack() as opened:
            for name, value in (
                ("ROW_GROUP_ROWS", way.row_group_rows),
                ("FILE_BYTES", way.file_bytes),
                ("POOL_WORTH_BYTES", 1),
                ("judge_stored_object", partial(judge_stored_object, chunk_bytes=way.chunk_bytes)),
            ):
                opened.enter_context(mock.patch.object(pool_builder, name, value))
            place = opened.enter_context(_opened(way, root))
            for (hour, second), lines in laid_out(records, way, chance).items():
                place.put(hour.raw_key(hour.start + timedelta(seconds=second)), stored(lines, way))
            hours = [HOURS[number] for number in way.order]
            runs = [hours] if way.one_range else [[hour] for hour in hours]
            for force in (False, True) if way.twice else (False,):
                for run in runs:
                    build(place.engine, run, tables, force=force)
            return tables_of(place.engine, tables)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True)
class _Place:
    engine: PortEngine[Any]
    folder: Path
    account: EmulatedAws | None = None

    def put(self, key: str, content: bytes) -> None:
        """Let an object land."""
        if self.account is not None:
            bucket = self.account.settings().raw_bucket
            self.account.client("s3").put_object(Bucket=bucket, Key=key, Body=content, ContentEncoding="gzip")
            return
        (self.folder / "raw" / key).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "raw" / key).write_bytes(content)


def _opened(way: Way, root: Path) -> AbstractContextManager[_Place]:
    if way.assembly == AWS:
        return _on_aws(root)
    settings = load_settings(root=root, workers=way.workers)
    return nullcontext(_Place(LocalEngine(settings) if way.assembly == DISK else MemoryEngine(settings), root))


@contextmanager
def _on_aws(root: Path) -> Iterator[_Place]:
    with EmulatedAws() as account, variables(account.environment()):
        settings = account.settings(root=root, **BY_HOST)
        account.create_resources(settings)
        yield _Place(AwsEngine(settings), root, account)


def tables_of(engine: PortEngine[Any], tables: Sequence[GoldTable]) -> Tables:
    """Return the rows of the files that queries read, without what must follow the layout of the input."""
    hours = [hour.hive_path for hour in HOURS]
    found = {
        SILVER_EVENTS.full_name: _rows(engine, SILVER_EVENTS.full_name, hours, ("source_object",)),
        SILVER_QUARANTINE.full_name: _rows(
            engine, SILVER_QUARANTINE.full_name, hours, ("source_object", "line_number")
        ),
    }
    ledger = ("records", "silver_rows", "quarantined", "duplicates", "quarantined_by_reason")
    found[HOUR_LEDGER.full_name] = _rows(engine, HOUR_LEDGER.full_name, hours, kept=ledger)
    for table in tables:
        name = gold_table(table.name)
        days = [entry.partition for entry in engine._catalog.entries(name)]
        found[name] = _rows(engine, name, days)
    return found


def _rows(
    engine: PortEngine[Any],
    table: str,
    partitions: Sequence[str],
    dropped: Sequence[str] = (),
    kept: Sequence[str] | None = None,
) -> list[str]:
    rows = []
    for partition in partitions:
        for file in engine.shown_files(table, partition):
            with file.store.open(file.key, file.size) as content:
                read = pq.ParquetFile(content).read(use_threads=False)
            names = kept or [name for name in read.column_names if name not in dropped]
            rows += [f"{partition}: {row}" for row in read.select(names).to_pylist()]
    return sorted(rows)


def differences(wanted: Tables, found: Tables) -> list[str]:
    """Return how two sets of tables differ, table by table; those that only one of them has do not count."""
    different = []
    for name in wanted.keys() & found.keys():
        if wanted[name] != found[name]:
            missing, surplus = (
                Counter(wanted[name]) - Counter(found[name]),
                Counter(found[name]) - Counter(wanted[name]),
            )
            different.append(
                f"{name} lacks {sum(missing.values())} rows and has {sum(surplus.values())} others, for example "
                f"{[*missing, *surplus][:2]}"
            )
    return sorted(different)


CASES = {MEMORY: 8, DISK: 2, AWS: 1}
"""Assembly -> ways that are tried at scale 1."""


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Try several changes at once, on every assembly; each seed has records of its own."""
    for assembly, number in CASES.items():
        yield trial_of(assembly, number * scale, seed, say)


def trial_of(assembly: str, number: int, seed: int, say: Say = lambda _: None) -> Trial:
    """Try some ways on one assembly, each against the plainest way in memory."""
    started, violations = time.monotonic(), list[str]()
    wanted: Tables = {}
    for case in range(number):
        # Records change only now and then, because the plainest way is built for each of them.
        of_records = seed * 1000 + case // 6
        chance = random.Random(of_records)
        records = some_records(chance)
        if case % 6 == 0:
            wanted = published(records, Way(), 0)
        way = some_way(random.Random(f"{seed} {assembly} {case}"), assembly)
        if assembly == DISK and case % 3 == 0:
            way = dataclasses.replace(way, workers=2)  # it takes a second to start them
        try:
            different = differences(wanted, published(records, way, case))
        except Exception as fault:
            different = [f"{type(fault).__name__}: {fault}"]
        if different:
            violations.append(f"records of {of_records}, case {case}, Way({way}): {'; '.join(different)}")
        say(f"same tables {assembly}: {case + 1} of {number}")
    tried = (
        f"the same records {assembly}: lines permuted, objects split, merged and renamed, hours in another order, "
        "other chunks, files and row groups, one run or several"
    )
    return Trial(Promise.EQUAL, tried, number, seed, tuple(violations), time.monotonic() - started)
