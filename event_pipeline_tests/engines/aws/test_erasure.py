"""Erasing a person: nothing that is stored holds them, nobody else loses a record, and they stay erased."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from event_pipeline.engines.base import LeftoverKind
from event_pipeline.engines.builder import Built
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.erasures import ErasureList, Held
from event_pipeline.engines.host.pool_builder import PoolBuilder
from event_pipeline.errors import TransientError
from event_pipeline.inspection.verification import verify
from event_pipeline.operations.erasing import Erased, erase_person, find_person
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import Hour
from event_pipeline_tests.engines.aws.conftest import AWS_WITH_TWO_TABLES, MEMORY
from event_pipeline_tests.engines.aws.pipeline import World, change_settings
from event_pipeline_tests.engines.memory_store import MemoryStore
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, silent, write_object

PERSON = "jo+shop@example.org"
NEXT = HOUR.plus(1)
LAST = HOUR.plus(2)
HOLD = {HOUR: Held(1, 1), NEXT: Held(0, 1)}
in_memory = pytest.mark.parametrize("world", [MEMORY], indirect=True)
"""For what is the same in every place."""


def theirs(hour: Hour, second: int, **fields: Any) -> dict[str, Any]:
    return purchase(hour, second, user_id=PERSON, session_id="s_jo", card=f"of {PERSON}", **fields)


def landed(world: World) -> None:
    """Three hours: two with the person, in Silver, twice, refused, and in text that is no JSON; the last without."""
    broken = json.dumps(theirs(HOUR, 9)).encode()
    write_object(world.root, HOUR, 0, [theirs(HOUR, 1), event(second=2), purchase(second=3), theirs(HOUR, 1)])
    write_object(world.root, HOUR, 5, [theirs(HOUR, 1), purchase(second=4, price="?"), theirs(HOUR, 5, quantity=-1)])
    write_object(world.root, NEXT, 0, [event(NEXT, 1), broken[:-1], broken[:-1].replace(b"jo+", b"bo+")])
    # Another person's record that mentions them, an id that only begins like theirs, and a number on another's line.
    others = [event(LAST, 1, user_id=f"{PERSON}x"), event(LAST, 2, user_id=12345), event(LAST, 3, user_id="u_2")]
    write_object(world.root, LAST, 0, others)


def built(world: World) -> PortEngine[Any]:
    landed(world)
    world.build([HOUR, NEXT, LAST])
    assert isinstance(world.engine, PortEngine)
    return world.engine


def erase(world: World, user_id: str = PERSON, **options: bool) -> Erased:
    return erase_person(world.engine, world.tables, Limits(), user_id, datetime.now(UTC), lambda *_: None, **options)


def stored(engine: PortEngine[Any]) -> Iterator[tuple[str, bytes]]:
    """Everything in the lake, with the values of Parquet files as text."""
    for each in engine._lake.list(""):
        content = (engine._lake.read(each.key) or (b"", ""))[0]
        if each.key.endswith(".parquet") or content[:4] == b"PAR1":
            with engine._lake.open(each.key, each.size) as file:
                content = repr(pq.read_table(file).to_pylist()).encode()
        yield each.key, content


def holding(engine: PortEngine[Any], user_id: str = PERSON) -> list[str]:
    return [key for key, content in stored(engine) if user_id.encode() in content.replace(user_id.encode() + b"x", b"")]


def assert_proven(world: World, hours: int = 3) -> None:
    found = verify(world.engine, world.tables, Limits(), None, datetime.now(UTC), lambda *_: None)
    assert found.differences == []
    assert len(found.hours) == hours


@pytest.mark.parametrize("world", ["local", AWS_WITH_TWO_TABLES], indirect=True)
def test_nothing_holds_an_erased_person_and_later_builds_leave_them_out(world: World) -> None:
    engine = built(world)
    others = f"SELECT user_id, event_ts FROM silver.events WHERE user_id <> '{PERSON}' ORDER BY event_ts, user_id"
    before, kept = rows(engine, others), engine.hour_commit(LAST)
    assert before
    assert holding(engine)

    plan = find_person(engine, PERSON, lambda *_: None)
    assert plan.hours == HOLD
    assert engine.erasures().digests == frozenset()

    erased = erase(world)
    receipt = erased.receipt
    assert (receipt.hours, receipt.retired, receipt.finished_at is not None) == (plan.hours, {}, True)
    assert {key: (held.records, held.rewritten) for key, held in receipt.raw.items()} == {
        HOUR.raw_key(HOUR.start): (2, False),
        HOUR.raw_key(HOUR.start + timedelta(minutes=5)): (2, False),
        NEXT.raw_key(NEXT.start): (1, False),
    }
    assert holding(engine) == []
    assert rows(engine, others) == before
    assert engine.hour_commit(LAST) == kept
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    account = commit.account
    assert (account.records, account.silver_rows, account.quarantined, account.duplicates, account.erased) == (
        *(7, 2, 1, 2),
        2,
    )
    assert account.unknown_examples == {}
    assert engine.disagreements() == []
    assert_proven(world)

    # Nothing is left to do; the receipt remembers.
    again = erase(world).receipt
    assert replace(again, finished_at=receipt.finished_at) == receipt
    # A rebuild from raw that still holds them, and an object that lands late.
    write_object(world.root, NEXT, 5, [theirs(NEXT, 2), event(NEXT, 3)])
    list(engine.build_silver([LAST], progress=silent))
    world.build([HOUR, NEXT], force=True)
    assert holding(engine) == []
    rebuilt = engine.hour_commit(HOUR)
    assert rebuilt is not None
    assert (rebuilt.account.duplicates, rebuilt.account.erased) == (0, 4)
    assert rows(engine, "SELECT SUM(erased) AS n FROM ops.hour_ledger") == [{"n": 6}]
    assert_proven(world)

    held = erase(world, rewrite_raw=True).receipt.raw
    assert (len(held), {each.rewritten for each in held.values()}) == (4, {True})
    builds = engine.build_silver([HOUR, NEXT], progress=silent)
    assert [each.commit.account.erased for each in builds] == [0, 0]


def no_file(_: bytes) -> bytes:
    return b"?"


def damaged_pages(body: bytes) -> bytes:
    """A Parquet file of the same length with nothing between its magic bytes and its footer."""
    footer = int.from_bytes(body[-8:-4], "little") + 8
    return body[:4] + bytes(len(body) - 4 - footer) + body[-footer:]


@in_memory
@pytest.mark.parametrize("damaged", [no_file, damaged_pages])
def test_a_replaced_build_without_them_keeps_its_grace_period_and_one_that_cannot_be_read_goes(
    world: World, damaged: Callable[[bytes], bytes]
) -> None:
    engine = built(world)
    erase(world)
    replaced = engine.hour_commit(HOUR)
    assert replaced is not None

    def kept() -> set[str]:
        return {file.path for file in replaced.files} & {each.key for each in engine._lake.list("runs/")}

    world.build([HOUR], force=True)
    assert erase(world).receipt.finished_at
    assert len(kept()) == len(replaced.files) > 1
    body, _ = engine._lake.read(replaced.files[0].path) or (b"", "")
    engine._lake.write(replaced.files[0].path, damaged(body))
    erase(world)
    assert kept() == set()


@in_memory
def test_killed_at_any_write_and_run_again_it_completes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, left, attempts = built(world), 0, 0

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return work(*arguments)

        return write

    with monkeypatch.context() as patch:
        for name in ("write", "replace", "delete"):
            patch.setattr(MemoryStore, name, counted(getattr(MemoryStore, name)))
        receipt = None
        while receipt is None:
            left = attempts = attempts + 1
            with suppress(KeyboardInterrupt):
                receipt = erase(world).receipt
    assert attempts > 5
    assert (receipt.hours, len(receipt.raw)) == (HOLD, 3)
    assert holding(engine) == []
    assert engine.disagreements() == []
    assert_proven(world)


@in_memory
def test_lost_raw_objects_and_retention_keep_nobody_and_raw_is_rewritten_on_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(world)
    activity = "FROM gold.user_activity ORDER BY event_date"
    (world.root / "raw" / NEXT.raw_key(NEXT.start)).unlink()
    change_settings(world, monkeypatch, silver_retention_days=30)
    (retired,) = [
        each for each in engine.leftovers(HOUR.end + timedelta(days=30)) if each.kind is LeftoverKind.RETIRED_HOUR
    ]
    engine.remove(retired)
    before = rows(engine, activity)
    receipt = erase(world).receipt
    # The partial of an hour without Silver keeps a digest in place of the id, so that its numbers stay.
    assert (receipt.hours, receipt.retired) == ({NEXT: HOLD[NEXT]}, {HOUR: 1})
    assert holding(engine) == []
    assert rows(engine, activity) == before
    assert_proven(world, hours=1)

    key = HOUR.raw_key(HOUR.start)
    held = gzip.decompress((world.root / "raw" / key).read_bytes()).split(b"\n")
    assert erase(world, rewrite_raw=True).receipt.raw[key].rewritten
    assert gzip.decompress((world.root / "raw" / key).read_bytes()) == b"\n".join([b"", held[1], held[2], b""])
    assert {each.records for each in erase(world).receipt.raw.values()} == {2}
    world.build([HOUR], force=True)
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    assert (commit.account.records, commit.account.silver_rows, commit.account.erased) == (3, 2, 0)


@in_memory
def test_a_build_that_began_before_cannot_bring_the_person_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = built(world)
    write_object(world.root, LAST, 5, [theirs(LAST, 7)])
    work = PoolBuilder.build

    def meanwhile(*arguments: Any, **options: Any) -> Built:
        made = work(*arguments, **options)
        erase(world)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(PoolBuilder, "build", meanwhile)
        with pytest.raises(TransientError, match="someone was erased while it was built"):
            list(engine.build_silver([LAST], progress=silent))
    world.build([LAST])
    assert [key for key in holding(engine) if "/runs/" not in key and LAST.hive_path not in key] == []
    commit = engine.hour_commit(LAST)
    assert commit is not None
    assert commit.account.erased == 1
    # What the refused build wrote was never published; housekeeping removes it like any abandoned build.
    assert all(LAST.hive_path in key for key in holding(engine))
    erase(world)
    assert holding(engine) == []


@in_memory
def test_who_is_erased_between_the_last_look_and_the_publication_is_not_published(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, swap, erased = built(world), MemoryStore.replace, list[Erased]()
    write_object(world.root, LAST, 5, [theirs(LAST, 7), event(LAST, 8)])

    def overtaken(self: MemoryStore, key: str, *arguments: Any) -> bool:
        if not erased and key.startswith("commits/hours/") and LAST.hive_path in key:
            erased.append(None)  # type: ignore[arg-type]  # the erasure publishes hours as well
            erased[0] = erase(world)
        return swap(self, key, *arguments)

    monkeypatch.setattr(MemoryStore, "replace", overtaken)
    world.build([LAST])
    assert set(erased[0].receipt.hours) == {HOUR, NEXT}
    commit = engine.hour_commit(LAST)
    assert commit is not None
    assert (commit.account.erased, commit.account.silver_rows) == (1, 4)
    assert engine.registered_builds()[LAST] == commit.build_id
    assert_proven(world)
    # The replaced build goes with the next erasure, or with housekeeping after its grace period.
    assert all("/runs/" in f"/{key}" and LAST.hive_path in key for key in holding(engine))
    erase(world)
    assert holding(engine) == []


@pytest.mark.parametrize("world", ["local"], indirect=True)
def test_an_erasure_replaces_commit_records_under_their_locks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = built(world)
    lake_type, held, replaced = type(engine._lake), list[str](), set[str]()
    exclusive, replace_object = lake_type.exclusive, lake_type.replace

    @contextmanager
    def watched_exclusive(self: Any, name: str) -> Iterator[None]:
        with exclusive(self, name):
            held.append(name)
            yield
            held.pop()

    def watched_replace(self: Any, key: str, *arguments: Any) -> bool:
        kind, _, place = key.removeprefix("commits/").removesuffix(".json").partition("/")
        if kind == "hours":
            replaced.add(place)
            assert f"hours/{Hour.of_hive_path(place)}" in held
        elif kind in ("days", "partials"):
            assert any(name.startswith(f"{kind}/") for name in held)
        return replace_object(self, key, *arguments)

    monkeypatch.setattr(lake_type, "exclusive", watched_exclusive)
    monkeypatch.setattr(lake_type, "replace", watched_replace)
    erase(world)
    assert replaced == {HOUR.hive_path, NEXT.hive_path}


@in_memory
def test_two_people_who_are_entered_at_the_same_time_are_both_on_the_list(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, real, waiting = world.engine, MemoryStore.replace, [True]
    assert isinstance(engine, PortEngine)
    people = ErasureList(engine._lake)

    def overtaken(*arguments: Any) -> bool:
        if waiting:
            waiting.clear()
            people.enter("u_2")
        return real(*arguments)

    monkeypatch.setattr(MemoryStore, "replace", overtaken)
    people.enter("u_1")
    erasures = people.read()
    assert [erasures.has(each) for each in ("u_1", "u_2", "u_3")] == [True, True, False]
