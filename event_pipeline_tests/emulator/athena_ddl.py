"""DDL as calls to the Glue catalog: databases, external tables, and the partitions of a table."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import ClientError
from sqlglot import exp
from sqlglot.errors import ParseError

from event_pipeline_tests.emulator.athena_outcome import Outcome, QueryFailedError, lines
from event_pipeline_tests.emulator.athena_tables import Definition, Tables
from event_pipeline_tests.emulator.inside import Inside

_NAME = r"[`\"]?([\w]+)[`\"]?(?:\.[`\"]?([\w]+)[`\"]?)?"
_CREATE_DATABASE = re.compile(
    r"CREATE\s+(?:DATABASE|SCHEMA)\s+(IF\s+NOT\s+EXISTS\s+)?[`\"]?(\w+)[`\"]?"
    r"(?:\s+COMMENT\s+'([^']*)')?(?:\s+LOCATION\s+'([^']*)')?",
    re.I,
)
_SHOW_PARTITIONS = re.compile(rf"SHOW\s+PARTITIONS\s+{_NAME}", re.I)
_REPAIR = re.compile(rf"MSCK\s+REPAIR\s+TABLE\s+{_NAME}", re.I)
_ALTER = re.compile(rf"ALTER\s+TABLE\s+{_NAME}\s+(.*)", re.I | re.S)
_CREATE_TABLE = re.compile(r"CREATE\s+EXTERNAL\s+TABLE\b", re.I)
_SPECIFICATION = r"PARTITION\s*\(([^)]*)\)"
_ADD = re.compile(rf"ADD\s+(IF\s+NOT\s+EXISTS\s+)?((?:{_SPECIFICATION}\s*(?:LOCATION\s*'[^']*'\s*)?)+)", re.I)
_DROP = re.compile(rf"DROP\s+(IF\s+EXISTS\s+)?((?:{_SPECIFICATION}\s*,?\s*)+)", re.I)
_SET_LOCATION = re.compile(rf"{_SPECIFICATION}\s*SET\s+LOCATION\s*'([^']*)'", re.I)
_ONE_PARTITION = re.compile(rf"{_SPECIFICATION}\s*(?:LOCATION\s*'([^']*)')?", re.I)
_PAIR = re.compile(r"\s*[`\"]?(\w+)[`\"]?\s*=\s*'([^']*)'\s*(?:,|$)")
_PARTITIONS_PER_CALL = 100

_PARQUET = (
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
)
_TEXT = (
    "org.apache.hadoop.mapred.TextInputFormat",
    "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
    "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
)


class Ddl:
    """Runs DDL statements."""

    def __init__(self, inside: Inside, tables: Tables) -> None:
        self._glue = inside.glue
        self._tables = tables

    def run(self, sql: str, database: str) -> Outcome:
        """Run one DDL statement; `database` is where unqualified names are looked up.

        Raises:
            QueryFailedError: it is not understood, or the catalog refuses it.
        """
        try:
            if found := _CREATE_DATABASE.fullmatch(sql):
                return self._create_database(*found.groups())
            if _CREATE_TABLE.match(sql):
                return self._create_table(sql, database)
            if found := _SHOW_PARTITIONS.fullmatch(sql):
                return self._show_partitions(self._table(found, database))
            if found := _REPAIR.fullmatch(sql):
                return self._repair(self._table(found, database))
            if found := _ALTER.fullmatch(sql):
                return self._alter(self._table(found, database), found[3].strip())
        except ClientError as error:
            said = error.response["Error"]
            raise QueryFailedError(f"FAILED: Execution Error, {said['Code']}: {said['Message']}") from error
        raise QueryFailedError(f"FAILED: ParseException line 1:0 cannot recognize input near {sql[:40]!r}")

    def _table(self, found: re.Match[str], database: str) -> Definition:
        first, second = found[1], found[2]
        return self._tables.definition(first if second else database, second or first)

    def _create_database(
        self, unless_there: str | None, name: str, comment: str | None, location: str | None
    ) -> Outcome:
        described = {"Name": name.lower(), "Description": comment, "LocationUri": location}
        try:
            self._glue.create_database(DatabaseInput={key: value for key, value in described.items() if value})
        except self._glue.exceptions.AlreadyExistsException as error:
            if not unless_there:
                raise QueryFailedError(f"FAILED: Execution Error, Database {name} already exists") from error
        return lines("result", [])

    def _create_table(self, sql: str, database: str) -> Outcome:
        try:
            created: exp.Expr = exp.maybe_parse(sql, dialect="athena")
        except ParseError as error:
            raise QueryFailedError(f"FAILED: ParseException {str(error).splitlines()[0]}") from error
        if not isinstance(created, exp.Create) or not isinstance(created.this, exp.Schema):
            raise QueryFailedError("FAILED: ParseException: CREATE EXTERNAL TABLE needs columns")
        table = created.this.this
        described = _table_input(created, table.name)
        try:
            self._glue.create_table(DatabaseName=table.db or database, TableInput=described)
        except self._glue.exceptions.AlreadyExistsException as error:
            if not created.args.get("exists"):
                raise QueryFailedError(f"FAILED: Execution Error, Table {table.name} already exists") from error
        return lines("result", [])

    def _show_partitions(self, definition: Definition) -> Outcome:
        keys = list(definition.keys)
        shown = [
            "/".join(f"{key}={value}" for key, value in zip(keys, partition.values, strict=True))
            for partition in self._tables.registered(definition)
        ]
        return lines("partition", sorted(shown))

    def _repair(self, definition: Definition) -> Outcome:
        """Only adds what it finds below the table's own location; drops nothing."""
        there = {partition.values for partition in self._tables.registered(definition)}
        new = [(values, place) for values, place in self._tables.folders(definition).items() if values not in there]
        for start in range(0, len(new), _PARTITIONS_PER_CALL):
            self._glue.batch_create_partition(
                DatabaseName=definition.database,
                TableName=definition.name,
                PartitionInputList=[
                    _partition_input(definition, list(values), place)
                    for values, place in new[start : start + _PARTITIONS_PER_CALL]
                ],
            )
        keys = list(definition.keys)
        paths = ["/".join(f"{k}={v}" for k, v in zip(keys, values, strict=True)) for values, _ in new]
        return lines("result", [f"Repair: Added partition to metastore {definition.name}:{path}" for path in paths])

    def _alter(self, definition: Definition, action: str) -> Outcome:
        where = {"DatabaseName": definition.database, "TableName": definition.name}
        if found := _SET_LOCATION.fullmatch(action):
            values = _values(definition, found[1])
            described = _partition_input(definition, values, found[2])
            self._glue.update_partition(**where, PartitionValueList=values, PartitionInput=described)
        elif found := _ADD.fullmatch(action):
            for specification, location in _ONE_PARTITION.findall(found[2]):
                values = _values(definition, specification)
                try:
                    self._glue.create_partition(**where, PartitionInput=_partition_input(definition, values, location))
                except self._glue.exceptions.AlreadyExistsException as error:
                    if not found[1]:
                        raise QueryFailedError(f"FAILED: Partition already exists: {values}") from error
        elif found := _DROP.fullmatch(action):
            for specification, _ in _ONE_PARTITION.findall(found[2]):
                values = _values(definition, specification)
                try:
                    self._glue.delete_partition(**where, PartitionValues=values)
                except self._glue.exceptions.EntityNotFoundException as error:
                    if not found[1]:
                        raise QueryFailedError(f"FAILED: Partition not found {values}") from error
        else:
            raise QueryFailedError(f"FAILED: ParseException: ALTER TABLE ... {action[:40]!r} is not emulated")
        return lines("result", [])


def _values(definition: Definition, specification: str) -> list[str]:
    """Return a partition's values in the order of the table's keys."""
    pairs = {}
    rest = specification
    while rest.strip():
        pair = _PAIR.match(rest)
        if not pair:
            raise QueryFailedError(f"FAILED: ParseException: partition ({specification}): write key = 'value'")
        pairs[pair[1].lower()] = pair[2]
        rest = rest[pair.end() :]
    if set(pairs) != set(definition.keys):
        raise QueryFailedError(
            f"FAILED: SemanticException partition ({specification}) must name {list(definition.keys)}"
        )
    return [pairs[key] for key in definition.keys]


def _partition_input(definition: Definition, values: list[str], location: str) -> dict[str, Any]:
    path = "/".join(f"{key}={value}" for key, value in zip(definition.keys, values, strict=True))
    storage = {**definition.storage, "Location": location or f"{definition.location}{path}/"}
    return {"Values": values, "StorageDescriptor": storage}


def _table_input(created: exp.Create, name: str) -> dict[str, Any]:
    location, serde, stored, keys = "", "", _TEXT, []
    serde_parameters: dict[str, str] = {}
    parameters = {"EXTERNAL": "TRUE"}
    for node in created.args["properties"].expressions:
        if isinstance(node, exp.LocationProperty):
            location = node.this.name
        elif isinstance(node, exp.PartitionedByProperty):
            keys = _columns(node.this)
        elif isinstance(node, exp.FileFormatProperty):
            if node.this.name.upper() != "PARQUET":
                raise QueryFailedError(f"NOT_SUPPORTED: the emulator creates no tables STORED AS {node.this.name}")
            stored = _PARQUET
        elif isinstance(node, exp.RowFormatSerdeProperty):
            serde = node.this.name
            if node.args.get("serde_properties"):
                serde_parameters = _pairs(node.args["serde_properties"].expressions)
        elif isinstance(node, exp.SerdeProperties):
            serde_parameters = _pairs(node.expressions)
        elif isinstance(node, exp.Property) and type(node) is exp.Property:
            parameters.update(_pairs([node]))
        elif not isinstance(node, exp.ExternalProperty | exp.SchemaCommentProperty):
            raise QueryFailedError(f"NOT_SUPPORTED: the emulator does not know {node.sql('athena')!r} of a table")
    if not location:
        raise QueryFailedError("FAILED: SemanticException: CREATE EXTERNAL TABLE needs a LOCATION")
    input_format, output_format, library = stored
    return {
        "Name": name.lower(),
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "PartitionKeys": keys,
        "StorageDescriptor": {
            "Columns": _columns(created.this),
            "Location": location,
            "InputFormat": input_format,
            "OutputFormat": output_format,
            "SerdeInfo": {"SerializationLibrary": serde or library, "Parameters": serde_parameters},
        },
    }


def _columns(schema: exp.Expr) -> list[dict[str, str]]:
    found = []
    for column in schema.find_all(exp.ColumnDef):
        described = {"Name": column.name.lower(), "Type": column.args["kind"].sql("hive").lower().replace(", ", ",")}
        for constraint in column.find_all(exp.CommentColumnConstraint):
            described["Comment"] = constraint.this.name
        found.append(described)
    return found


def _pairs(properties: list[exp.Expr]) -> dict[str, str]:
    return {node.this.name: node.args["value"].name for node in properties}
