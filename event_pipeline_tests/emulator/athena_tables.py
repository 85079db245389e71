"""Catalog tables as DuckDB views over exactly the files of registered partitions, type-checked as Athena does.

Parquet and JSON only. A partition's files are all objects below its location, whoever wrote them; a location
without objects has no rows and is no error, as on S3.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError
from sqlglot import exp

from event_pipeline_tests.emulator.athena_outcome import QueryFailedError
from event_pipeline_tests.emulator.inside import Inside, split_uri

PATH_COLUMN = "$path"
_DECIMAL = re.compile(r"decimal\((\d+), ?(\d+)\)")


@dataclass(frozen=True, slots=True)
class Definition:
    """One table of the catalog."""

    database: str
    name: str
    described: dict[str, Any]
    """The Table structure of Glue's API."""

    @property
    def storage(self) -> dict[str, Any]:
        """Its storage descriptor."""
        found: dict[str, Any] = self.described["StorageDescriptor"]
        return found

    @property
    def columns(self) -> dict[str, str]:
        """Data columns: name -> Glue type."""
        return {column["Name"]: column["Type"].lower() for column in self.storage["Columns"]}

    @property
    def keys(self) -> dict[str, str]:
        """Partition columns: name -> Glue type."""
        return {column["Name"]: column["Type"].lower() for column in self.described.get("PartitionKeys", ())}

    @property
    def location(self) -> str:
        """Its own folder, ending with a slash."""
        return str(self.storage["Location"]).rstrip("/") + "/"


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, or all of an unpartitioned table."""

    values: tuple[str, ...]
    location: str
    storage: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _File:
    """One object of a partition, copied to a local file."""

    path: Path
    uri: str
    values: tuple[str, ...]


def sql_type(glue_type: str, dialect: str) -> str:
    """Return a Glue type as `duckdb` or `trino` writes it."""
    return exp.DataType.build(glue_type, dialect="hive").sql(dialect)


class Tables:
    """Reads what the Glue catalog describes."""

    def __init__(self, inside: Inside, folder: Path) -> None:
        self._inside = inside
        self._folder = folder
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def definition(self, database: str, name: str) -> Definition:
        """Return a table of the catalog.

        Raises:
            QueryFailedError: there is no such database or table.
        """
        glue = self._inside.glue
        self._inside.require("glue", "GetDatabase", Name=database)
        try:
            return Definition(database, name, glue.get_table(DatabaseName=database, Name=name)["Table"])
        except glue.exceptions.EntityNotFoundException:
            pass
        try:
            glue.get_database(Name=database)
        except glue.exceptions.EntityNotFoundException:
            raise QueryFailedError(f"SCHEMA_NOT_FOUND: line 1:15: Schema '{database}' does not exist") from None
        raise QueryFailedError(
            f"TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.{database}.{name}' does not exist", error_type=1301
        )

    def partitions(self, definition: Definition) -> list[Partition]:
        """Return the partitions that queries see: the registered ones, or those a projection finds."""
        if not definition.keys:
            return [Partition((), definition.location, definition.storage)]
        if definition.described.get("Parameters", {}).get("projection.enabled", "").lower() == "true":
            return self._projected(definition)
        return self.registered(definition)

    def registered(self, definition: Definition) -> list[Partition]:
        """Return the partitions that the catalog holds."""
        pages = self._inside.glue.get_paginator("get_partitions").paginate(
            DatabaseName=definition.database, TableName=definition.name
        )
        return [
            Partition(
                tuple(found["Values"]), found["StorageDescriptor"].get("Location", ""), found["StorageDescriptor"]
            )
            for page in pages
            for found in page["Partitions"]
        ]

    def folders(self, definition: Definition) -> dict[tuple[str, ...], str]:
        """Return the Hive folders below a table's own location that hold objects: values -> location."""
        prefix = split_uri(definition.location)[1]
        found = {}
        for described in self._objects(definition.location):
            parts = described["Key"].removeprefix(prefix).split("/")[: len(definition.keys)]
            pairs = [part.partition("=") for part in parts]
            if [name for name, _, _ in pairs] == list(definition.keys):
                found[tuple(unquote(value) for _, _, value in pairs)] = definition.location + "/".join(parts) + "/"
        return found

    def view(
        self,
        connection: duckdb.DuckDBPyConnection,
        definition: Definition,
        partitions: Sequence[Partition],
        wanted: set[str],
    ) -> tuple[str, int]:
        """Make a view of the wanted columns of some partitions; return its name and the bytes that reading it costs.

        Raises:
            QueryFailedError: a file does not fit the table, or cannot be read.
        """
        name = f"scan_{next(self._numbers)}"
        columns = {column: type_ for column, type_ in definition.columns.items() if column in wanted}
        readable = "parquet" if _is_parquet(definition.storage) else "json"
        for partition in partitions:
            _check_partition(definition, partition, columns)
        files = [file for partition in partitions for file in self._files(partition)]
        if readable == "parquet":
            selects, scanned = _parquet_selects(connection, name, definition, columns, files)
        else:
            selects, scanned = _json_selects(connection, name, definition, columns, files)
        keys = {key: type_ for key, type_ in definition.keys.items() if key in wanted}
        nothing = [
            f'CAST(NULL AS {sql_type(type_, "duckdb")}) AS "{key}"' for key, type_ in {**columns, **keys}.items()
        ]
        nothing.append(f'CAST(NULL AS VARCHAR) AS "{PATH_COLUMN}"')
        selects.append(f"SELECT {', '.join(nothing)} WHERE false")
        connection.execute(f'CREATE VIEW "{name}" AS {" UNION ALL BY NAME ".join(selects)}')
        return name, scanned

    def _projected(self, definition: Definition) -> list[Partition]:
        """Only values whose folder exists can hold rows; the template is the Hive layout."""
        parameters = definition.described["Parameters"]
        if "storage.location.template" in parameters:
            raise QueryFailedError("NOT_SUPPORTED: storage.location.template is not emulated")
        allowed = [_projection(parameters, key) for key in definition.keys]
        return [
            Partition(values, location, definition.storage)
            for values, location in self.folders(definition).items()
            if all(fits(value) for fits, value in zip(allowed, values, strict=True))
        ]

    def _objects(self, location: str) -> list[dict[str, Any]]:
        try:
            found = self._inside.objects(location)
        except ClientError as error:
            raise QueryFailedError(f"HIVE_METASTORE_ERROR: {error.response['Error']['Message']}: {location}") from error
        # Hive's convention: such names are hidden.
        return [one for one in found if one["Size"] and not one["Key"].rpartition("/")[2].startswith(("_", "."))]

    def _files(self, partition: Partition) -> Iterator[_File]:
        bucket = split_uri(partition.location)[0]
        for described in self._objects(partition.location):
            uri = f"s3://{bucket}/{described['Key']}"
            yield _File(self._copy(bucket, described, uri), uri, partition.values)

    def _copy(self, bucket: str, described: dict[str, Any], uri: str) -> Path:
        digest = hashlib.sha256(f"{uri} {described['ETag']}".encode()).hexdigest()
        path = self._folder / f"{digest}{'.gz' if described['Key'].endswith('.gz') else ''}"
        # Also where a query before this one has fetched it.
        self._require_object(bucket, described["Key"], uri)
        with self._lock:
            if not path.exists():
                try:
                    answer = self._inside.s3.get_object(Bucket=bucket, Key=described["Key"], IfMatch=described["ETag"])
                except ClientError as error:
                    # It was there a moment ago: replaced or deleted under the query.
                    raise QueryFailedError(
                        f"HIVE_CANNOT_OPEN_SPLIT: Error opening Hive split {uri}: {error}", error_type=1001
                    ) from error
                path.write_bytes(answer["Body"].read())
        return path

    def _require_object(self, bucket: str, key: str, uri: str) -> None:
        try:
            self._inside.require("s3", "GetObject", Bucket=bucket, Key=key)
        except ClientError as error:
            raise QueryFailedError(
                f"HIVE_CANNOT_OPEN_SPLIT: Error opening Hive split {uri}: {error}", error_type=402
            ) from error


def _is_parquet(storage: dict[str, Any]) -> bool:
    library = storage.get("SerdeInfo", {}).get("SerializationLibrary", "")
    if "parquet" in library.lower():
        return True
    if "json" in library.lower():
        return False
    raise QueryFailedError(f"HIVE_UNSUPPORTED_FORMAT: the emulator reads Parquet and JSON, not {library!r}")


def _check_partition(definition: Definition, partition: Partition, columns: dict[str, str]) -> None:
    storage = partition.storage
    if not storage.get("SerdeInfo", {}).get("SerializationLibrary") or not storage.get("InputFormat"):
        raise QueryFailedError(
            f"HIVE_UNSUPPORTED_FORMAT: Unable to create input format of partition {partition.values} of "
            f"{definition.database}.{definition.name}: its storage descriptor has no SerDe or input format",
            error_type=1004,
        )
    declared = {column["Name"]: column["Type"].lower() for column in storage.get("Columns", ())}
    for name, type_ in columns.items():
        if not _is_coerced(declared.get(name, type_), type_):
            raise QueryFailedError(
                "HIVE_PARTITION_SCHEMA_MISMATCH: There is a mismatch between the table and partition schemas. The "
                f"types are incompatible and cannot be coerced. The column '{name}' in table "
                f"'{definition.database}.{definition.name}' is declared as type '{type_}', but partition "
                f"'{'/'.join(partition.values)}' declared column '{name}' as type '{declared[name]}'.",
                error_type=1004,
            )


def _is_coerced(of_partition: str, of_table: str) -> bool:
    """Return whether Athena gives a partition's column the table's type: the same, or a wider decimal.

    Trino's Hive connector documents more conversions; only what the pipeline needs is emulated.
    """
    narrow, wide = _DECIMAL.fullmatch(of_partition), _DECIMAL.fullmatch(of_table)
    if narrow and wide:
        return narrow[2] == wide[2] and int(narrow[1]) <= int(wide[1])
    return of_partition == of_table


def _projection(parameters: dict[str, str], key: str) -> Callable[[str], bool]:
    """Return what values a projected partition key allows."""
    kind = parameters.get(f"projection.{key}.type")
    if kind == "integer":
        first, last = (int(part) for part in parameters[f"projection.{key}.range"].split(","))
        digits = int(parameters.get(f"projection.{key}.digits", 1))
        return lambda value: value.isdecimal() and len(value) >= digits and first <= int(value) <= last
    if kind == "enum":
        values = parameters[f"projection.{key}.values"].split(",")
        return lambda value: value in values
    raise QueryFailedError(f"INVALID_TABLE_PROPERTY: projection.{key}.type {kind!r}: emulated are integer and enum")


def _parquet_selects(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    definition: Definition,
    columns: dict[str, str],
    files: list[_File],
) -> tuple[list[str], int]:
    """Return one SELECT per shape of file, and the bytes of the wanted columns."""
    scanned = 0
    # DuckDB would take every file's columns for the types of the first one.
    alike: dict[tuple[tuple[str, ...], str], list[_File]] = {}
    for file in files:
        try:
            metadata = pq.read_metadata(file.path)
        except pa.ArrowInvalid as error:
            raise QueryFailedError(
                f"HIVE_BAD_DATA: Malformed Parquet file: {file.uri} [{error}]", error_type=1001
            ) from None
        schema = metadata.schema.to_arrow_schema()
        held = {field.name.lower(): field for field in schema}
        scanned += metadata.serialized_size + 8 + _column_bytes(metadata, columns)
        expressions = []
        for column, type_ in columns.items():
            target = sql_type(type_, "duckdb")
            if column not in held:
                expressions.append(f'CAST(NULL AS {target}) AS "{column}"')
                continue
            field = held[column]
            if not fits(field.type, type_):
                raise QueryFailedError(
                    f"HIVE_BAD_DATA: Field {column}'s type {_parquet_type(metadata, field.name)} in parquet file "
                    f"{file.uri} is incompatible with type {type_} defined in table schema",
                    error_type=1001,
                )
            source = f'f."{field.name}"'
            if type_ == "timestamp":
                # Athena's timestamp has milliseconds; what is finer is rounded.
                source = f"make_timestamp((round(epoch_us({source}) / 1000.0) * 1000)::BIGINT)"
            expressions.append(f'CAST({source} AS {target}) AS "{column}"')
        types = ", ".join(str(held[column].type) for column in columns if column in held)
        alike.setdefault((tuple(expressions), types), []).append(file)
    selects = []
    for number, ((shape, _), group) in enumerate(alike.items()):
        known = f"{name}_files_{number}"
        connection.register(known, _file_table(definition, group))
        paths = ", ".join(f"'{file.path}'" for file in group)
        selects.append(
            f"SELECT {', '.join([*shape, *_key_expressions(definition)])} "
            f"FROM read_parquet([{paths}], filename = true, hive_partitioning = false) AS f "
            f'JOIN "{known}" AS m ON m.file = f.filename'
        )
    return selects, scanned


def _column_bytes(metadata: pq.FileMetaData, columns: dict[str, str]) -> int:
    total = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            chunk = row_group.column(number)
            if chunk.path_in_schema.partition(".")[0].lower() in columns:
                total += chunk.total_compressed_size
    return total


def _file_table(definition: Definition, files: Sequence[_File]) -> pa.Table:
    data = {"file": [str(file.path) for file in files], "uri": [file.uri for file in files]}
    for number in range(len(definition.keys)):
        data[f"key_{number}"] = [file.values[number] for file in files]
    return pa.table({name: pa.array(values, pa.string()) for name, values in data.items()})


def _key_expressions(definition: Definition) -> list[str]:
    keys = [
        f'CAST(m.key_{number} AS {sql_type(type_, "duckdb")}) AS "{key}"'
        for number, (key, type_) in enumerate(definition.keys.items())
    ]
    return [*keys, f'm.uri AS "{PATH_COLUMN}"']


def _parquet_type(metadata: pq.FileMetaData, name: str) -> str:
    schema = metadata.schema
    types = [
        schema.column(number).physical_type
        for number in range(len(schema))
        if schema.column(number).path.partition(".")[0] == name
    ]
    return "/".join(types)


def fits(held: pa.DataType, glue_type: str) -> bool:
    """Return whether Athena reads a Parquet column of an Arrow type as a Glue type."""
    if glue_type == "string" or glue_type.startswith("varchar"):
        return held in (pa.string(), pa.large_string(), pa.binary())
    if decimal := _DECIMAL.fullmatch(glue_type):
        # Trino's Parquet reader takes narrower decimals of the same scale into the column's type.
        precision, scale = int(decimal[1]), int(decimal[2])
        return isinstance(held, pa.Decimal128Type) and held.precision <= precision and held.scale == scale
    if glue_type == "int":
        return held in (pa.int8(), pa.int16(), pa.int32())
    if glue_type == "bigint":
        return held in (pa.int8(), pa.int16(), pa.int32(), pa.int64())
    if glue_type == "double":
        return held in (pa.float32(), pa.float64())
    if glue_type == "boolean":
        return bool(held == pa.bool_())
    if glue_type == "date":
        return bool(held == pa.date32())
    if glue_type == "timestamp":
        return bool(pa.types.is_timestamp(held))
    if glue_type.startswith("map<"):
        return bool(pa.types.is_map(held))
    raise QueryFailedError(f"NOT_SUPPORTED: the emulator does not read Parquet columns as {glue_type!r}")


def _json_selects(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    definition: Definition,
    columns: dict[str, str],
    files: list[_File],
) -> tuple[list[str], int]:
    """JSON is read whole, every column as text; a line that is no object fails the query."""
    if others := {column: type_ for column, type_ in columns.items() if type_ != "string"}:
        raise QueryFailedError(f"NOT_SUPPORTED: the emulator reads JSON columns as string only, not {others}")
    parameters = definition.storage["SerdeInfo"].get("Parameters", {})
    fields = {column: parameters.get(f"mapping.{column}", column) for column in columns}
    lenient = parameters.get("ignore.malformed.json", "false").lower() == "true"
    selects = []
    for number, file in enumerate(files):
        rows = [_json_row(line, file, fields, lenient) for line in _json_lines(file)]
        data = {column: pa.array([row[column] for row in rows], pa.string()) for column in columns}
        # A table without columns would forget how many rows it has.
        data["row"] = pa.array(range(len(rows)), pa.int64())
        held, known = f"{name}_rows_{number}", f"{name}_files_{number}"
        connection.register(held, pa.table(data))
        connection.register(known, _file_table(definition, [file]))
        expressions = [*(f'f."{column}"' for column in columns), *_key_expressions(definition)]
        selects.append(f'SELECT {", ".join(expressions)} FROM "{held}" AS f CROSS JOIN "{known}" AS m')
    return selects, sum(file.path.stat().st_size for file in files)


def _json_lines(file: _File) -> Iterator[bytes]:
    # Hive tells compression by the name's end, not by Content-Encoding and not by the bytes.
    data = file.path.read_bytes()
    if file.path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise QueryFailedError(f"HIVE_CURSOR_ERROR: Failed to read file: {file.uri} ({error})") from error
    return (line for line in data.split(b"\n") if line.strip())


def _json_row(line: bytes, file: _File, fields: dict[str, str], lenient: bool) -> dict[str, str | None]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        if lenient:
            return dict.fromkeys(fields)
        raise QueryFailedError(
            f"HIVE_CURSOR_ERROR: Row is not a valid JSON Object - JSONException in {file.uri}: {line[:80]!r}"
        )
    return {column: _json_text(record.get(field)) for column, field in fields.items()}


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)
