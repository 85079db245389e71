"""Fuzz: whatever reaches the pipeline from outside, damaged at random, gets one verdict or one clear error.

Every input is a text of bytes. A kind of input (`KINDS`) has examples, a way to damage them, and a judge that reads one
as the pipeline does and returns what is wrong with the result. Inputs that once broke something are in `corpus/` and
come first, as they are and damaged again.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, cast
from unittest import mock

from event_pipeline.alerts.conditions import AlertFinding, AlertKind, Severity
from event_pipeline.alerts.state import AlertState, Seen, advance
from event_pipeline.automation.sensor_cursor import MOST_CURSOR_BYTES, Cursor, Request
from event_pipeline.engines import layout
from event_pipeline.engines.aws import glue_job
from event_pipeline.engines.aws.costs import CostStore
from event_pipeline.engines.aws.glue_job import GlueJob, JobRun
from event_pipeline.engines.aws.notices import keys_of
from event_pipeline.engines.commit import Commit, DataFile, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.digests import RawDigests
from event_pipeline.engines.erasures import ErasureList
from event_pipeline.engines.host.first_partition import FIRST_PARTITION, find_first_partition
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.local import catalog as local_catalog
from event_pipeline.engines.local.raw import RawFiles
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.errors import PipelineError
from event_pipeline.operations.importing import landing_time, plan_import
from event_pipeline.rules import raw_object
from event_pipeline.rules.accounting import DayTotals, HourAccount, ObjectAccount
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.framing import wrongly_framed
from event_pipeline.rules.hour import Hour, HourRange, misplaced
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import load_questions
from event_pipeline.rules.raw_object import LineReader, LongLine, UnreadableObjectError
from event_pipeline.rules.validation import Rejection, validate_record
from event_pipeline.settings import PREFIX, Settings, SettingsError, load_settings
from event_pipeline_tests import oracle
from event_pipeline_tests.engines.memory_store import MemoryStore
from event_pipeline_tests.hostile import LANDING_HOUR
from event_pipeline_tests.hostile_sql import statements
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object
from event_pipeline_tests.reliability import lines
from event_pipeline_tests.reliability.mutations import bent, bent_json
from event_pipeline_tests.reliability.trial import Promise, Say, Trial

CORPUS = Path(__file__).with_name("corpus")
"""One file for each kind of input that once broke something: a JSON string a line, each character a byte."""

SEED = 20251207
MOST_SECONDS = 20
"""For one input, on a busy machine: more is a hang."""
MOST_MB = 300
"""What the process may grow by over one kind of input."""
_NOW = datetime(2025, 12, 8, 12, tzinfo=UTC)
_AT = datetime(2025, 12, 7, 23, 10, tzinfo=UTC)

Judge = Callable[[bytes], str | None]
"""Reads one input as the pipeline does; returns what is wrong, None if it is as promised. Errors that are not the
pipeline's own pass through, and count as wrong."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of input."""

    tried: str
    """What is damaged, as the report says it."""
    times: int
    """How many inputs a run of scale 1 judges."""
    examples: Callable[[], Sequence[bytes]]
    damaged: Callable[[random.Random, bytes], bytes]
    judging: Callable[[Path], Judge]
    """Prepares a judge that may write into a folder."""


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Judge damaged inputs of every kind, `scale` times as many as CI does."""
    for name in KINDS:
        trial = fuzzed(name, scale, seed)
        say(f"fuzz {name}: {trial.times:,} inputs, {len(trial.violations)} violations, {trial.seconds:.1f} s")
        yield trial


def fuzzed(name: str, scale: int = 1, seed: int = SEED) -> Trial:
    """Judge inputs of one kind: those of the corpus, then damaged ones."""
    kind, started = KINDS[name], time.monotonic()
    chance = random.Random(f"{name}/{seed}")
    kept = corpus(name)
    examples = [*kind.examples(), *kept]
    violations = list[str]()
    times = len(kept) + kind.times * scale
    with tempfile.TemporaryDirectory() as folder:
        judge, before = kind.judging(Path(folder)), _peak_mb()
        for number in range(times):
            if number < len(kept):
                given = kept[number]
            else:
                given = kind.damaged(chance, chance.choice(examples))
            if wrong := judged(judge, given):
                violations.append(f"{name}, seed {seed}, input {number} {as_line(given)}: {wrong}")
        grown = _peak_mb() - before
    if grown > MOST_MB:
        violations.append(f"{name}, seed {seed}: the process grew by {grown:,.0f} MB, more than {MOST_MB} MB")
    return Trial(Promise.TOTAL, kind.tried, times, seed, tuple(violations), time.monotonic() - started)


def judged(judge: Judge, given: bytes) -> str | None:
    """Judge one input within the time limit; return what is wrong."""
    try:
        with _time_limit():
            return judge(given)
    except Exception as error:  # noqa: BLE001 - any error that a judge does not expect is what is looked for
        return f"{type(error).__name__}: {str(error)[:300]}"


def corpus(name: str) -> list[bytes]:
    """Return the inputs of a kind that once broke something."""
    path = CORPUS / f"{name}.txt"
    kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line).encode("latin-1") for line in kept]


def as_line(given: bytes) -> str:
    """Return an input as a line of the corpus."""
    return json.dumps(given.decode("latin-1"))


class _HungError(Exception):
    """An input took longer than it may."""


@contextmanager
def _time_limit() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise _HungError(f"it was not done after {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# -- lines


def _lines_examples() -> list[bytes]:
    return [b"tame", b"wild", b"torn"]


_MUTATOR = lines.Mutator(SEED)
_REASONS = set[str]()


def verdicts() -> set[str]:
    """Return the reasons of the oracle against the lines judged so far."""
    return _REASONS


def _line_damaged(chance: random.Random, example: bytes) -> bytes:
    """Return the content of an object: lines near the edges of the rules, in any form, some with broken bytes."""
    _MUTATOR.chance = chance
    count = chance.choice((1, 1, 30, 100))
    match example:
        case b"tame":
            share = chance.choice((1.0, 0.05, 0.001))
            content = b"\n".join(_MUTATOR.tame_line(share) for _ in range(count))
        case b"wild":
            content = b"\n".join(_MUTATOR.wild_line() for _ in range(count))
        case b"torn":
            content = _MUTATOR.torn_lines()
        case kept:
            content = kept
    return bent(chance, content) if chance.random() < 0.2 else content


def _judging_lines(folder: Path) -> Judge:
    def judge(content: bytes) -> str | None:
        chunk_bytes = (1, 4_096, 65_536, 1_048_576)[len(content) % 4]
        result = lines.validated(lines.gz(content), chunk_bytes)
        found = lines.differences(content, result)
        if result.account.unaccounted:
            found.append(f"{result.account.unaccounted} records without one verdict")
        for number, record, too_long in oracle.lines_of(content, oracle.DEFAULT_LIMITS):
            outcome = validate_record(record, lines.HOUR, lines.LIMITS).outcome
            wanted = "too_long" if too_long else oracle.judge(record, LANDING_HOUR).reason
            reason = outcome.reason if isinstance(outcome, Rejection) else None
            _REASONS.add(wanted or "")
            if not too_long and reason != (wanted or None):
                found.append(f"line {number}: the reference says {reason}, the oracle {wanted}")
        return "; ".join(found) or None

    return judge


# -- gzip streams

_EVENT = json.dumps(event()).encode()


def _gzip_examples() -> list[bytes]:
    content = b"\n".join([_EVENT] * 20)
    return [
        gzip.compress(content, mtime=0),
        gzip.compress(content[:700], mtime=0) + gzip.compress(content[700:], mtime=0),
        gzip.compress(content, mtime=0) + bytes(512),
        gzip.compress(_EVENT + b"\n", mtime=0) + bytes(9) + gzip.compress(_EVENT, mtime=0),
        gzip.compress(b"", mtime=0),
        gzip.compress(b"\n" * 100_000, mtime=0),
        _EVENT,
    ]


def _gzip_damaged(chance: random.Random, stored: bytes) -> bytes:
    match chance.randrange(8):
        case 0:
            return stored[: chance.randrange(len(stored) + 1)]
        case 1:
            return stored + bytes(chance.choice((1, 3, 8, 511, 300_000)))
        case 2:
            return stored + chance.choice((b"\x1f", b"\x1f\x8b", b"\n", b"trailing", bytes(5) + b"x"))
        case 3:
            return stored + bytes(chance.choice((0, 0, 1, 7))) + chance.choice(_gzip_examples())
        case 4:
            return stored[:-8] + bytes(4) + stored[-4:]
        case _:
            return bent(chance, stored)


_LITTLE = Limits(max_object_bytes=8 << 20)


def _judging_gzip(folder: Path) -> Judge:
    """Hold both inflaters, whatever the size of a chunk, to the oracle, and queries of `bronze.events` to them."""
    root = folder / "data"
    engine = LocalEngine(load_settings(root=root, workers=1, max_object_bytes=_LITTLE.max_object_bytes))
    path = root / "raw" / write_object(root, HOUR, 0, [event()])
    asked = 0

    def judge(stored: bytes) -> str | None:
        nonlocal asked
        try:
            content: bytes | None = oracle.inflate(stored)
            reason = None
        except oracle.UnreadableError as error:
            content, reason = None, str(error)
        if content is not None and len(content) > _LITTLE.max_object_bytes:
            content, reason = None, "too_large"
        for inflater in dict.fromkeys((raw_object.inflater, zlib)):
            for chunk_bytes in (64, 1 << 20) if len(stored) < 5_000 else (1 << 20,):
                with mock.patch.object(raw_object, "inflater", inflater):
                    found, fault = _read(stored, chunk_bytes)
                # Damaged data may run out before its end as well: inflaters differ in what they notice first.
                either = {"truncated_gzip", "corrupt_gzip"} if reason == "corrupt_gzip" else {reason}
                if fault not in either or (content is not None and found != content.removeprefix(b"\xef\xbb\xbf")):
                    return f"{inflater.__name__}, chunks of {chunk_bytes}: {fault}, the oracle says {reason}"
        asked += 1
        if asked % 8 and asked > len(corpus("gzip")):
            return None
        path.write_bytes(stored)
        records = sum(1 for _ in oracle.records_of(content)) if content else 0
        return _bronze_differs(engine, records, reason)

    return judge


def _read(stored: bytes, chunk_bytes: int) -> tuple[bytes, str | None]:
    found = io.BytesIO()
    try:
        for part in LineReader(io.BytesIO(stored), chunk_bytes, _LITTLE).read():
            assert not isinstance(part, LongLine)
            found.write(part)
    except UnreadableObjectError as error:
        return b"", error.reason
    return found.getvalue(), None


def _bronze_differs(engine: LocalEngine, records: int, reason: str | None) -> str | None:
    try:
        ((shown,),) = (row.values() for row in engine.query("SELECT count(*) FROM bronze.events").to_pylist())
    except PipelineError as error:
        reasons = ("(truncated_gzip)", "(corrupt_gzip)") if reason == "corrupt_gzip" else (f"({reason})",)
        return None if any(each in str(error) for each in reasons) else f"bronze.events: {error}, judged {reason}"
    if reason not in (None, "zero_bytes"):
        return f"bronze.events shows {shown} rows of an object that is {reason}"
    return f"bronze.events shows {shown} rows, there are {records}" if shown != records else None


# -- commit records

_DATA = f"runs/hours/{HOUR.hive_path}/run-1/events/part-0.parquet"
_PARTIAL = f"runs/partials/top_products/{HOUR.hive_path}/run-2/part-0.parquet"
_DAY = "runs/days/top_products/event_date=2025-12-07/run-3/part-0.parquet"
COMMITS: tuple[Commit, ...] = (
    HourCommit(
        HOUR,
        "run-1",
        _AT,
        "1:2s:3s",
        HourAccount(
            (
                ObjectAccount(HOUR.raw_key(_AT), "e1", 10, 5, 3, 1, {"not_json": 1}, framing="csv", sha256="ab"),
                ObjectAccount("b", "e2", 0, unreadable="zero_bytes"),
            ),
            {"2025-12-07": DayTotals({"page_view": 1, "purchase": 2}, 4, Decimal("10.10"))},
            {"extra": 2},
            {"extra": '"one"'},
        ),
        (DataFile("silver.events", _DATA, 3, 100, "ab"),),
    ),
    PartialCommit(
        "top_products",
        HOUR,
        "run-2",
        _AT,
        "run-1",
        "v",
        {"2025-12-07": 3},
        (DataFile("partials.top_products", _PARTIAL, 3, 100, "ab"),),
    ),
    DayCommit(
        "top_products",
        date(2025, 12, 7),
        "run-3",
        _AT,
        "v",
        {HOUR.hive_path: "run-2"},
        (DataFile("gold.top_products", _DAY, 3, 100, "ab"),),
    ),
)


def _commit_examples() -> list[bytes]:
    return [each.to_json().encode() for each in COMMITS]


def _judging_commits(folder: Path) -> Judge:
    """Read a record as that of an hour, a partial and a day; what is accepted must be usable everywhere."""
    session = sqlite3.connect(":memory:")
    for table, columns in local_catalog._TABLES.items():
        session.execute(f"CREATE TABLE {table} ({columns}) WITHOUT ROWID")

    def judge(given: bytes) -> str | None:
        lake, accepted = MemoryStore(), 0
        commits = CommitStore(lake)
        for number, own in enumerate(COMMITS):
            lake.write(layout.commit_key(own), given)
            try:
                published = (
                    lambda: commits.hour(HOUR),
                    lambda: commits.partial("top_products", HOUR),
                    lambda: commits.day("top_products", date(2025, 12, 7)),
                )[number]().commit
            except PipelineError:
                continue
            assert published is not None
            accepted += 1
            if layout.commit_key(published) != layout.commit_key(own):
                return f"the record of {layout.commit_key(published)} is taken for that of {layout.commit_key(own)}"
            _use_commit(session, published)
        return "it is two kinds of record" if accepted > 1 else None

    return judge


def _use_commit(session: sqlite3.Connection, commit: Commit) -> None:
    """Use all of a commit as the pipeline does."""
    assert type(commit).from_json(commit.to_json()) == commit
    assert commit.committed_at < _NOW or commit.committed_at >= _NOW
    for entry in local_catalog.entries_of(commit):
        assert (entry.build_id, entry.days is None) == (commit.build_id, False)
        local_catalog._insert(session, entry.rows)
    session.rollback()
    if isinstance(commit, HourCommit):
        account = commit.account
        wrongly_framed(account)
        f"{account.content}{account.quarantined_by_reason}{account.unknown_examples}".encode()
        assert account.records + account.raw_bytes + account.duplicates + account.erased >= 0
        assert sum(account.days.values(), DayTotals()).events >= 0
        assert commit.retired_at is None or commit.retired_at != _NOW


# -- documents that are read back


def _judging_documents(read: Callable[[MemoryStore, bytes], object]) -> Callable[[Path], Judge]:
    """Return what judges documents that a function reads from a store: read, or refused by an error of the pipeline."""

    def judging(folder: Path) -> Judge:
        def judge(given: bytes) -> str | None:
            try:
                read(MemoryStore(), given)
            except PipelineError as error:
                return None if len(str(error)) < 2_000 else f"an error of {len(str(error)):,} characters"
            return None

        return judge

    return judging


def _read_erasures(lake: MemoryStore, given: bytes) -> None:
    lake.write(layout.ERASED, given)
    erasures = ErasureList(lake).read()
    assert not erasures.has("nobody")
    assert erasures.version is not None


def _read_receipt(lake: MemoryStore, given: bytes) -> None:
    person = Erasures(bytes(32)).only("u_1")
    (digest,) = person.digests
    lake.write(layout.erasure_receipt(digest.hex()), given)
    erased = ErasureList(lake)
    receipt = erased.receipt(person)
    assert receipt.digest == digest.hex()
    sum(held.records for held in receipt.hours.values())
    sum(held.records for held in receipt.raw.values())
    erased.write(receipt)


def _read_digests(lake: MemoryStore, given: bytes) -> None:
    lake.write(layout.digests(HOUR), given)
    raw: Any = SimpleNamespace(digest=lambda listed: "ab")
    found = RawDigests(raw, lake).raw_digests(HOUR, [lines_object()])
    assert set(found) == {lines_object().key}


def lines_object() -> Any:
    """Return a raw object as listed."""
    from event_pipeline.rules.accounting import RawObject

    return RawObject(HOUR.raw_key(_AT), "e1", 10, _AT)


def _read_plan(lake: MemoryStore, given: bytes) -> None:
    lake.write("plans/p.json", given)
    with mock.patch.object(glue_job, "Bucket", return_value=lake):
        job = GlueJob.__new__(GlueJob)
        job._aws = None  # type: ignore[assignment]
        planned = job.planned(JobRun("r", "SUCCEEDED", "s3://artifacts/plans/p.json", Decimal(0), "", ""))
    for hour, (build_id, digest) in planned.items():
        assert layout.hour_build(hour, build_id).encode()
        assert digest


def _read_costs(lake: MemoryStore, given: bytes) -> None:
    lake.write(f"{layout.cost_prefix(HOUR)}silver-run-1.json", given)
    for each in CostStore(cast(Any, lake)).read(_HOURS):
        assert each.cost + each.cost


def _read_cursor(lake: MemoryStore, given: bytes) -> None:
    cursor = Cursor.from_json(given.decode("utf-8", "replace"))
    for request in cursor.requests.values():
        assert (_NOW - request.requested_at).total_seconds() is not None
    assert len(cursor.to_json().encode()) <= MOST_CURSOR_BYTES


def _read_alerts(lake: MemoryStore, given: bytes) -> None:
    state = AlertState.from_json(given)
    advance(state, Seen(_NOW, []), load_settings(), [])


def _judging_notices(folder: Path) -> Judge:
    def judge(given: bytes) -> str | None:
        try:
            keys = keys_of(given.decode("utf-8", "replace"))
        except ValueError:
            return None
        for key in keys:
            Hour.of_raw_key(key)
        return None if all(isinstance(key, str) for key in keys) else f"keys {keys!r:.200}"

    return judge


def _judging_folders(folder: Path) -> Judge:
    """Read a text as the two small documents of a data folder."""
    data = Layout(folder / "data")
    (folder / "data" / "lake").mkdir(parents=True)

    def first_partition() -> object:
        return find_first_partition(data, data.raw, HOUR, _NOW)

    readers: dict[str, Callable[[], object]] = {
        "layout.json": data.check_version,
        f"lake/{FIRST_PARTITION}": first_partition,
    }

    def judge(given: bytes) -> str | None:
        for name, read in readers.items():
            path = folder / "data" / name
            path.write_bytes(given)
            try:
                read()
            except PipelineError as error:
                if str(path) not in str(error) or len(str(error)) > 1_000:
                    return f"{name}: {error!s:.300}"
            finally:
                path.unlink()
        return None

    return judge


# -- settings


def _settings_examples() -> list[bytes]:
    found = []
    for name in Settings.model_fields:
        value = Settings.model_fields[name].get_default(call_default_factory=True)
        found += [f"{name.upper()}={getattr(value, 'value', value)}".encode(), f"{name.upper()}=7".encode()]
    return [*found, b"ENV=aws", b"UI_HOSTS=a:1,b", b"RAW_PREFIX=a/b/", b"ALERT_SLACK_URL=https://u:p@h/x"]


def _settings_damaged(chance: random.Random, example: bytes) -> bytes:
    name, _, value = example.partition(b"=")
    odd = (b"", b"-1", b"1e9", b"9" * 30, b"9" * 5_000, b"nan", b"inf", b"0x7", b"1_0", b"true", b" 7 ", b"\xff", b"{}")
    return name + b"=" + (chance.choice(odd) if chance.random() < 0.5 else bent(chance, value))


def _judging_settings(folder: Path) -> Judge:
    def judge(given: bytes) -> str | None:
        name, _, value = given.replace(b"\0", b"").partition(b"=")
        shown = f"{PREFIX}{os.fsdecode(name)}"
        with mock.patch.dict(os.environ, {shown: os.fsdecode(value)}):
            try:
                settings = load_settings()
            except SettingsError as error:
                return None if shown in str(error) or "ENV=aws" in str(error) else f"{error!s:.300}"
        assert settings.event_time_limits.rules_version
        assert settings.raw_folder.is_absolute()
        return None

    return judge


# -- SQL


def _sql_examples() -> list[bytes]:
    return [each.sql.encode() for each in load_questions()] + [each.encode() for each in statements()]


_PARTS = (
    b"SELECT", b"FROM", b"(", b")", b"'", b'"', b";", b"--", b"/*", b"*/", b"$$", b",", b"NULL", b"::", b"COPY", 
    b"silver.events", b"bronze.events", b"UNION ALL", b"WITH x AS (", b"\xf0\x9f\x98\x80", b"\0", b"\xff", b"9" * 400,
    b"EXPLAIN ", b"[", b"{",
    b"PIVOT", b"x'", b"E'\\", b"?", b"$1", b"LATERAL", b"RECURSIVE", b"((((((((", b"QUALIFY", b"ORDER BY ALL",
)  # fmt: skip


def _sql_damaged(chance: random.Random, example: bytes) -> bytes:
    words = example.split(b" ")
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(words) + 1)
        match chance.randrange(5):
            case 0:
                words[at : at + 1] = []
            case 1:
                words.insert(at, chance.choice(_PARTS))
            case 2:
                words[at : at + 1] = [chance.choice(_PARTS)]
            case 3:
                other = chance.choice(_sql_examples()).split(b" ")
                words = words[:at] + other[chance.randrange(len(other)) :]
            case _:
                words = bent(chance, b" ".join(words)).split(b" ")
    return b" ".join(words)


def _judging_sql(folder: Path) -> Judge:
    """Ask a lake with one event; files stay as they are, and errors are the pipeline's own words."""
    root = folder / "data"
    settings = load_settings(root=root, workers=1, query_timeout_seconds=5)
    engine = LocalEngine(settings)
    write_object(root, HOUR, 0, [event(), purchase(second=1), {"bad": 1}])
    build(engine, [HOUR])
    names = {"root": str(root), "file": str(root / "f"), "commit": str(root / "c"), "outside": str(folder / "o")}
    before = _files(folder)

    def judge(given: bytes) -> str | None:
        sql = given.decode("utf-8", "surrogateescape").replace("\v", "\n")
        for name, place in names.items():
            sql = sql.replace(f"{{{name}}}", place)
        try:
            with engine.query_stream(sql) as result:
                next(iter(result.batches), None)
        except PipelineError as error:
            text = str(error)
            if "Traceback" in text or "INTERNAL Error" in text or not text.strip():
                return text[:300]
        return "it changed files" if _files(folder) != before else None

    return judge


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and "scratch" not in path.parts and not path.name.startswith("catalog.sqlite"):
            found[str(path)] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


# -- names


def _name_examples() -> list[bytes]:
    return [
        HOUR.raw_key(_AT).encode(),
        HOUR.raw_key(_AT).rpartition("/")[2].encode(),
        b"clicks_2025-11-19T17-44.json.gz",
        b"2025111917.gz",
        b"shop-2025-11-19-17-44-54-3f1c.gz",
        "events-٢٠٢٥١١١٩-174454.gz".encode(),
    ]


def _judging_names(folder: Path) -> Judge:
    """Take a text for a raw key, for the name of a file beside others of an hour, and for one to import."""
    first = HOUR.plus(-100)

    def judge(given: bytes) -> str | None:
        name = os.fsdecode(given.replace(b"\0", b""))
        hour, reason = Hour.of_raw_key(name), misplaced(name, first, _NOW)
        if (hour is None) and reason is None:
            return "it belongs to no hour and is not reported"
        if isinstance(landed := landing_time(name), datetime):
            Hour.containing(landed)
        base = name.rpartition("/")[2][:80]
        if base in ("", ".", ".."):
            return None
        root, flat = folder / "data", folder / "flat"
        beside = root / "raw" / HOUR.raw_prefix / "minute=00"
        for place in (beside, flat):
            place.mkdir(parents=True)
            (place / base).write_bytes(gzip.compress(_EVENT))
        try:
            listed = list(RawFiles(root / "raw").walk("events/"))
            hidden = base.startswith(".")
            if len(listed) != (0 if hidden else 1):
                return f"{len(listed)} of the one file in the folder are listed or reported"
            planned = plan_import([flat], root / "raw", first, _NOW)
            return None if len(planned) == (0 if hidden else 1) else f"{len(planned)} plans for one file"
        finally:
            shutil.rmtree(root)
            shutil.rmtree(flat)

    return judge


# -- the catalog

_CATALOG_TABLES = {
    "partition": ("table_name", "partition", "build_id", "committed_at", "made_from", "version"),
    "data_file": ("table_name", "partition", "path", "row_count", "size_bytes"),
    "silver_day": ("hour", "event_date", "totals"),
    "partial_day": ("table_name", "hour", "event_date"),
    "day_input": ("table_name", "event_date", "hour", "build_id"),
}
_ODD = (
    "''", "x'00ff'", "x'c328'", "CAST(x'ff' AS TEXT)", "7",
    "-1", "1e400", "'..'", "'event_date=x'", "'[]'", "'{}'",
    "'{\"events\": \"NaN\"}'", "'2025-13-45'", "CAST(zeroblob(100000) AS TEXT)", "char(0)", "'year=2025'",
)  # fmt: skip


def _catalog_examples() -> list[bytes]:
    named = [f"UPDATE {table} SET {name} = " for table, names in _CATALOG_TABLES.items() for name in names]
    return [each.encode() for each in named] + [b"bytes", b"bytes", b"bytes", b"bytes"]


def _catalog_damaged(chance: random.Random, example: bytes) -> bytes:
    """Return a statement that damages rows, or places in the file and what their bytes become."""
    if example.startswith(b"bytes"):
        return b"bytes %d %d %d" % (chance.randrange(1 << 20), chance.choice((1, 1, 4, 16, 500)), chance.randrange(256))
    if example.endswith(b"= "):
        return example + chance.choice(_ODD).encode() + chance.choice((b"", b" WHERE rowid_is_one"))
    return example


def _judging_catalogs(folder: Path) -> Judge:
    """Damage the catalog of a built lake, use it, repair it, and ask again: every answer is as before."""
    root = folder / "data"
    settings = load_settings(root=root, workers=1)
    engine = LocalEngine(settings)
    write_object(root, HOUR, 0, [event(), purchase(second=1), event(second=2, timestamp="2025-12-06T23:59:59Z")])
    build(engine, [HOUR], _FEW_TABLES)
    engine.repair()
    queries = ("FROM silver.events", "FROM ops.hour_ledger", "FROM gold.user_activity")
    wanted = [engine.query(each).to_pylist() for each in queries]
    with closing(sqlite3.connect(root / "catalog.sqlite")) as session:
        session.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound = (root / "catalog.sqlite").read_bytes()
    pipeline = Pipeline(engine, _FEW_TABLES, settings)

    def judge(given: bytes) -> str | None:
        for path in root.glob("catalog.sqlite*"):
            path.unlink()
        _damage(root / "catalog.sqlite", sound, given)
        for use in (
            lambda: pipeline.states(_NOW, thorough=True),
            engine.disagreements,
            engine.registered_builds,
            lambda: [engine.query(each) for each in queries],
        ):
            try:
                use()
            except PipelineError as error:
                if len(str(error)) > 3_000:
                    return f"an error of {len(str(error)):,} characters"
        engine.repair()
        for query, rows in zip(queries, wanted, strict=True):
            if (found := engine.query(query).to_pylist()) != rows:
                return f"after a repair {query} gives {found!r:.300}"
        return f"after a repair: {engine.disagreements()!r:.300}" if engine.disagreements() else None

    return judge


def _damage(path: Path, sound: bytes, given: bytes) -> None:
    path.write_bytes(sound)
    if given.startswith(b"bytes "):
        place, length, byte = map(int, given.split()[1:])
        damaged = bytearray(sound)
        place %= len(sound)
        damaged[place : place + length] = bytes((byte,)) * min(length, len(sound) - place)
        path.write_bytes(bytes(damaged))
        return
    with closing(sqlite3.connect(path)) as session:
        statement = given.decode().replace(" WHERE rowid_is_one", "")
        if "rowid_is_one" in given.decode():
            table = statement.split()[1]
            (key, value) = next(
                zip(_CATALOG_TABLES[table], session.execute(f"SELECT * FROM {table}").fetchone(), strict=True)
            )
            statement = f"{statement} WHERE {key} = '{value}'"
        try:
            session.execute(statement.replace("UPDATE", "UPDATE OR REPLACE", 1))
            session.commit()
        except sqlite3.Error:
            pass  # a value that SQLite itself refuses


# -- what there is

_HOURS = HourRange.of([HOUR])
_FEW_TABLES = tuple(table for table in load_gold_tables() if table.name == "user_activity")


def _document(text: object) -> Callable[[], Sequence[bytes]]:
    return lambda: [text if isinstance(text, bytes) else json.dumps(text).encode()]


_PLAN = {
    "format": 5,
    "token": "t",
    "limits": {"max_age_seconds": 1, "max_lead_seconds": 1, "max_line_bytes": 1, "max_object_bytes": 1},
    "raw_bucket": "raw",
    "erasures": {"key": "", "digests": []},
    "hours": [
        {
            "hour": str(HOUR),
            "build_id": "run-1",
            "target": "s3://lake/runs/",
            "decoded": None,
            "open_at": None,
            "objects": [{"key": HOUR.raw_key(_AT), "etag": "e1", "size": 10}],
        }
    ],
}
_NOTICE = {"Records": [{"s3": {"object": {"key": HOUR.raw_key(_AT).replace("=", "%3D")}}}]}
_RECEIPT = {
    "format": 1,
    "digest": next(iter(Erasures(bytes(32)).only("u_1").digests)).hex(),
    "started_at": _AT.isoformat(),
    "finished_at": _AT.isoformat(),
    "hours": {str(HOUR): {"silver_rows": 1, "quarantined": 1}},
    "retired": {str(HOUR): 1},
    "old_files": 1,
    "raw": {HOUR.raw_key(_AT): {"hour": str(HOUR), "records": 1, "rewritten": True}},
    "unreadable": ["a"],
}
_COSTS = {"step": "silver", "build_id": "r", "usd": "0.1", "dpu_seconds": "1", "bytes_scanned": 1, "queries": 1}


def _cursor_examples() -> list[bytes]:
    cursor = Cursor(
        _AT.date(), {HOUR: Request("w", 1, _AT)}, {_AT.date(): "digest"}, frozenset((_AT.date(),)), ("receipt",)
    )
    return [cursor.to_json().encode()]


def _notice_examples() -> list[bytes]:
    event_bridge = {"detail": {"object": {"key": HOUR.raw_key(_AT)}}}
    topic = {"Type": "Notification", "Message": json.dumps(_NOTICE)}
    return [json.dumps(each).encode() for each in (_NOTICE, event_bridge, topic, {"Event": "s3:TestEvent"})]


def _alert_examples() -> list[bytes]:
    finding = AlertFinding(AlertKind.QUARANTINE_SHARE, Severity.WARNING, "title", {str(HOUR): "much"}, "advice", "s")
    state = advance(AlertState(), Seen(_AT, [finding]), load_settings(), ["slack"])
    return [state.to_json(), AlertState(looked_at=_AT, reported={"r": _AT}).to_json()]


KINDS = {
    "lines": Kind(
        "lines near the edges of the rules or with damaged bytes: fast path, reference and oracle",
        60,
        _lines_examples,
        _line_damaged,
        _judging_lines,
    ),
    "gzip": Kind(
        "gzip streams cut, joined, padded, damaged or too large: both inflaters, the oracle, `bronze.events`",
        160,
        _gzip_examples,
        _gzip_damaged,
        _judging_gzip,
    ),
    "commits": Kind("damaged commit records", 700, _commit_examples, bent_json, _judging_commits),
    "catalog": Kind(
        "a local catalog with damaged rows or bytes, then repaired",
        8,
        _catalog_examples,
        _catalog_damaged,
        _judging_catalogs,
    ),
    "plans": Kind("damaged plans of the Glue job", 300, _document(_PLAN), bent_json, _judging_documents(_read_plan)),
    "cursors": Kind(
        "damaged cursors of the sensor", 500, _cursor_examples, bent_json, _judging_documents(_read_cursor)
    ),
    "notices": Kind("damaged messages of the queue", 500, _notice_examples, bent_json, _judging_notices),
    "erasures": Kind(
        "damaged lists of erased people",
        300,
        _document({"format": 1, "key": "ab" * 32, "digests": ["cd" * 32]}),
        bent_json,
        _judging_documents(_read_erasures),
    ),
    "receipts": Kind(
        "damaged receipts of erasures", 300, _document(_RECEIPT), bent_json, _judging_documents(_read_receipt)
    ),
    "digests": Kind(
        "damaged digests of raw objects",
        200,
        _document([[HOUR.raw_key(_AT), "e1", 10, "ab"]]),
        bent_json,
        _judging_documents(_read_digests),
    ),
    "costs": Kind(
        "damaged cost records",
        200,
        _document(_COSTS | {"requests": {"put": 1}}),
        bent_json,
        _judging_documents(_read_costs),
    ),
    "alerts": Kind("damaged states of alerts", 200, _alert_examples, bent_json, _judging_documents(_read_alerts)),
    "folders": Kind(
        "damaged layout.json and first_partition.json",
        200,
        _document({"layout": 2, "first_partition": str(HOUR)}),
        bent_json,
        _judging_folders,
    ),
    "settings": Kind("settings with odd values", 100, _settings_examples, _settings_damaged, _judging_settings),
    "sql": Kind("damaged and hostile SQL", 40, _sql_examples, _sql_damaged, _judging_sql),
    "names": Kind("damaged names of raw objects and of files to import", 150, _name_examples, bent, _judging_names),
}
