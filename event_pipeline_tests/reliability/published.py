"""What may be published: a model in plain Python that follows every commit record and judges all that is visible.

It keeps the bytes of every raw object that there ever was and every commit record that was ever published. So it can
say of each build, however it came about, which rows it must have: those that the oracle makes of the objects that its
record names, or, for Gold, of the builds that it was folded from. Files are read once, when their record appears.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from event_pipeline.engines.catalog import Partition
from event_pipeline.engines.commit import Commit, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.erasures import ErasureList
from event_pipeline.engines.layout import COMMITS, ERASED, RUNS
from event_pipeline.engines.leftovers import is_retired_day, shown_tables
from event_pipeline.engines.names import day_partition, gold_table, partial_table
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable
from event_pipeline_tests import oracle
from event_pipeline_tests.pipeline import in_order
from event_pipeline_tests.reliability.plain_sql import Chosen, Row, folded, rows_of

_PARSERS: dict[str, Callable[[str], Commit]] = {
    f"{COMMITS}hours/": HourCommit.from_json,
    f"{COMMITS}partials/": PartialCommit.from_json,
    f"{COMMITS}days/": DayCommit.from_json,
}
_HOUR_COLUMNS = ("year", "month", "day", "hour")
_OF_AN_HOUR = {table.full_name for table in HOUR_TABLES}


class Broken(AssertionError):
    """Something that is published is not what it must be; the message says what."""


@dataclass
class Published:
    """All that has been published over one raw folder."""

    raw: Path
    limits: Mapping[str, oracle.Limits]
    """Rules version -> the limits that it stands for."""
    chosen: Mapping[str, Chosen]
    """Version of a Gold table's SQL -> the Silver rows that count."""
    erased: list[str] = field(default_factory=list)
    """People whose erasure has begun, in order."""
    entered: list[str] = field(default_factory=list)
    """Those of them who are on the list, in order: builds leave them out."""
    forgotten: set[str] = field(default_factory=set)
    """Who was erased to the end: an erasure that breaks off is completed by its own command alone."""
    builds: dict[str, Commit] = field(default_factory=dict)
    """Build id -> the record that published it first."""
    records: dict[str, Commit] = field(default_factory=dict)
    """Key -> the commit record that is there now."""
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """Build id of an hour -> its Silver rows."""
    _versions: dict[str, str] = field(default_factory=dict)
    _contents: dict[str, bytes] = field(default_factory=dict)
    _shown: dict[Partition, str] = field(default_factory=dict)
    _judged: dict[Partition, Any] = field(default_factory=dict)
    """What is shown -> the entry that was found to be that of its build; builds do not change."""
    _removed_beside: dict[Partition, str] = field(default_factory=dict)
    """What is shown -> the build that an erasure had removed when it was registered beside it."""

    # -- raw

    def landed(self, content: bytes) -> None:
        """Remember the bytes of an object."""
        self._contents[hashlib.sha256(content).hexdigest()] = content

    def raw_now(self) -> dict[Hour, dict[str, str]]:
        """Return landing hour -> key -> digest of the bytes that are there."""
        found: dict[Hour, dict[str, str]] = {}
        for path in sorted((self.raw / "events").rglob("*.gz")):
            key, content = path.relative_to(self.raw).as_posix(), path.read_bytes()
            self.landed(content)
            hour = Hour.of_raw_key(key)
            assert hour
            found.setdefault(hour, {})[key] = hashlib.sha256(content).hexdigest()
        return found

    # -- what is published

    def hours(self) -> dict[Hour, HourCommit]:
        """Return the published hours."""
        return {each.hour: each for each in self.records.values() if isinstance(each, HourCommit)}

    def partial(self, table: str, hour: Hour) -> PartialCommit | None:
        """Return the published partial of an hour."""
        found = (each for each in self.records.values() if isinstance(each, PartialCommit))
        return next((each for each in found if (each.table, each.hour) == (table, hour)), None)

    def days(self, table: str) -> dict[date, DayCommit]:
        """Return the published days of a Gold table."""
        found = (each for each in self.records.values() if isinstance(each, DayCommit))
        return {each.day: each for each in found if each.table == table}

    def look(self, engine: PortEngine[Any], *, only_catalog: bool = False, beside_erasure: bool = False) -> None:
        """Read what is new, and judge all that is visible, or the catalog if nothing else has changed.

        An erasure has no grace: what runs beside it may for a moment register a build that it has replaced and removed.
        With `beside_erasure` such an entry is accepted, and from then on until it is changed.

        Raises:
            Broken: it is not what it must be.
        """
        if not only_catalog:
            self.read_records(engine)
        sizes = {each.key: each.size for each in engine._lake.list(RUNS)}
        if not only_catalog:
            for key, commit in self.records.items():
                for file in commit.files:
                    if sizes.get(file.path) != file.size:
                        raise Broken(f"{key} names {file.path}, which is gone or has another size")
        self._look_as_a_reader(engine, sizes, beside_erasure)

    def read_records(self, engine: PortEngine[Any]) -> None:
        """Read the commit records that are new, and judge their builds.

        Raises:
            Broken: a build is not what it must be, or a record is gone.
        """
        listed = {each.key: each.version for each in engine._lake.list(COMMITS)}
        if ERASED in listed and self._versions.get(ERASED) != listed[ERASED]:
            self._versions[ERASED] = listed[ERASED]
            on_list = ErasureList(engine._lake).read()
            self.entered += [each for each in self.erased if each not in self.entered and on_list.has(each)]
        for prefix, parse in _PARSERS.items():
            for key, version in listed.items():
                if not key.startswith(prefix) or self._versions.get(key) == version:
                    continue
                body, self._versions[key] = engine._lake.read(key) or (b"", "")
                commit = parse(body.decode())
                self.records[key] = commit
                if commit.build_id not in self.builds:
                    self.builds[commit.build_id] = commit
                    self._judge(engine, key, commit)
        if gone := self._versions.keys() - listed.keys():
            raise Broken(f"{sorted(gone)[0]}: a commit record is gone")

    def _judge(self, engine: PortEngine[Any], key: str, commit: Commit) -> None:
        files = {each.path: (engine._lake.read(each.path) or (b"", ""))[0] for each in commit.files}
        for each in commit.files:
            if hashlib.sha256(files[each.path]).hexdigest() != each.sha256:
                raise Broken(f"{key}: {each.path} has other bytes than the record says")

        def of_table(table: str) -> list[Row]:
            return [row for each in commit.files if each.table == table for row in rows_of(files[each.path])]

        match commit:
            case HourCommit():
                quarantine = [] if commit.retired_at else of_table(SILVER_QUARANTINE.full_name)
                self.rows[commit.build_id] = rows = of_table(SILVER_EVENTS.full_name)
                self._judge_hour(key, commit, rows, quarantine, of_table(HOUR_LEDGER.full_name))
            case PartialCommit():
                if commit.silver_build_id not in self.builds:
                    raise Broken(f"{key} is made from Silver {commit.silver_build_id}, which was never published")
                if dict(commit.days) and sum(commit.days.values()) != sum(each.rows for each in commit.files):
                    raise Broken(f"{key}: its days have {dict(commit.days)} rows, its files others")
            case DayCommit():
                found = of_table(gold_table(commit.table))
                wanted = self.expected_day(commit)
                if in_order(found) != in_order(wanted):
                    raise Broken(f"{key}: gold.{commit.table} has {found}, not {wanted}")

    def _judge_hour(
        self, key: str, commit: HourCommit, rows: list[Row], quarantine: list[Row], ledger: list[Row]
    ) -> None:
        account, seen = commit.account, (str(commit.hour), self.limits[commit.rules_version])
        if any(each.sha256 not in self._contents for each in account.objects):
            self.raw_now()
        if missing := [each.key for each in account.objects if each.sha256 not in self._contents]:
            raise Broken(f"{key}: {missing[0]} never had the bytes that the record says were read")
        objects = tuple((each.key, self._contents[str(each.sha256)]) for each in account.objects)
        # A build that began before an erasure leaves out those who were on the list then; it is a growing list.
        for left_out in range(len(self.entered) + 1):
            wanted = _without(read_hour(*seen, objects), frozenset(self.entered[:left_out]))
            if (in_order(rows), in_order(quarantine)) == (wanted.silver, wanted.quarantine):
                break
        else:
            wanted = _without(read_hour(*seen, objects), frozenset(self.entered))
            raise Broken(
                f"{key}: Silver and quarantine have {len(rows)} and {len(quarantine)} rows, which are not the "
                f"{len(wanted.silver)} and {len(wanted.quarantine)} of the oracle: {rows} {quarantine}"
            )
        counted = (account.records, account.silver_rows, account.quarantined, account.duplicates + account.erased)
        expected = (wanted.records, len(wanted.silver), len(wanted.quarantine), wanted.others)
        if counted != expected:
            raise Broken(f"{key}: counts (records, Silver, quarantine, others) {counted} instead of {expected}")
        if dict(account.quarantined_by_reason) != wanted.reasons:
            raise Broken(f"{key}: refused {dict(account.quarantined_by_reason)} instead of {wanted.reasons}")
        (line,) = ledger
        of_ledger = (line["records"], line["silver_rows"], line["quarantined"], line["duplicates"] + line["erased"])
        if of_ledger != counted:
            raise Broken(f"{key}: the ledger has {of_ledger} instead of {counted}")
        by_day = Counter(str(row["event_date"]) for row in rows)
        if {day: totals.events for day, totals in account.days.items()} != dict(by_day):
            raise Broken(f"{key}: control totals of {dict(account.days)} for rows of {dict(by_day)}")

    def expected_day(self, commit: DayCommit) -> list[Row]:
        """Return the rows of a day that was folded from these partials."""
        if unknown := [each for each in commit.partials.values() if each not in self.builds]:
            raise Broken(f"gold.{commit.table} {commit.day} is folded from {unknown[0]}, which was never published")
        rows = self.partial_rows(commit.table, commit.partials.values(), [commit.day])
        return folded(commit.table, rows) if rows else []

    def partial_rows(self, table: str, build_ids: Iterable[str], days: Collection[date]) -> list[Row]:
        """Return the Silver rows of some days that count in some partials."""
        found = []
        for build_id in build_ids:
            partial = self.builds[build_id]
            assert isinstance(partial, PartialCommit)
            counts = self.chosen[partial.sql_version]
            found += [row for row in self.rows[partial.silver_build_id] if row["event_date"] in days and counts(row)]
        return found

    def _look_as_a_reader(self, engine: PortEngine[Any], sizes: Mapping[str, int], beside_erasure: bool) -> None:
        """Judge what the catalog shows: complete builds that were published, and nothing that was shown vanishes."""
        tables = [each.full_name for each in HOUR_TABLES]
        for commit in self.records.values():
            if isinstance(commit, DayCommit):
                tables += [gold_table(commit.table), partial_table(commit.table)]
        shown = dict[Partition, str]()
        for place, entry in engine._catalog.everything(list(dict.fromkeys(tables)), None).items():
            shown[place] = entry.build_id
            files = files_of(engine, entry)
            if self._judged.get(place) is not entry:
                self._judge_entry(place, entry.build_id, files)
                self._judged[place] = entry
            if gone := [each for each in files if each not in sizes]:
                is_replaced = entry.build_id not in {each.build_id for each in self.records.values()}
                if beside_erasure and is_replaced:
                    self._removed_beside[place] = entry.build_id
                if not is_replaced or self._removed_beside.get(place) != entry.build_id:
                    raise Broken(f"{' '.join(place)} shows {gone[0]}, which is gone")
        of_hour = dict[str, set[str]]()
        for (table, partition), build_id in shown.items():
            if table in _OF_AN_HOUR:
                of_hour.setdefault(partition, set()).add(build_id)
        if halves := [f"{hour} {sorted(builds)}" for hour, builds in of_hour.items() if len(builds) > 1]:
            raise Broken(f"readers see parts of two builds of one hour: {halves[0]}")
        retired = {each.hour.hive_path for each in self.hours().values() if each.retired_at}
        for place in self._shown.keys() - shown.keys():
            if place[1] not in retired or place[0] == HOUR_LEDGER.full_name:
                raise Broken(f"{' '.join(place)} is no longer shown")
        self._shown = shown

    def _judge_entry(self, place: Partition, build_id: str, files: Collection[str]) -> None:
        """Judge what a partition shows: all files of a published build."""
        if build_id not in self.builds:
            raise Broken(f"{' '.join(place)} shows {build_id}, which was never published")
        wanted = [each.path for each in self.builds[build_id].files if each.table == place[0]]
        if sorted(files) != sorted(wanted):
            raise Broken(f"{' '.join(place)} shows {sorted(files)} of {build_id} instead of {sorted(wanted)}")

    def lost_from_catalog(self, places: Collection[Partition]) -> None:
        """Expect that readers miss these partitions until they are restored."""
        for place in places:
            self._shown.pop(place, None)

    # -- what must hold after a step

    def check_built(
        self, engine: PortEngine[Any], hours: Sequence[Hour], tables: Sequence[GoldTable], rules_version: str
    ) -> None:
        """Check that hours which were just built show what is in raw now, and Gold shows them.

        Raises:
            Broken: one does not.
        """
        raw, published = self.raw_now(), self.hours()
        for hour in hours:
            commit = published.get(hour)
            if commit is None:
                raise Broken(f"{hour} was built, and has no commit record")
            if commit.retired_at:
                continue
            built = {each.key: each.sha256 for each in commit.account.objects}
            there = raw.get(hour, {})
            if built != there and there:
                raise Broken(f"{hour} was built from {built}, but raw has {there}")
            if commit.rules_version != rules_version and there:
                raise Broken(f"{hour} was built by rules {commit.rules_version}, not {rules_version}")
            for table in tables:
                self._check_gold_of(table, commit)
        self.check_shown(engine, [each for each in published.values() if each.hour in hours])

    def _check_gold_of(self, table: GoldTable, commit: HourCommit) -> None:
        partial, path = self.partial(table.name, commit.hour), commit.hour.hive_path
        if partial is None or (partial.silver_build_id, partial.sql_version) != (commit.build_id, table.version):
            raise Broken(f"gold.{table.name}: the partial of {commit.hour} is {partial}, its Silver {commit.build_id}")
        touched = set(self._days_of(table, commit.build_id))
        for day, fold in self.days(table.name).items():
            if fold.partials.get(path) != (partial.build_id if day in touched else None):
                raise Broken(
                    f"gold.{table.name} {day} is folded from {dict(fold.partials)}: not from {partial.build_id}"
                )
            if day in touched and fold.sql_version != table.version:
                raise Broken(f"gold.{table.name} {day} is folded by {fold.sql_version}, not by {table.version}")
        if missing := touched - self.days(table.name).keys():
            raise Broken(f"gold.{table.name}: {missing} of {commit.hour} were never folded")

    def _days_of(self, table: GoldTable, build_id: str) -> set[date]:
        return {row["event_date"] for row in self.rows[build_id] if self.chosen[table.version](row)}

    def check_shown(self, engine: PortEngine[Any], commits: Sequence[HourCommit]) -> None:
        """Check that the catalog shows these builds of hours.

        Raises:
            Broken: it shows another, or too much or too little of it.
        """
        for commit in commits:
            wanted = {table.full_name for table in shown_tables(commit)}
            for table in HOUR_TABLES:
                present = engine._catalog.get(table.full_name, [commit.hour.hive_path]).get(commit.hour.hive_path)
                due = commit.build_id if table.full_name in wanted else None
                if (present.build_id if present else None) != due:
                    raise Broken(f"{table.full_name} {commit.hour}: shows {present}, committed is {commit.build_id}")

    def check_repaired(self, engine: PortEngine[Any], tables: Sequence[GoldTable]) -> None:
        """Check that the catalog shows exactly the commit records.

        Raises:
            Broken: it does not.
        """
        self.check_shown(engine, list(self.hours().values()))
        names = {table.name for table in tables}
        wanted = dict[Partition, str]()
        for commit in self.records.values():
            if isinstance(commit, PartialCommit) and commit.table in names:
                wanted[partial_table(commit.table), commit.hour.hive_path] = commit.build_id
            if isinstance(commit, DayCommit) and commit.table in names:
                wanted[gold_table(commit.table), day_partition(commit.day)] = commit.build_id
        gold = [name(table) for table in sorted(names) for name in (partial_table, gold_table)]
        shown = {place: entry.build_id for place, entry in engine._catalog.everything(gold, None).items()}
        if {place: build for place, build in shown.items() if place[0] in gold} != wanted:
            raise Broken(f"the catalog shows {shown} of Gold, committed is {wanted}")
        if wrong := engine.disagreements():
            raise Broken(f"after a repair there is still something to repair: {wrong}")

    def holding(self, person: str) -> list[str]:
        """Return the Silver files of the published hours that have rows of a person."""
        return [
            file.path
            for commit in self.hours().values()
            if any(row["user_id"] == person for row in self.rows[commit.build_id])
            for file in commit.files_of(SILVER_EVENTS.full_name)
        ]

    def check_forgotten(self, engine: PortEngine[Any], person: str, held: Collection[str]) -> None:
        """Check, after a person was erased, that no published hour holds them, and that the files which did are gone.

        Nor does one hold anybody who was erased before.

        Raises:
            Broken: one does, or is still there.
        """
        self.forgotten.add(person)
        left = [*(path for each in sorted(self.forgotten) for path in self.holding(each)), *held]
        if found := {each.key for each in engine._lake.list(RUNS)}.intersection(left):
            raise Broken(f"{sorted(found)[0]} still has rows of someone of {sorted(self.forgotten)}")

    def check_answer(self, engine: PortEngine[Any], table: GoldTable, first: date, last: date) -> None:
        """Check one answer for a range of days.

        Raises:
            Broken: it differs from the oracle.
        """
        days = [
            day
            for day, fold in self.days(table.name).items()
            if first <= day <= last
            and fold.partials
            and self._shown.get((gold_table(table.name), day_partition(day))) == fold.build_id
        ]
        hours = {path for day in days for path in self.days(table.name)[day].partials}
        shown = [self._shown[partial_table(table.name), path] for path in sorted(hours)]
        rows = self.partial_rows(table.name, shown, days)
        with engine.answer(table, first, last) as answer:
            found = answer.rows.read_all().to_pylist()
        wanted = folded(table.name, rows) if rows else []
        if in_order(found) != in_order(wanted):
            raise Broken(f"gold.{table.name} from {first} to {last} answers {found}, not {wanted}")

    def check_everything(self, engine: PortEngine[Any], tables: Sequence[GoldTable]) -> None:
        """Check that the Gold tables are the oracle's for all published hours.

        Raises:
            Broken: they are not.
        """
        for table in tables:
            partials = [self.partial(table.name, hour) for hour in self.hours()]
            builds = [each.build_id for each in partials if each]
            for day, fold in self.days(table.name).items():
                if is_retired_day(fold):
                    continue
                rows = self.partial_rows(table.name, builds, [day])
                found = [row for each in fold.files for row in rows_of((engine._lake.read(each.path) or (b"", ""))[0])]
                wanted = folded(table.name, rows) if rows else []
                if in_order(found) != in_order(wanted):
                    raise Broken(f"gold.{table.name} {day}: {found}, but all hours together make {wanted}")
            # A retired hour cannot follow new SQL any more: its state is that it is retired.
            retired = {hour for hour, commit in self.hours().items() if commit.retired_at}
            if behind := [hour for hour in engine.hours_behind(table) if hour not in retired]:
                raise Broken(f"gold.{table.name}: {behind} are behind after everything was built")

    def check_collected(self, engine: PortEngine[Any]) -> None:
        """Check that nothing is stored that nobody needs.

        Raises:
            Broken: something is.
        """
        needed = {file.path for commit in self.records.values() for file in commit.files}
        if left := {each.key for each in engine._lake.list(RUNS)} - needed:
            raise Broken(f"{sorted(left)[0]} is in no commit record, and was not collected after weeks")


def files_of(engine: PortEngine[Any], entry: Any) -> list[str]:
    """Return the keys of the files that an entry of the catalog shows, in memory or on disk."""
    if hasattr(entry, "files"):
        return list(entry.files)
    return [values[2] for name, values in entry.rows if name == "data_file"]


@lru_cache(4096)
def read_hour(hour: str, limits: oracle.Limits, objects: tuple[tuple[str, bytes], ...]) -> oracle.LandingHour:
    """Judge the objects of an hour."""
    return oracle.read_hour(hour, dict(objects), limits)


@dataclass(frozen=True)
class _Wanted:
    records: int
    silver: list[str]
    quarantine: list[str]
    reasons: dict[str, int]
    others: int
    """Duplicates, and records of erased people."""


def _without(hour: oracle.LandingHour, people: frozenset[str]) -> _Wanted:
    """Return what an hour has without some people."""
    theirs = Erasures(b"k", frozenset(Erasures(b"k").digest_of(each) for each in people))
    silver = [row for row in hour.silver if row["user_id"] not in people]
    quarantine = [row for row in hour.quarantine if not theirs.has_record(row["record"])]
    return _Wanted(
        hour.records,
        in_order(map(_stored, silver)),
        in_order(map(_stored, quarantine)),
        dict(sorted(Counter(row["reason"] for row in quarantine).items())),
        hour.records - len(silver) - len(quarantine),
    )


def _stored(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in _HOUR_COLUMNS}
