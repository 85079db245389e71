"""Erases a person from a lake: finds what is published of them, publishes it without them, removes what held them.

Killed anywhere, the same call completes it. First the person is put on the lake's list, so that no later build brings
them back. What is found is written to the receipt before anything is changed, so that a receipt tells of all attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import BinaryIO

from event_pipeline.engines.base import Engine
from event_pipeline.engines.commit import HourCommit, PartialCommit
from event_pipeline.engines.eraser import Eraser
from event_pipeline.engines.erasures import Held, HeldRaw, Receipt
from event_pipeline.engines.names import commit_time
from event_pipeline.engines.processes import WorkerPool
from event_pipeline.errors import OvertakenError, StorageError, TransientError
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable
from event_pipeline.rules.validation import erased_lines

_MOST_ROUNDS = 5
"""Looks for builds that hold the person and were published meanwhile."""

POOL_WORTH_BYTES = 4 << 20
"""Below this amount of raw data, starting worker processes costs more than it saves."""

Progress = Callable[[str, int | None, int | None], None]
"""Called with the current step and, if counted, steps done and steps in total."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is published of a person."""

    hours: Mapping[Hour, Held]
    """Landing hours with records of them in Silver or quarantine."""
    retired: Mapping[Hour, int]
    """Hours past their retention -> values of Gold partials that are their id."""
    damaged: Mapping[Hour, StorageError]
    """Hours that cannot be read -> why: nobody knows what they hold."""


@dataclass(frozen=True, slots=True)
class Erased:
    """The result of an erasure."""

    receipt: Receipt
    place: str
    """Where the receipt is stored."""
    damaged: Mapping[Hour, StorageError]
    """Hours that could not be read: the person is not erased from them."""
    changed_raw: tuple[str, ...] = ()
    """Raw objects that were replaced while they were rewritten, and left alone."""


@dataclass(frozen=True, slots=True)
class _RawTask:
    """One raw object to look through, in any process."""

    open_raw: Callable[[str], BinaryIO]
    listed: RawObject
    hour: Hour
    limits: Limits
    person: Erasures


@dataclass(slots=True)
class _Raw:
    """What raw objects hold of a person."""

    held: dict[str, HeldRaw] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    fault: StorageError | None = None
    """Why no object was rewritten from there on: most likely whoever asks may not write raw objects."""


def find_person(engine: Engine, user_id: str, progress: Progress) -> Found:
    """Find what is published of a person; changes nothing, and does not read raw.

    Raises:
        StorageError: the list of erased people or the catalog cannot be read.
    """
    eraser = engine.eraser()
    return _found(engine, eraser, eraser.list.person(user_id), {}, progress)


def erase_person(
    engine: Engine,
    gold_tables: Sequence[GoldTable],
    limits: Limits,
    user_id: str,
    now: datetime,
    progress: Progress,
    *,
    rewrite_raw: bool = False,
    workers: int = 1,
) -> Erased:
    """Erase a person and return the receipt; `rewrite_raw` also takes their lines out of raw objects.

    Raises:
        TransientError: other processes publish builds that hold the person all the time, or hold a lock.
        StorageError: data cannot be read or written. If it was a raw object that cannot be written, all else is done.
    """
    eraser = engine.eraser()
    person = eraser.list.enter(user_id)
    receipt = replace(eraser.list.receipt(person), finished_at=None)
    receipt, damaged = _publish_without(engine, eraser, person, receipt, progress)
    _refresh_gold(engine, gold_tables, receipt, progress)
    receipt = _remove_old_builds(engine, eraser, receipt, now, progress)
    eraser.list.write(receipt)
    raw = _look_through_raw(engine, eraser, person, limits, workers, progress, rewrite=rewrite_raw)
    before = {key: held for key, held in receipt.raw.items() if held.rewritten}
    receipt = replace(receipt, raw=before | raw.held, unreadable=tuple(raw.unreadable))
    if not damaged:
        receipt = replace(receipt, finished_at=commit_time())
    place = eraser.list.write(receipt)
    if raw.fault:
        left = sum(not each.rewritten for each in receipt.raw.values())
        raise StorageError(
            f"{raw.fault}. Everything else is done: {left} raw objects still hold the person, and the receipt {place} "
            "lists them. Erase again with --rewrite-raw as somebody who may replace raw objects"
        ) from raw.fault
    return Erased(receipt, place, damaged, tuple(raw.changed))


def _found(engine: Engine, eraser: Eraser, person: Erasures, seen: dict[Hour, str], progress: Progress) -> Found:
    """Find the person in the published builds that were not `seen` yet (hour -> build id), and add them there."""
    damaged, hours, retired = dict[Hour, StorageError](), dict[Hour, Held](), dict[Hour, int]()
    commits = engine.hour_commits(None, damaged)
    new = [commit for commit in commits.values() if seen.get(commit.hour) != commit.build_id and not commit.retired_at]
    for number, commit in enumerate(new):
        progress(f"looking through {commit.hour}", number, len(new))
        try:
            held = eraser.held(commit, person)
        except StorageError as error:
            damaged[commit.hour] = error
            continue
        seen[commit.hour] = commit.build_id
        if held.records:
            hours[commit.hour] = held
    for hour, partials in _retired_partials(engine, commits).items():
        if count := eraser.held_in_partials(partials, person):
            retired[hour] = count
    return Found(hours, retired, damaged)


def _retired_partials(engine: Engine, commits: Mapping[Hour, HourCommit]) -> dict[Hour, list[PartialCommit]]:
    """Return the partials of hours past their retention, which cannot be made again."""
    retired = [hour for hour, commit in commits.items() if commit.retired_at]
    found: dict[Hour, list[PartialCommit]] = {hour: [] for hour in retired}
    for partial in engine.partials_of(HourRange.of(retired)) if retired else ():
        if partial.hour in found:
            found[partial.hour].append(partial)
    return found


def _publish_without(
    engine: Engine, eraser: Eraser, person: Erasures, receipt: Receipt, progress: Progress
) -> tuple[Receipt, Mapping[Hour, StorageError]]:
    """Publish every hour that holds the person without them, until no published build holds them."""
    seen = dict[Hour, str]()
    for _ in range(_MOST_ROUNDS):
        found = _found(engine, eraser, person, seen, progress)
        if not found.hours and not found.retired:
            return receipt, found.damaged
        receipt = replace(receipt, hours={**receipt.hours, **found.hours}, retired={**receipt.retired, **found.retired})
        eraser.list.write(receipt)
        erasures = engine.erasures()
        for number, hour in enumerate(found.hours):
            progress(f"erasing from {hour}", number, len(found.hours))
            with suppress(OvertakenError):  # the build that was faster is looked through in the next round
                eraser.erase(hour, erasures)
        for hour in found.retired:
            with suppress(OvertakenError):
                eraser.erase_examples(hour)
        partials = _retired_partials(engine, engine.hour_commits(None, {})) if found.retired else {}
        for partial in (each for hour in found.retired for each in partials.get(hour, ())):
            with suppress(OvertakenError):
                eraser.erase_partial(partial, erasures)
    raise TransientError(
        f"builds that hold the person were published {_MOST_ROUNDS} times meanwhile: let the running builds end, and "
        "erase again"
    )


def _refresh_gold(engine: Engine, gold_tables: Sequence[GoldTable], receipt: Receipt, progress: Progress) -> None:
    """Make catalog and Gold show the hours of a receipt as they are published now."""

    def line(text: str) -> None:
        progress(text, None, None)

    commits = engine.hour_commits(None, {})
    hours = [hour for hour in sorted(receipt.hours) if hour in commits and not commits[hour].retired_at]
    if hours:
        engine.register_hours(hours)
    retired = _retired_partials(engine, commits) if receipt.retired else {}
    for table in gold_tables:
        if hours:
            refreshed = engine.refresh_gold(table, hours, progress=line)
            for fault in refreshed.failures.values():
                raise fault
        of_table = (each for hour in receipt.retired for each in retired.get(hour, ()) if each.table == table.name)
        days = sorted({date.fromisoformat(day) for partial in of_table for day in partial.days})
        if days:
            engine.fold_again(table, days, line)


def _remove_old_builds(engine: Engine, eraser: Eraser, receipt: Receipt, now: datetime, progress: Progress) -> Receipt:
    """Remove replaced builds that hold erased people, without the grace period that readers otherwise have."""
    commits, erasures = engine.hour_commits(None, {}), engine.erasures()
    # A build that left the person out by itself, after an erasure that was killed, replaced one that held them.
    hours = {*receipt.hours, *receipt.retired, *(hour for hour, commit in commits.items() if commit.account.erased)}

    def holds(path: str) -> bool:
        progress(f"looking through {path}", None, None)
        return eraser.holds(path, erasures)

    leftovers = engine.replaced_builds(sorted(hours), now, holds)
    for number, leftover in enumerate(leftovers):
        progress(f"removing {leftover.place}", number, len(leftovers))
        engine.remove(leftover)
    return replace(receipt, old_files=receipt.old_files + sum(len(each.paths) for each in leftovers))


# -- raw


def _look_through_raw(
    engine: Engine,
    eraser: Eraser,
    person: Erasures,
    limits: Limits,
    workers: int,
    progress: Progress,
    *,
    rewrite: bool,
) -> _Raw:
    """Find the raw objects that hold records of the person, and rewrite them on request."""
    commits = engine.hour_commits(None, {})
    opener, found, tasks = engine.raw_opener(), _Raw(), list[_RawTask]()
    for hour, listing in engine.list_raw_hours(None).items():
        tasks += [_RawTask(opener, each, hour, limits, person) for each in _candidates(listing, commits.get(hour))]
    pool = WorkerPool(workers) if workers > 1 and sum(task.listed.size for task in tasks) > POOL_WORTH_BYTES else None
    try:
        results = pool.map(_lines, tasks, _killed) if pool else map(_lines, tasks)
        for number, (task, lines) in enumerate(zip(tasks, results, strict=True)):
            key = task.listed.key
            progress(f"looking through {key}", number, len(tasks))
            if lines is None:
                found.unreadable.append(key)
            elif lines:
                asked = rewrite and found.fault is None
                try:
                    done = asked and eraser.rewrite_raw(task.listed, lines)
                except StorageError as error:
                    done, asked, found.fault = False, False, error
                found.held[key] = HeldRaw(str(task.hour), len(lines), done)
                found.changed += [key] if asked and not done else []
    finally:
        if pool:
            pool.shutdown()
    return found


def _candidates(listing: RawListing, commit: HourCommit | None) -> Iterator[RawObject]:
    """Yield the raw objects of an hour that may hold an erased person.

    An object that is published as it is listed holds them only if some of its records were erased, or may repeat a
    record that was.
    """
    accounts = {each.key: each for each in commit.account.objects} if commit and not commit.retired_at else {}
    for each in listing.objects:
        account = accounts.get(each.key)
        is_built = account is not None and (account.etag, account.size) == (each.etag, each.size)
        if account is None or not is_built or account.unreadable or account.erased:
            yield each
        elif commit and commit.account.erased and account.duplicates:
            yield each


def _lines(task: _RawTask) -> list[int] | None:
    with task.open_raw(task.listed.key) as stored:
        return erased_lines(stored, hour=task.hour, limits=task.limits, erasures=task.person)


def _killed(task: _RawTask) -> str:
    return (
        f"{task.listed.key} ({task.listed.size:,} bytes): the process that reads it was killed, even when it was the "
        "only one: the machine is most likely out of memory. Add memory, and erase again"
    )
