"""The independent recount: compares what raw holds with what Silver, the ledger and Gold show.

Nothing here relies on the builder. Raw is read with the standard library's gzip, line by line, and judged by the
reference rule, never by the fast path. Silver, quarantine and ledger are read from the files in the catalog, and the
query engine counts Silver a second time. It also recomputes Gold from all Silver of a day in one query. Contents are
compared as sums of 128-bit row digests, which do not depend on row order.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import marshal
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO

from event_pipeline.engines.base import Engine
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.processes import WorkerPool
from event_pipeline.engines.state import HourState, as_built, input_state
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import DayTotals, HourAccount, RawListing, RawObject, dollars_of
from event_pipeline.rules.contract import (
    EVENT_DATE,
    EVENT_HOUR,
    EVENT_TIME,
    EVENT_TYPE,
    FIELDS,
    HOUR_LEDGER,
    LONG_LINE_HEAD_BYTES,
    PRICE,
    PURCHASE,
    QUANTITY,
    RESCUED,
    REVENUE,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    SOURCE_OBJECT,
    Limits,
    Table,
)
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.framing import WronglyFramed, wrongly_framed
from event_pipeline.rules.hour import PARTITION_COLUMNS, Hour, HourRange
from event_pipeline.rules.kinds import Instant, Value
from event_pipeline.rules.query import GoldTable
from event_pipeline.rules.record import InstantRange, Rejection, judge
from event_pipeline.rules.resent import SentAgain, neighbours_sent_again
from event_pipeline.rules.stored_bytes import DigestingReader

if TYPE_CHECKING:
    import pyarrow as pa

MOST_DIFFERING_ROWS = 5
"""Differing Gold rows listed per table and day."""

POOL_WORTH_BYTES = 4 << 20
"""Below this amount of raw data in an hour, starting worker processes costs more than it saves."""

READ_BYTES = 1 << 20
"""Decompressed bytes of an object that are read at once."""

BATCHES_AT_ONCE = 4
"""Batches of published rows for each worker process that are in memory at once."""

_DIGEST_BYTES = 16
_DIGEST_MODULUS = 1 << 8 * _DIGEST_BYTES
_HALF_DIGEST = (1 << 64) - 1
_WRITTEN_ALIKE = 2
"""Format of `marshal` in which equal values have equal bytes: later ones refer to values that were seen before."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MICROSECONDS_PER_DAY = 86_400_000_000
_MICROSECONDS_PER_HOUR = 3_600_000_000
_EPOCH_DAY = date(1970, 1, 1)
_INSTANTS = [position for position, each in enumerate(FIELDS) if isinstance(each.kind, Instant)]
_CONTENT = [*(each.column.name for each in FIELDS), EVENT_DATE.name, EVENT_HOUR.name, REVENUE.name]
"""Columns of Silver whose values are digested; `rescued` is added where it is not null, and rows are compared by
`source_object`."""

_Compared = tuple[str, object, object]
"""What was compared, the value in raw, the published value."""

Progress = Callable[[str, int, int], None]
"""Called with the current step, steps done, and steps in total; a step is a raw object, or Gold of an event day."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One published value that does not match raw (for Gold: Silver)."""

    place: str
    """Landing hour, or Gold table and event day."""
    what: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class HourVerdict:
    """The result of recounting one landing hour: what raw holds, and how what is published differs."""

    hour: Hour
    objects: int
    unreadable: int
    records: int
    silver_rows: int
    quarantined: int
    duplicates: int
    differences: tuple[Difference, ...] = ()
    erased: int = 0


@dataclass(frozen=True, slots=True)
class GoldVerdict:
    """The result of recomputing one Gold table for one event day from all its Silver."""

    table: str
    day: date
    rows: int
    """Published rows."""
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was recounted, and what could not be."""

    hours: tuple[HourVerdict, ...]
    outrun: tuple[Difference, ...]
    """Hours that are not recounted because raw, rules or commit record are newer than what queries see."""
    gold: tuple[GoldVerdict, ...]
    not_recounted: Mapping[Hour, str]
    """Published hours whose raw objects are partly or wholly lost, or still landing -> what exists."""
    not_built: tuple[Hour, ...]
    """Closed hours with raw objects but nothing published, so there is nothing to verify."""
    retired: tuple[Hour, ...] = ()
    """Published hours past their retention, whose Silver was removed on purpose. Gold days with their events cannot be
    recomputed either; they are checked against the control totals of the commit records."""

    sent_again: Mapping[tuple[Hour, Hour], SentAgain] = field(default_factory=dict)
    """Pairs of hours that hold the same records, by the samples in their commit records. Not a difference, because
    every record is in the hour of its object, but the records count twice."""

    wrongly_framed: Mapping[Hour, tuple[WronglyFramed, ...]] = field(default_factory=dict)
    """Hours with objects that are not framed as one JSON object per line. Not a difference, because their records are
    refused as they must be, but their content is lost."""

    @property
    def differences(self) -> list[Difference]:
        """All differences, hours first; empty if everything was proven."""
        verdicts: tuple[HourVerdict | GoldVerdict, ...] = (*self.hours, *self.gold)
        return [*self.outrun, *(each for verdict in verdicts for each in verdict.differences)]


@dataclass(slots=True)
class _Rows:
    """Rows from one raw object: their number, and the sum of their digests."""

    count: int = 0
    total: int = 0
    """Of all digests: an integer has no greatest value, so the modulus is taken once."""

    @property
    def digest(self) -> int:
        return self.total % _DIGEST_MODULUS

    def add(self, digest: int) -> None:
        self.count += 1
        self.total += digest

    def put(self, more: _Rows) -> None:
        self.count += more.count
        self.total += more.total

    def take_back(self, other: _Rows) -> None:
        self.count -= other.count
        self.total -= other.total


@dataclass(slots=True)
class _DayRecount:
    """Control totals of one event day."""

    by_type: Counter[str] = field(default_factory=Counter)
    items_sold: int = 0
    revenue_cents: int = 0


@dataclass(slots=True)
class _ObjectRecount:
    """What one readable raw object holds according to the contract."""

    records: int = 0
    duplicates: int = 0
    erased: int = 0
    """Records of people who were erased."""
    silver: _Rows = field(default_factory=_Rows)
    quarantine: _Rows = field(default_factory=_Rows)
    reasons: Counter[str] = field(default_factory=Counter)
    days: dict[int, _DayRecount] = field(default_factory=dict)
    """Event day, as days since 1970 -> its Silver rows."""
    accepted: _Identities = field(default_factory=lambda: _Identities())

    def take_back(self, repeated: _ObjectRecount) -> None:
        """Turn accepted records into duplicates."""
        self.duplicates += repeated.silver.count
        self.silver.take_back(repeated.silver)
        for day, taken in repeated.days.items():
            totals = self.days[day]
            totals.by_type -= taken.by_type
            totals.items_sold -= taken.items_sold
            totals.revenue_cents -= taken.revenue_cents
            if not totals.by_type:
                del self.days[day]


@dataclass(slots=True)
class _Identities:
    """What identifies each accepted record of one object, in order: 20 bytes per record.

    A digest of the normalised fields, in two halves, and the line.
    """

    high: array[int] = field(default_factory=lambda: array("Q"))
    low: array[int] = field(default_factory=lambda: array("Q"))
    lines: array[int] = field(default_factory=lambda: array("I"))


@dataclass(frozen=True, slots=True)
class _Task:
    """One raw object to recount, in any process."""

    open_raw: Callable[[str], BinaryIO]
    listed: RawObject
    hour: Hour
    limits: Limits
    erasures: Erasures
    only: frozenset[int] | None = None
    """Lines to count; None for all."""


def verify(
    engine: Engine,
    gold_tables: Sequence[GoldTable],
    limits: Limits,
    hours: HourRange | None,
    now: datetime,
    progress: Progress,
    workers: int = 1,
) -> Verification:
    """Recount every published hour of a range (everything when None), then Gold of every event day they touch.

    Do not build the same hours meanwhile: a change during the recount shows as a difference. The objects of a large
    hour are recounted by `workers` processes. Keeps in memory 20 bytes per accepted record of one hour, three times as
    much while its duplicates are found, one row group of the published files, and BATCHES_AT_ONCE batches per process.

    Raises:
        StorageError: raw objects or published files cannot be read.
        ExhaustedError: the process that recounts an object was killed.
    """
    pool = WorkerPool(workers)
    try:
        return _verify(engine, gold_tables, limits, hours, now, progress, pool if workers > 1 else None)
    except BaseException:
        pool.abort()
        raise
    finally:
        pool.shutdown()


def _verify(
    engine: Engine,
    gold_tables: Sequence[GoldTable],
    limits: Limits,
    hours: HourRange | None,
    now: datetime,
    progress: Progress,
    pool: WorkerPool | None,
) -> Verification:
    listings = engine.list_raw_hours(hours)
    # All hours, because a day of the range may hold events from hours outside it.
    damaged = dict[Hour, StorageError]()
    every_commit = engine.hour_commits(None, damaged)
    commits = {hour: commit for hour, commit in every_commit.items() if hours is None or hour in hours}
    registered = engine.registered_builds(hours)
    retired = {hour: commit for hour, commit in every_commit.items() if commit.retired_at}
    retired_days = {date.fromisoformat(day) for commit in retired.values() for day in commit.account.days}
    counted = _counted_silver(engine)
    landing_hours = {day: tuple(landed) for day, landed in counted.items()}
    gold_rows = {table.name: _published_days(engine, table) for table in gold_tables}
    days = {day for day, landed in landing_hours.items() if hours is None or any(hour in hours for hour in landed)}
    # Include days that are published without any Silver behind them.
    days |= {day for shown in gold_rows.values() for day in shown if hours is None or hours.touches(day)}

    outrun: list[Difference] = []
    not_recounted: dict[Hour, str] = {}
    to_recount: list[RawListing] = []
    for hour, error in damaged.items():
        if hours is None or hour in hours:
            outrun.append(Difference(str(hour), "commit record", "readable", str(error)))
        else:
            not_recounted[hour] = f"not compared with its neighbours either: {error}"
    for hour in sorted((commits.keys() | registered.keys()) - damaged.keys()):
        commit = commits.get(hour)
        listing = as_built(engine, listings.get(hour, RawListing(hour, ())), commit)
        if hour in retired:
            continue
        if commit is not None and input_state(listing, commit, limits.rules_version) is HourState.LOST_OBJECTS:
            not_recounted[hour] = f"{len(listing.objects)} of {len(commit.account.objects)} raw objects are left"
        elif commit is not None and not hour.is_closed(now) and listing.fingerprint != commit.fingerprint:
            not_recounted[hour] = (
                f"the hour is not over: {len(commit.account.objects)} of {len(listing.objects)} raw objects are built"
            )
        elif fault := _known_fault(listing, commit, registered.get(hour), limits.rules_version):
            outrun.append(fault)
        else:
            to_recount.append(listing)

    steps = sum(len(listing.objects) for listing in to_recount) + len(days)
    finished = itertools.count()

    def begin(doing: str) -> None:
        progress(doing, next(finished), steps)

    silver_rows = Counter[Hour]()
    for landed in counted.values():
        silver_rows.update(landed)
    verdicts = [
        _verify_hour(engine, limits, listing, commits.get(listing.hour), silver_rows[listing.hour], begin, pool)
        for listing in to_recount
    ]
    gold: list[GoldVerdict] = []
    for day in sorted(days):
        begin(f"recomputing Gold of {day}")
        for table in gold_tables:
            if day not in retired_days:
                differences = _compare_gold(engine, table, day, landing_hours.get(day, ()))
            elif day in landing_hours or day in gold_rows[table.name]:
                differences = _compare_totals(engine, table, day)
            else:
                continue  # past Gold's own retention, although another table still shows the day
            gold.append(GoldVerdict(table.name, day, gold_rows[table.name].get(day, 0), differences))
    built = commits.keys() | damaged.keys()
    not_built = tuple(hour for hour in listings if hour not in built and hour.is_closed(now))
    left = tuple(hour for hour in retired if hours is None or hour in hours)
    framed = _wrongly_framed(sorted(commits), {hour: commit.account for hour, commit in every_commit.items()})
    repeated = _sent_again(sorted(commits), {hour: commit.account for hour, commit in every_commit.items()})
    return Verification(tuple(verdicts), tuple(outrun), tuple(gold), not_recounted, not_built, left, repeated, framed)


def _wrongly_framed(
    hours: Sequence[Hour], accounts: Mapping[Hour, HourAccount]
) -> dict[Hour, tuple[WronglyFramed, ...]]:
    found = {hour: tuple(wrongly_framed(accounts[hour], accounts.get(hour.plus(-1)))) for hour in hours}
    return {hour: objects for hour, objects in found.items() if objects}


def _sent_again(hours: Sequence[Hour], accounts: Mapping[Hour, HourAccount]) -> dict[tuple[Hour, Hour], SentAgain]:
    """Find hours that hold records of another hour; a pair within the range is listed under the later hour."""
    return {
        (hour, other): found
        for hour in hours
        for other, found in neighbours_sent_again(hour, accounts).items()
        if other < hour or other not in hours
    }


# -- one landing hour


def _known_fault(
    listing: RawListing, commit: HourCommit | None, registered: str | None, rules_version: str
) -> Difference | None:
    """Return why what is published cannot match raw now; None if it should match."""
    if commit is None:
        return None
    state, place = input_state(listing, commit, rules_version), str(listing.hour)
    if state is HourState.CHANGED:
        found = "objects were added or replaced since: `event-pipeline run` rebuilds it"
        return Difference(place, "raw objects", "those it was built from", found)
    if state is HourState.OUTDATED:
        found = f"{commit.rules_version}: `event-pipeline run` rebuilds it"
        return Difference(place, "rules version", rules_version, found)
    if registered != commit.build_id:
        found = f"{registered or 'none'}: `event-pipeline repair` registers it"
        return Difference(place, "run that queries see", commit.build_id, found)
    return None


def _verify_hour(
    engine: Engine,
    limits: Limits,
    listing: RawListing,
    commit: HourCommit | None,
    counted_rows: int,
    begin: Callable[[str], None],
    pool: WorkerPool | None,
) -> HourVerdict:
    hour = listing.hour
    recounts, digests = _recount_hour(engine, limits, listing, begin, pool)
    readable = {key: each for key, each in recounts.items() if each is not None}
    verdict = HourVerdict(
        hour,
        objects=len(recounts),
        unreadable=len(recounts) - len(readable),
        records=sum(each.records for each in readable.values()),
        silver_rows=sum(each.silver.count for each in readable.values()),
        quarantined=sum(each.quarantine.count for each in readable.values()),
        duplicates=sum(each.duplicates for each in readable.values()),
        erased=sum(each.erased for each in readable.values()),
    )
    ledger = {
        "objects": verdict.objects,
        "unreadable_objects": verdict.unreadable,
        "raw_bytes": listing.raw_bytes,
        "records": verdict.records,
        "silver_rows": verdict.silver_rows,
        "quarantined": verdict.quarantined,
        "quarantined_by_reason": dict(sum((each.reasons for each in readable.values()), Counter[str]())),
        "duplicates": verdict.duplicates + verdict.erased,
        "fingerprint": listing.fingerprint,
        "rules_version": limits.rules_version,
    }
    compared: list[_Compared] = [
        (f"{SILVER_EVENTS.full_name} rows that queries count", verdict.silver_rows, counted_rows)
    ]
    if listing.raw_bytes < POOL_WORTH_BYTES:
        pool = None
    silver = {key: each.silver for key, each in readable.items()}
    quarantine = {key: each.quarantine for key, each in readable.items()}
    compared += _compare_rows(engine, SILVER_EVENTS, hour, silver, pool)
    compared += _compare_rows(engine, SILVER_QUARANTINE, hour, quarantine, pool)
    if commit is None:
        compared.append(("commit record", "one that names the published build", "none"))
    else:
        ledger["run_id"] = commit.build_id
        compared += _compare_digests(commit, digests)
        compared += _compare_commit(commit, recounts)
    compared += _compare_ledger(engine, hour, ledger)
    return replace(verdict, differences=_differences(str(hour), compared))


def _recount_hour(
    engine: Engine, limits: Limits, listing: RawListing, begin: Callable[[str], None], pool: WorkerPool | None
) -> tuple[dict[str, _ObjectRecount | None], dict[str, str]]:
    """Count every object of an hour in key order; None is an object that cannot be decompressed completely.

    Also returns the SHA-256 of each object's stored bytes, by key.
    """

    def recounted(tasks: Sequence[_Task]) -> Iterator[tuple[_ObjectRecount | None, str]]:
        if pool is None or len(tasks) < 2 or sum(task.listed.size for task in tasks) < POOL_WORTH_BYTES:
            return map(_recount_object, tasks)
        return pool.map(_recount_object, tasks, _killed)

    opener = engine.raw_opener()
    erasures = engine.erasures()
    tasks = [_Task(opener, each, listing.hour, limits, erasures) for each in sorted(listing.objects)]
    recounts: dict[str, _ObjectRecount | None] = {}
    digests: dict[str, str] = {}
    found = recounted(tasks)
    for task in tasks:
        begin(f"recounting {listing.hour}")
        recounts[task.listed.key], digests[task.listed.key] = next(found)
    repeated = _repeated({key: each.accepted for key, each in recounts.items() if each is not None})
    again = [replace(task, only=repeated[task.listed.key]) for task in tasks if task.listed.key in repeated]
    for task, (duplicates, _) in zip(again, recounted(again), strict=True):
        recount = recounts[task.listed.key]
        if recount is None or duplicates is None:
            raise StorageError(f"{task.listed.key} changed while it was recounted: verify the hour again")
        recount.take_back(duplicates)
    return recounts, digests


def _killed(task: _Task) -> str:
    return (
        f"{task.listed.key} ({task.listed.size:,} bytes): the process that recounts it was killed, even when it was "
        "the only one: the machine is most likely out of memory. Add memory; nothing was changed"
    )


def _repeated(accepted: Mapping[str, _Identities]) -> dict[str, frozenset[int]]:
    """Return key -> lines of the accepted records that equal an earlier one of the hour; empties the identities."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lines = {key: each.lines for key, each in accepted.items()}

    def joined(halves: Iterable[array[int]]) -> pa.ChunkedArray:
        arrays = [pa.Array.from_buffers(pa.uint64(), len(each), [None, pa.py_buffer(each)]) for each in halves]
        return pa.chunked_array(arrays, pa.uint64())

    records = pa.table(
        {
            "high": joined(each.high for each in accepted.values()),
            "low": joined(each.low for each in accepted.values()),
        }
    ).combine_chunks()
    for each in accepted.values():
        each.high, each.low, each.lines = array("Q"), array("Q"), array("I")
    if len(records) < 2:
        return {}
    order = pc.sort_indices(records, [("high", "ascending"), ("low", "ascending")])
    high, low = records["high"].take(order), records["low"].take(order)
    repeats = pc.and_(pc.equal(high[1:], high[:-1]), pc.equal(low[1:], low[:-1]))
    del records, high, low
    # Equal records are next to each other in the order of the hour, because the sort is stable.
    positions = order[1:].filter(repeats)
    found: dict[str, frozenset[int]] = {}
    start = 0
    for key, numbers in lines.items():
        end = start + len(numbers)
        chosen = positions.filter(pc.and_(pc.greater_equal(positions, start), pc.less(positions, end)))
        if len(chosen):
            found[key] = frozenset(numbers[position - start] for position in chosen.to_pylist())
        start = end
    return found


def _recount_object(task: _Task) -> tuple[_ObjectRecount | None, str]:
    """Count one object, and compute the SHA-256 of its stored bytes."""
    with task.open_raw(task.listed.key) as stored:
        digested = DigestingReader(stored)
        return _recount_lines(digested.as_file(), task), digested.finish()


def _recount_lines(stored: BinaryIO, task: _Task) -> _ObjectRecount | None:
    recount, listed, limits = _ObjectRecount(), task.listed, task.limits
    accepted_range = InstantRange.of(task.hour, limits)
    if listed.size == 0:
        return None
    try:
        with io.BufferedReader(gzip.GzipFile(fileobj=stored, mode="rb"), READ_BYTES) as content:
            for line_number, (line, is_too_long) in enumerate(_lines(content, limits), start=1):
                if task.only is not None and line_number not in task.only:
                    continue
                record = line.strip()
                if record and task.erasures and task.erasures.has_record(record.decode("utf-8", "replace")):
                    recount.records += 1
                    recount.erased += 1
                elif is_too_long and record:
                    _refuse(recount, "too_long", record, line_number, listed.key)
                elif record:
                    _count(recount, record, line_number, listed.key, accepted_range)
                if recount.records > limits.max_object_records:
                    return None
    except _TooLargeError:
        return None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return None
    return recount


class _TooLargeError(Exception):
    """An object decompresses to more bytes than the limit."""


def _lines(content: BinaryIO, limits: Limits) -> Iterator[tuple[bytes, bool]]:
    """Yield each line without its newline, and whether it is too long; a too long line is cut, and skipped if blank.

    Raises:
        _TooLargeError: the object exceeds its size limit.
    """
    size = 0

    def read() -> bytes:
        nonlocal size
        # Room for the newline and a byte order mark, which do not count.
        part = content.readline(limits.max_line_bytes + 1 + len(_BYTE_ORDER_MARK))
        size += len(part)
        if size > limits.max_object_bytes:
            raise _TooLargeError
        return part

    is_first = True
    while part := read():
        line = part.removesuffix(b"\n")
        line, is_first = (line.removeprefix(_BYTE_ORDER_MARK) if is_first else line), False
        if len(line) <= limits.max_line_bytes:
            yield line, False
            continue
        head = line.lstrip()[:LONG_LINE_HEAD_BYTES]
        while not part.endswith(b"\n") and (part := read()):
            if len(head) < LONG_LINE_HEAD_BYTES:
                head = (head + part.removesuffix(b"\n")).lstrip()[:LONG_LINE_HEAD_BYTES]
        yield head, True


def _refuse(recount: _ObjectRecount, reason: str, record: bytes, line_number: int, key: str) -> None:
    recount.records += 1
    recount.reasons[reason] += 1
    recount.quarantine.add(_digest((reason, key, line_number, record.decode("utf-8", "replace"))))


def _count(recount: _ObjectRecount, record: bytes, line_number: int, key: str, accepted_range: InstantRange) -> None:
    verdict = judge(record, accepted_range)
    outcome = verdict.outcome
    if isinstance(outcome, Rejection):
        _refuse(recount, outcome.reason, record, line_number, key)
        return
    recount.records += 1
    values = outcome.values
    instant, event_type = int(values[EVENT_TIME.name] or 0), str(values[EVENT_TYPE.name])
    day, since_midnight = divmod(instant, _MICROSECONDS_PER_DAY)
    totals = recount.days.get(day)
    if totals is None:
        totals = recount.days[day] = _DayRecount()
    totals.by_type[event_type] += 1
    revenue = None
    if event_type == PURCHASE.name:
        items, cents = int(values[QUANTITY.name] or 0), int(values[PRICE.name] or 0)
        totals.items_sold += items
        revenue = cents * items
        totals.revenue_cents += revenue
    digest = _digest((*_shown(values), day, since_midnight // _MICROSECONDS_PER_HOUR, revenue))
    recount.silver.add(digest if verdict.rescued is None else _digest((digest, verdict.rescued)))
    # Silver cuts instants to milliseconds; records that differ in the rest are not duplicates.
    identity = (digest + instant % 1_000) % _DIGEST_MODULUS
    recount.accepted.high.append(identity >> 64)
    recount.accepted.low.append(identity & _HALF_DIGEST)
    recount.accepted.lines.append(line_number)


def _shown(values: Mapping[str, Value | None]) -> list[Value | None]:
    """Return the normalised fields as Silver shows them, in the form of `_plain`."""
    shown = list(values.values())
    for position in _INSTANTS:
        if (instant := shown[position]) is not None:
            shown[position] = int(instant) // 1_000 * 1_000
    return shown


def _digest(row: tuple[Any, ...]) -> int:
    """Return the digest of integers, texts and None, whose types and lengths are part of what is digested."""
    written = marshal.dumps(row, _WRITTEN_ALIKE)
    return int.from_bytes(hashlib.blake2b(written, digest_size=_DIGEST_BYTES).digest(), "big")


# -- what is published of it


def _compare_rows(
    engine: Engine, table: Table, hour: Hour, expected: Mapping[str, _Rows], pool: WorkerPool | None
) -> Iterator[_Compared]:
    """Compare the rows that queries see with those in raw, object by object."""
    published = _published_rows(engine, table, hour, pool)
    for key in sorted(expected.keys() | published.keys()):
        want, have = expected.get(key, _Rows()), published.get(key, _Rows())
        place = f"{table.full_name} rows from {key}"
        yield place, want.count, have.count
        if want.count == have.count:
            yield f"content of the {place}", f"digest {want.digest:032x}", f"digest {have.digest:032x}"


def _published_rows(engine: Engine, table: Table, hour: Hour, pool: WorkerPool | None) -> dict[str, _Rows]:
    """Return source object -> its rows in a published table."""
    digest_batch = _silver_rows if table is SILVER_EVENTS else _quarantine_rows
    batches = engine.shown_rows(table, hour)
    if pool is None:
        return _added_up(map(digest_batch, batches))

    def killed(batch: pa.RecordBatch) -> str:
        return (
            f"{table.full_name} of {hour}: the process that digests {batch.num_rows:,} of its rows was killed, even "
            "when it was the only one: the machine is most likely out of memory. Add memory; nothing was changed"
        )

    def digested(pool: WorkerPool) -> Iterator[dict[str, _Rows]]:
        def gathered() -> list[pa.RecordBatch]:
            return list(itertools.islice(batches, BATCHES_AT_ONCE // 2 * pool.workers))

        ahead = gathered()
        while ahead:
            found = pool.map(digest_batch, ahead, killed)
            yield next(found)  # the processes have them all: read on while they work
            ahead = gathered()
            yield from found

    return _added_up(digested(pool))


def _added_up(found: Iterable[Mapping[str, _Rows]]) -> dict[str, _Rows]:
    total: defaultdict[str, _Rows] = defaultdict(_Rows)
    for rows in found:
        for key, more in rows.items():
            total[key].put(more)
    return total


def _silver_rows(batch: pa.RecordBatch) -> dict[str, _Rows]:
    digests: Iterable[int] = map(_digest, zip(*(_plain(batch[name]) for name in _CONTENT), strict=True))
    rescued = batch[RESCUED.name]
    if rescued.null_count < len(rescued):
        pairs = zip(digests, _plain(rescued), strict=True)
        digests = (digest if extra is None else _digest((digest, extra)) for digest, extra in pairs)
    return _by_object(batch, digests)


def _quarantine_rows(batch: pa.RecordBatch) -> dict[str, _Rows]:
    return _by_object(batch, map(_digest, zip(*map(_plain, batch.columns), strict=True)))


def _by_object(batch: pa.RecordBatch, digests: Iterable[int]) -> dict[str, _Rows]:
    """Add up the digests of a batch's rows by their source object."""
    found: defaultdict[str, _Rows] = defaultdict(_Rows)
    keys = zip(_plain(batch[SOURCE_OBJECT.name]), digests, strict=True)
    for key, rows in itertools.groupby(keys, itemgetter(0)):
        own = [digest for _, digest in rows]
        found[str(key)].put(_Rows(len(own), sum(own)))
    return found


def _plain(column: pa.Array) -> list[object]:
    """Return a column as integers, texts and None: microseconds and days since 1970, and amounts in cents."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    elif pa.types.is_date(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_decimal(column.type):
        column = pc.multiply(column, 100).cast(pa.int64())
    return list(column.to_pylist())


def _compare_ledger(engine: Engine, hour: Hour, expected: Mapping[str, object]) -> Iterator[_Compared]:
    rows = [row for batch in engine.shown_rows(HOUR_LEDGER, hour) for row in batch.to_pylist()]
    yield f"{HOUR_LEDGER.full_name} rows", 1, len(rows)
    for row in rows[:1]:
        row["quarantined_by_reason"] = dict(row["quarantined_by_reason"])
        # As in the commit record, only the sum of both is certain; null where an older version wrote the ledger.
        row["duplicates"] += row["erased"] or 0
        for name, value in expected.items():
            yield f"{HOUR_LEDGER.full_name} {name}", value, row[name]


def _compare_commit(commit: HourCommit, recounts: Mapping[str, _ObjectRecount | None]) -> Iterator[_Compared]:
    accounts = {each.key: each for each in commit.account.objects}
    yield "objects in the commit record", sorted(recounts), sorted(accounts)
    for key, recount in recounts.items():
        account = accounts.get(key)
        if account is None:
            continue
        place = f"in the commit record of {key}"
        yield f"unreadable {place}", recount is None, account.unreadable is not None
        want = recount or _ObjectRecount()
        yield f"records {place}", want.records, account.records
        yield f"silver rows {place}", want.silver.count, account.silver_rows
        # Duplicates of a record that was erased from a published hour stay counted as such until it is built again.
        what = "duplicates and erased" if want.erased or account.erased else "duplicates"
        yield f"{what} {place}", want.duplicates + want.erased, account.duplicates + account.erased
        yield f"quarantined {place}", dict(sorted(want.reasons.items())), dict(account.quarantined_by_reason)
    expected_days = _day_totals([each for each in recounts.values() if each is not None])
    for day in sorted(expected_days.keys() | commit.account.days.keys()):
        place = f"control totals of {day} in the commit record"
        yield place, expected_days.get(day, DayTotals()), commit.account.days.get(day, DayTotals())


def _compare_digests(commit: HourCommit, digests: Mapping[str, str]) -> Iterator[_Compared]:
    """Compare the bytes of each object with those that were built, which a listing cannot show."""
    for each in commit.account.objects:
        found = digests.get(each.key)
        if each.sha256 is None or found is None:
            continue  # built before digests were kept; or it is not listed, which is reported elsewhere
        if found != each.sha256:
            hour = commit.hour
            found += f": not the bytes that were built; event-pipeline run --from {hour} --to {hour.plus(1)} --force"
            found += " rebuilds the hour from them"
        yield f"SHA-256 of {each.key}", each.sha256, found


def _day_totals(recounts: Sequence[_ObjectRecount]) -> dict[str, DayTotals]:
    days: defaultdict[str, DayTotals] = defaultdict(DayTotals)
    for recount in recounts:
        for day, counted in recount.days.items():
            days[(_EPOCH_DAY + timedelta(days=day)).isoformat()] += DayTotals(
                counted.by_type, counted.items_sold, dollars_of(counted.revenue_cents)
            )
    return days


# -- Gold


def _counted_silver(engine: Engine) -> dict[date, dict[Hour, int]]:
    """Return event day -> landing hour -> rows of published Silver, counted by the query engine."""
    partition = ", ".join(PARTITION_COLUMNS)
    rows = engine.query(
        f"SELECT event_date, {partition}, COUNT(*) AS row_count FROM {SILVER_EVENTS.full_name}"
        f" GROUP BY event_date, {partition}"
    ).to_pylist()
    days: defaultdict[date, dict[Hour, int]] = defaultdict(dict)
    for row in rows:
        path = "/".join(f"{name}={row[name]}" for name in PARTITION_COLUMNS)
        days[row[EVENT_DATE.name]][Hour.of_hive_path(path)] = row["row_count"]
    return {day: dict(sorted(hours.items())) for day, hours in days.items()}


def _published_days(engine: Engine, table: GoldTable) -> dict[date, int]:
    """Return event day -> rows in a Gold table."""
    rows = engine.query(f"SELECT event_date, COUNT(*) AS row_count FROM {table.table.full_name} GROUP BY event_date")
    return {row["event_date"]: row["row_count"] for row in rows.to_pylist()}


def _compare_gold(engine: Engine, table: GoldTable, day: date, landing_hours: Sequence[Hour]) -> tuple[Difference, ...]:
    columns = ", ".join(column.name for column in table.columns)
    name, landed = (
        table.table.full_name,
        " OR ".join(f"({_in_hour(hour)})" for hour in landing_hours) or "FALSE",
    )
    published = f"SELECT {columns} FROM {name} WHERE event_date = DATE '{day}'"
    differing = engine.query(f"""
        WITH silver_events AS (SELECT * FROM {SILVER_EVENTS.full_name} WHERE event_date = DATE '{day}' AND ({landed})),
        partials AS (
        {table.partial}
        ),
        recomputed AS (
        {table.fold}
        ),
        published AS ({published}),
        differing AS (
            SELECT 'expected' AS side, * FROM (SELECT {columns} FROM recomputed EXCEPT ALL SELECT * FROM published)
            UNION ALL
            SELECT 'found' AS side, * FROM (SELECT * FROM published EXCEPT ALL SELECT {columns} FROM recomputed)
        )
        SELECT *, COUNT(*) OVER () AS rows_in_all FROM differing
        ORDER BY {", ".join((*table.grain, "side"))} LIMIT {2 * MOST_DIFFERING_ROWS}
    """).to_pylist()
    place = f"{name} {day}"
    differences = tuple(each for rows in _by_grain(table, differing) for each in _differing_rows(place, table, rows))
    if differing and differing[0]["rows_in_all"] > len(differing):
        rest = differing[0]["rows_in_all"] - len(differing)
        differences += (Difference(place, "further rows", "equal", f"{rest:,} more that differ"),)
    return differences


def _compare_totals(engine: Engine, table: GoldTable, day: date) -> tuple[Difference, ...]:
    """Check a day whose Silver is partly gone against the control totals, which outlive it."""
    return tuple(
        Difference(f"{table.table.full_name} {day}", each.name, _text(each.silver), _text(each.gold))
        for each in engine.reconcile(table, [day])
        if each.gold != each.silver
    )


def _by_grain(table: GoldTable, rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: defaultdict[tuple[object, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in table.grain)].append(row)
    return list(groups.values())


def _differing_rows(place: str, table: GoldTable, rows: Sequence[dict[str, Any]]) -> list[Difference]:
    """Return the differences between the recomputed and the published rows of one grain value."""
    grain = ", ".join(f"{name}={rows[0][name]}" for name in table.grain) or "the day"
    if [row["side"] for row in rows] == ["expected", "found"]:
        expected, found = rows
        return [
            Difference(place, f"{grain}: {column.name}", str(expected[column.name]), str(found[column.name]))
            for column in table.columns
            if expected[column.name] != found[column.name]
        ]

    def values(row: Mapping[str, Any]) -> str:
        return ", ".join(f"{c.name}={row[c.name]}" for c in table.columns if c.name not in table.grain)

    return [
        Difference(place, f"row of {grain}", values(row), "no such row")
        if row["side"] == "expected"
        else Difference(place, f"row of {grain}", "no such row", values(row))
        for row in rows
    ]


# -- SQL and comparison


def _in_hour(hour: Hour) -> str:
    pairs = zip(PARTITION_COLUMNS, hour.partition_values, strict=True)
    return " AND ".join(f"{name} = '{value}'" for name, value in pairs)


def _differences(place: str, compared: Iterable[_Compared]) -> tuple[Difference, ...]:
    return tuple(
        Difference(place, what, _text(expected), _text(found))
        for what, expected, found in compared
        if expected != found
    )


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
