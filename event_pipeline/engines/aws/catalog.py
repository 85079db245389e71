"""The Glue catalog: tables defined by the contract and the Gold headers, and the committed run of each partition.

A partition's parameters contain what decisions are based on (build id, lineage, control totals), so that one listing of
partitions is enough for many hours. They can always be recreated from the commit records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from event_pipeline.engines import layout
from event_pipeline.engines.aws.clients import Aws, ExpectedError
from event_pipeline.engines.aws.partials import partials_table
from event_pipeline.engines.catalog import Partition
from event_pipeline.engines.commit import Commit, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.leftovers import shown_tables
from event_pipeline.engines.names import PARTIALS_DATABASE, day_partition, gold_table, partial_table
from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import HOUR_LEDGER, LANDING_HOUR_COLUMNS, SILVER_EVENTS, Column, Table
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable
from event_pipeline.rules.stored_json import read_json
from event_pipeline.settings import Settings

_CHANGES_PER_CALL = 100
_DELETES_PER_CALL = 25
_GETS_PER_CALL = 100
_MOST_MONTHS_IN_EXPRESSION = 20
"""A partition expression has at most 2,048 characters; beyond this all partitions are listed."""
_COMMENT_UNITS, _DESCRIPTION_UNITS = 255, 2048
"""Glue's maximum lengths of a column's comment and a table's description."""

_PARQUET_FORMAT = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
}
_TABLE_INPUT_FIELDS = (
    "Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention", "StorageDescriptor",
    "PartitionKeys", "ViewOriginalText", "ViewExpandedText", "TableType", "Parameters", "TargetTable",
)  # fmt: skip
"""Fields that GetTable returns and UpdateTable accepts."""
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_ALREADY_EXISTS = "AlreadyExistsException"
_NOT_FOUND = "EntityNotFoundException"

_PASSING_ITEM_CODES = (
    "InternalServiceException",
    "OperationTimeoutException",
    "ThrottlingException",
    "ConcurrentModificationException",
    _NOT_FOUND,  # dropped by another process between read and change
)

_LISTED_MEASURES = "events page_views add_to_carts remove_from_carts purchases searches items_sold revenue".split()
"""Control totals in the order in which partitions listed them before they had names."""

Storage = tuple[tuple[str, str], ...]
"""How files are read: (column, type) in order, then the classes of the file format."""


@dataclass(frozen=True, slots=True)
class GlueEntry:
    """One registered partition."""

    table: str
    """The pipeline's name of the table, without the databases' prefix: `silver.events`, `partials.user_activity`."""
    partition: str
    """Hive path, for example `event_date=2025-12-07`."""
    location: str
    parameters: Mapping[str, str]
    storage: Storage | None = None
    """As found in the catalog, if requested."""

    @property
    def build_id(self) -> str:
        """The committed run that it shows."""
        return self.parameters.get("build_id", "")

    @property
    def made_from(self) -> str:
        """Silver: fingerprint of the input. Partial: build id of its Silver. Day: empty."""
        return self.parameters.get("made_from", "")

    @property
    def version(self) -> str:
        """Rules version, or digest of the Gold SQL."""
        return self.parameters.get("version", "")

    @property
    def days(self) -> dict[date, DayTotals]:
        """For Silver and partials: the event days that it has rows for, for Silver with their control totals.

        A retired hour has no Silver partition; then the ledger's has them.
        """
        days = read_json(self.parameters.get("days", "{}"))
        return {date.fromisoformat(day): _totals(totals) for day, totals in days.items()}

    @property
    def partials(self) -> dict[str, str]:
        """For a Gold day: landing hour (Hive path) -> build id of the partial that was folded in."""
        return dict(read_json(self.parameters.get("partials", "{}")))


def entries_of(commit: Commit, lake_url: str) -> list[GlueEntry]:
    """Return the entries that show a commit: one per table."""
    prefix = f"{lake_url}{layout.build_prefix(commit)}"
    common = {"build_id": commit.build_id, "committed_at": commit.committed_at.isoformat()}
    match commit:
        case HourCommit():
            days = {day: totals.stored for day, totals in commit.account.days.items()}
            made = {**common, "made_from": commit.fingerprint, "version": commit.rules_version}
            # The control totals outlive Silver: Gold still shows the events of a retired hour.
            bearer = SILVER_EVENTS.full_name if commit.retired_at is None else HOUR_LEDGER.full_name
            return [
                GlueEntry(
                    table.full_name,
                    commit.hour.hive_path,
                    f"{prefix}{layout.HOUR_FOLDERS[table.full_name]}",
                    {
                        **made,
                        "rows": str(sum(file.rows for file in commit.files_of(table.full_name))),
                        **({"days": json.dumps(days)} if table.full_name == bearer else {}),
                    },
                )
                for table in shown_tables(commit)
            ]
        case PartialCommit():
            parameters = {
                **common,
                "made_from": commit.silver_build_id,
                "version": commit.sql_version,
                "rows": str(sum(file.rows for file in commit.files)),
                "days": json.dumps(dict.fromkeys(commit.days_with_rows, [])),
            }
            return [GlueEntry(partial_table(commit.table), commit.hour.hive_path, prefix, parameters)]
        case DayCommit():
            parameters = {
                **common,
                "version": commit.sql_version,
                "rows": str(sum(file.rows for file in commit.files)),
                "partials": json.dumps(dict(commit.partials)),
            }
            return [GlueEntry(gold_table(commit.table), day_partition(commit.day), prefix, parameters)]


def differences_of(wanted: GlueEntry, present: GlueEntry, storage: Storage | None = None) -> list[str]:
    """Return in words how a partition differs from what it should show; `storage` is its table's."""
    found = ["files"] if present.location != wanted.location else []
    if dict(present.parameters) != dict(wanted.parameters):
        found.append("parameters")
    if None not in (present.storage, storage) and present.storage != storage:
        found.append("columns")
    return found


class GlueCatalog:
    """Implements `engines.catalog.Catalog` over one account's Glue catalog.

    A partition's parameters contain what decisions are based on, so that one listing of partitions is enough for many
    hours.
    """

    changes_at_once = 100

    def __init__(self, aws: Aws, settings: Settings) -> None:
        self._aws = aws
        self._settings = settings
        self._ensured: dict[str, dict[str, Any]] = {}
        self._storage: dict[str, Storage | None] = {}

    def database(self, table: str) -> str:
        """Return the Glue database of a table, with the prefix from the settings."""
        database = table.partition(".")[0]
        return f"{self._settings.database_prefix}{'gold_' if database == PARTIALS_DATABASE else ''}{database}"

    # -- tables

    def ensure(self, table: Table) -> None:
        """Create a table if it is missing, or compare the existing one.

        Columns that are new in this version are added, and Gold decimals that are narrower than in their header get
        the wider type. Registered partitions keep the columns of their files: Athena reads a missing one as null, and
        widens a narrow one.

        Raises:
            StorageError: its columns or partition keys differ from the contract or the Gold header.
        """
        name = table.full_name
        if name in self._ensured:
            return
        present = self._table(name)
        if present is None:
            self._ensure_database(self.database(name))
            self._create(table)
            present = self._table(name)
        if present is None:
            raise TransientError(f"glue:CreateTable {name}: it was created but does not exist yet: run again")
        if table.database == PARTIALS_DATABASE and _columns(present) != _columns(table_input(table, "")):
            present = self._update(name, table_input(table, self._location(table)))
        elif (evolved := evolved_input(table, present)) and not schema_faults(table, evolved):
            present = self._update(name, evolved)
        if faults := schema_faults(table, present):
            raise StorageError(
                f"Glue table {self.database(name)}.{table.name} is not as this version writes it: {'; '.join(faults)}. "
                "Queries would fail or mix up columns, so nothing was registered. Change the table to these columns, "
                "or drop it: it is created again, and `event-pipeline repair` registers everything committed"
            )
        self._ensured[name] = present
        self._storage.pop(name, None)

    def ensure_gold(self, table: GoldTable) -> None:
        """Create the tables of a Gold table's days and partials, or compare the existing ones."""
        self.ensure(partials_table(table))
        self.ensure(table.table)

    def _table(self, name: str) -> dict[str, Any] | None:
        try:
            answer = self._aws.call(
                "glue",
                "get_table",
                name,
                expected=[_NOT_FOUND],
                DatabaseName=self.database(name),
                Name=name.partition(".")[2],
            )
        except ExpectedError:
            return None
        return dict(answer["Table"])

    def _ensure_database(self, database: str) -> None:
        try:
            self._aws.call("glue", "get_database", database, expected=[_NOT_FOUND], Name=database)
        except ExpectedError:
            try:
                self._aws.call(
                    "glue", "create_database", database, expected=[_ALREADY_EXISTS], DatabaseInput={"Name": database}
                )
            except ExpectedError:
                return  # another process created it meanwhile

    def _create(self, table: Table) -> None:
        try:
            self._aws.call(
                "glue",
                "create_table",
                table.full_name,
                expected=[_ALREADY_EXISTS],
                DatabaseName=self.database(table.full_name),
                TableInput=table_input(table, self._location(table)),
            )
        except ExpectedError:
            return  # another process created it meanwhile; it is compared next

    def _update(self, name: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        self._aws.call("glue", "update_table", name, DatabaseName=self.database(name), TableInput=wanted)
        return self._table(name) or {}

    def _location(self, table: Table) -> str:
        """Return the table's own location, which is always empty: partitions have their own locations."""
        return f"s3://{self._settings.lake_bucket}/tables/{table.database}/{table.name}/"

    # -- questions

    def entries_of(self, commit: Commit) -> list[GlueEntry]:
        """Return the entries that show a commit: one per table."""
        return entries_of(commit, f"s3://{self._settings.lake_bucket}/")

    def differences(self, wanted: GlueEntry, present: GlueEntry) -> list[str]:
        """Return in words how a partition differs from what it should show."""
        return differences_of(wanted, present, self.storage(wanted.table))

    def needed(self, entry: GlueEntry) -> list[str]:
        """Return what an entry protects from removal: the whole run, or only its file for a ledger partition."""
        location = entry.location.removeprefix(f"s3://{self._settings.lake_bucket}/")
        if entry.table == HOUR_LEDGER.full_name:
            return [location]
        return [location.removesuffix(layout.HOUR_FOLDERS.get(entry.table, ""))]

    def everything(self, tables: Sequence[str], hours: HourRange | None) -> dict[Partition, GlueEntry]:
        """Return the complete partitions of some tables, within a range of hours and, for Gold, its days."""
        bounds = (hours.first_day, hours.last_day) if hours else None
        return {
            (table, entry.partition): entry
            for table in tables
            for entry in self.entries(
                table,
                None if table.startswith("gold.") else hours,
                bounds if table.startswith("gold.") else None,
                whole=True,
            )
        }

    def entry(self, table: str, partition: str) -> GlueEntry | None:
        """Return one registered partition."""
        return self.get(table, [partition]).get(partition)

    def get(self, table: str, partitions: Sequence[str]) -> dict[str, GlueEntry]:
        """Return those of the partitions that are registered, by Hive path."""
        found = dict[str, GlueEntry]()
        for batch in _batches(partitions, _GETS_PER_CALL):
            waiting = [{"Values": _values(partition)} for partition in batch]
            while waiting:
                answer = self._call_on_table(
                    "batch_get_partition", table, expected=[_NOT_FOUND], PartitionsToGet=waiting
                )
                if answer is None:
                    return {}
                for each in answer.get("Partitions", []):
                    entry = _entry(table, each, whole=True)
                    found[entry.partition] = entry
                left = answer.get("UnprocessedKeys") or []
                if len(left) == len(waiting):
                    raise TransientError(f"glue:BatchGetPartition on {table}: {len(left)} partitions remain unread")
                waiting = left
        return found

    def storage(self, table: str) -> Storage | None:
        """Return how the files of a table's partitions are read; None if the table does not exist."""
        if table not in self._storage:
            found = self._ensured.get(table) or self._table(table)
            self._storage[table] = _storage({**found["StorageDescriptor"], **_PARQUET_FORMAT}) if found else None
        return self._storage[table]

    def entries(
        self,
        table: str,
        hours: HourRange | None = None,
        days: tuple[date, date] | None = None,
        *,
        whole: bool = False,
    ) -> list[GlueEntry]:
        """Return the registered partitions of a table in order, within `hours` or `days` (both ends inclusive).

        A missing table has none. `whole` includes their columns.
        """
        expression = _hours_expression(hours) if hours else _days_expression(*days) if days else ""
        parameters = {"Expression": expression} if expression else {}
        try:
            pages = self._aws.pages(
                "glue",
                "get_partitions",
                table,
                expected=[_NOT_FOUND],
                DatabaseName=self.database(table),
                TableName=table.partition(".")[2],
                ExcludeColumnSchema=not whole,
                **parameters,
            )
            found = [_entry(table, each, whole) for page in pages for each in page.get("Partitions", [])]
        except ExpectedError:
            return []
        if hours:
            found = [entry for entry in found if Hour.of_hive_path(entry.partition) in hours]
        return sorted(found, key=lambda entry: entry.partition)

    # -- changes

    def change(self, show: Iterable[GlueEntry], drop: Collection[Partition]) -> None:
        """Set entries, then drop others, so that the ledger has the control totals before Silver's partition goes."""
        self._show_all(show)
        for table, group in groupby(sorted(drop), key=lambda place: place[0]):
            self._drop(table, [partition for _, partition in group])

    def _show_all(self, entries: Iterable[GlueEntry]) -> None:
        """Set entries in batches: missing partitions are added, existing ones repointed."""
        for table, group in groupby(sorted(entries, key=lambda entry: entry.table), key=lambda entry: entry.table):
            for batch in _batches(list(group), _CHANGES_PER_CALL):
                self._show(table, batch)

    def _show(self, table: str, batch: Sequence[GlueEntry]) -> None:
        inputs = {entry.partition: self._partition_input(entry) for entry in batch}
        present = self.get(table, list(inputs))
        added = [inputs[partition] for partition in inputs if partition not in present]
        updated = [inputs[partition] for partition in inputs if partition in present]
        for partition in self._create_partitions(table, added):
            updated.append(inputs[partition])
        if updated:
            answer = self._call_on_table(
                "batch_update_partition",
                table,
                Entries=[{"PartitionValueList": each["Values"], "PartitionInput": each} for each in updated],
            )
            self._raise_item_errors(answer or {}, "BatchUpdatePartition", table, "PartitionValueList")

    def _create_partitions(self, table: str, inputs: Sequence[dict[str, Any]]) -> list[str]:
        """Add partitions; return those that another process added meanwhile."""
        if not inputs:
            return []
        answer = self._call_on_table("batch_create_partition", table, PartitionInputList=list(inputs)) or {}
        taken, faults = [], []
        for fault in answer.get("Errors") or []:
            if fault.get("ErrorDetail", {}).get("ErrorCode") == _ALREADY_EXISTS:
                taken.append(_path(table, fault["PartitionValues"]))
            else:
                faults.append(fault)
        self._raise_item_errors({"Errors": faults}, "BatchCreatePartition", table, "PartitionValues")
        return taken

    def _drop(self, table: str, partitions: Sequence[str]) -> None:
        """Drop partitions; those that are already gone are not an error."""
        for batch in _batches(partitions, _DELETES_PER_CALL):
            answer = self._call_on_table(
                "batch_delete_partition",
                table,
                expected=[_NOT_FOUND],
                PartitionsToDelete=[{"Values": _values(partition)} for partition in batch],
            )
            faults = [
                fault
                for fault in (answer or {}).get("Errors") or []
                if fault.get("ErrorDetail", {}).get("ErrorCode") != _NOT_FOUND
            ]
            self._raise_item_errors({"Errors": faults}, "BatchDeletePartition", table, "PartitionValues")

    def _partition_input(self, entry: GlueEntry) -> dict[str, Any]:
        descriptor = self._ensured[entry.table]["StorageDescriptor"]
        return {
            "Values": _values(entry.partition),
            "Parameters": dict(entry.parameters),
            "StorageDescriptor": {
                "Columns": [{"Name": each["Name"], "Type": each["Type"]} for each in descriptor["Columns"]],
                "Location": entry.location,
                **_PARQUET_FORMAT,
            },
        }

    def _call_on_table(
        self, operation: str, table: str, expected: Sequence[str] = (), **parameters: Any
    ) -> dict[str, Any] | None:
        try:
            return self._aws.call(
                "glue",
                operation,
                table,
                expected=expected,
                DatabaseName=self.database(table),
                TableName=table.partition(".")[2],
                **parameters,
            )
        except ExpectedError:
            return None

    def _raise_item_errors(self, answer: dict[str, Any], call: str, table: str, values_key: str) -> None:
        faults = answer.get("Errors") or []
        if not faults:
            return
        first = faults[0]
        detail = first.get("ErrorDetail", {})
        code = detail.get("ErrorCode", "unknown")
        message = (
            f"glue:{call} on {table}: {len(faults)} partitions failed, first "
            f"{_path(table, first.get(values_key, []))}: {code}: {detail.get('ErrorMessage', '')}; run again, or "
            "`event-pipeline repair` finishes it"
        )
        kind: type[PipelineError] = TransientError if code in _PASSING_ITEM_CODES else StorageError
        raise kind(message)


def table_input(table: Table, location: str) -> dict[str, Any]:
    """Return the Glue TableInput of a table: what the code expects in the catalog."""
    return {
        "Name": table.name,
        "Description": _catalog_text(table.description, _DESCRIPTION_UNITS),
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"EXTERNAL": "TRUE", "classification": "parquet"},
        "PartitionKeys": [_glue_column(column) for column in table.partition_columns],
        "StorageDescriptor": {
            "Columns": [_glue_column(column) for column in table.columns],
            "Location": location,
            **_PARQUET_FORMAT,
        },
    }


def evolved_input(table: Table, present: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the Glue TableInput that brings a table to this version's columns; None if there is nothing to do.

    Missing columns are added in their place, and a Gold table's decimals are widened. A table that would lose or retype
    a column is left to `schema_faults`. Everything else is kept, including what others have written into the table's
    description and parameters.
    """
    found = [dict(each) for each in present.get("StorageDescriptor", {}).get("Columns", [])]
    wanted = {column.name: column for column in table.columns}
    narrow = [
        each
        for each in found
        if table.database == "gold"
        and each["Name"] in wanted
        and _is_narrower_decimal(each["Type"], wanted[each["Name"]].type)
    ]
    for each in narrow:
        each["Type"] = wanted[each["Name"]].type
    have = {each["Name"]: each for each in found}
    columns = [have.get(name) or _glue_column(column) for name, column in wanted.items()]
    in_order = [each for each in columns if each["Name"] in have] == found
    if not in_order or (not narrow and len(columns) == len(found)):
        return None
    kept = {name: present[name] for name in _TABLE_INPUT_FIELDS if name in present}
    return {**kept, "StorageDescriptor": {**present["StorageDescriptor"], "Columns": columns}}


def _is_narrower_decimal(found: str, wanted: str) -> bool:
    """Return whether a type is a decimal with the wanted scale but a smaller precision."""
    narrow, wide = (_DECIMAL.fullmatch(each.replace(" ", "").lower()) for each in (found, wanted))
    return bool(narrow and wide and narrow[2] == wide[2] and int(narrow[1]) < int(wide[1]))


def schema_faults(table: Table, present: Mapping[str, Any]) -> list[str]:
    """Return in which columns or partition keys a Glue table differs from its definition."""
    faults = []
    for what, wanted, found in (
        ("column", table.columns, present.get("StorageDescriptor", {}).get("Columns", [])),
        ("partition key", table.partition_columns, present.get("PartitionKeys", [])),
    ):
        have = {each["Name"]: each["Type"].replace(" ", "").lower() for each in found}
        for column in wanted:
            if column.name not in have:
                faults.append(f"{what} {column.name} {column.type} is missing")
            elif have[column.name] != column.type:
                faults.append(f"{what} {column.name} is {have[column.name]}, not {column.type}")
        names = [column.name for column in wanted]
        faults += [f"{what} {name} is unknown" for name in have if name not in names]
        if not faults and list(have) != names:
            faults.append(f"the {what}s are in the order {', '.join(have)}, not {', '.join(names)}")
    return faults


def _glue_column(column: Column) -> dict[str, str]:
    return {"Name": column.name, "Type": column.type, "Comment": _catalog_text(column.meaning, _COMMENT_UNITS)}


def _catalog_text(text: str, most: int) -> str:
    """Return a text that Glue accepts: one line without control characters, truncated.

    Glue counts UTF-16 units: a character beyond the first 65,536 counts twice.
    """
    line = "".join(each if each.isprintable() else " " for each in text)
    return line.encode("utf-16-le")[: 2 * most].decode("utf-16-le", "ignore")


def _columns(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each["Name"], each["Type"]) for each in table.get("StorageDescriptor", {}).get("Columns", [])]


def _entry(table: str, partition: Mapping[str, Any], whole: bool) -> GlueEntry:
    descriptor = partition.get("StorageDescriptor", {})
    return GlueEntry(
        table,
        _path(table, partition["Values"]),
        descriptor.get("Location", ""),
        partition.get("Parameters") or {},
        _storage(descriptor) if whole else None,
    )


def _storage(descriptor: Mapping[str, Any]) -> Storage:
    """Return how files are read according to a storage descriptor."""
    columns = [(str(each["Name"]), str(each["Type"])) for each in descriptor.get("Columns", [])]
    serde = descriptor.get("SerdeInfo") or {}
    classes = (
        ("input", str(descriptor.get("InputFormat", ""))),
        ("output", str(descriptor.get("OutputFormat", ""))),
        ("serde", str(serde.get("SerializationLibrary", ""))),
    )
    return (*columns, *classes)


def _path(table: str, values: Sequence[str]) -> str:
    """Return the Hive path of a partition's values."""
    names = ("event_date",) if table.startswith("gold.") else tuple(column.name for column in LANDING_HOUR_COLUMNS)
    return "/".join(f"{name}={value}" for name, value in zip(names, values, strict=False))


def _values(partition: str) -> list[str]:
    return [part.partition("=")[2] for part in partition.split("/")]


def _hours_expression(hours: HourRange) -> str:
    """Return the partition expression for a range of hours; at its ends it includes other hours of the same days."""
    if (hours.last_day - hours.first_day).days > 31 * _MOST_MONTHS_IN_EXPRESSION:
        return ""
    months = []
    for (year, month), group in groupby(hours.days, key=lambda day: (f"{day.year:04}", f"{day:%m}")):
        days = list(group)
        months.append(f"(year = '{year}' AND month = '{month}' AND day >= '{days[0]:%d}' AND day <= '{days[-1]:%d}')")
    return " OR ".join(months) if len(months) <= _MOST_MONTHS_IN_EXPRESSION else ""


def _days_expression(first: date, last: date) -> str:
    return f"event_date >= '{first}' AND event_date <= '{last}'"


def _totals(stored: Any) -> DayTotals:
    """Read control totals; older versions of the pipeline stored a list, and partials have none."""
    if isinstance(stored, list):
        stored = dict(zip(_LISTED_MEASURES, stored, strict=False))
    return DayTotals.of_measures(stored)


def _batches(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + most] for start in range(0, len(items), most))
