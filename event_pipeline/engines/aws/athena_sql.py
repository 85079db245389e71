"""The SQL of Gold by Athena: every section is one UNLOAD into a prefix of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from event_pipeline.engines.aws.athena import Athena
from event_pipeline.engines.aws.catalog import GlueCatalog, hour_values_of
from event_pipeline.engines.aws.costs import Meter
from event_pipeline.engines.aws.sql import ROWS_NAME, Source, Written, check_columns, data_file, stored_file, typed
from event_pipeline.engines.aws.storage import Bucket, StoredObject
from event_pipeline.engines.decisions import new_run_id
from event_pipeline.engines.dialect import parse_query, rename_databases, render, with_relations
from event_pipeline.errors import StorageError, TransientError
from event_pipeline.rules.contract import Column
from event_pipeline.settings import Settings

_MOST_UNLOADS = 3
"""Attempts at one query whose target holds other files than its manifest names."""
_COMPACTED_BYTES = 64 << 20
"""Files of UNLOAD that are together no larger become one; larger ones are worth a request each."""


class AthenaSql:
    """`engines.aws.sql.Sql` by the workgroup of the settings."""

    def __init__(self, athena: Athena, meter: Meter, catalog: GlueCatalog, lake: Bucket, settings: Settings) -> None:
        self.at_once = settings.athena_queries_at_once
        self._athena = athena
        self._meter = meter
        self._catalog = catalog
        self._lake = lake

    @property
    def bytes_in(self) -> int:
        """Bytes that Athena has scanned so far."""
        return self._meter.bytes_scanned

    def stop_all(self) -> None:
        """Stop the statements that other threads wait for."""
        self._athena.stop_all()

    def write(
        self,
        section: str,
        sources: Mapping[str, Source],
        table: str,
        columns: Sequence[Column],
        prefix_of: Callable[[str], str],
    ) -> Written:
        """Run one section of a Gold table into a prefix of its own; see the port.

        A partition shows every file below its location. So where other files are found than the manifest names, the
        prefix is left to housekeeping, and the query runs again into another one.
        """
        query = with_relations(parse_query(section), {name: _select(source) for name, source in sources.items()})
        renamed = rename_databases(typed(query, columns), lambda database: self._catalog.database(f"{database}."))
        select = render(renamed, "athena")
        odd = list[str]()
        for _ in range(_MOST_UNLOADS):
            run_id = new_run_id()
            target = self._lake.url(prefix_of(run_id))
            statement = f"UNLOAD ({select}) TO '{target}' WITH (format = 'PARQUET', compression = 'ZSTD')"
            execution = self._athena.run(statement, self._meter, token=run_id)
            stored = list(self._lake.list(prefix_of(run_id)))
            odd = sorted({self._lake.url(each.key) for each in stored} ^ self._athena.written(execution))
            if not odd:
                return self._compacted(run_id, stored, table, columns, prefix_of)
        raise TransientError(
            f"{table}: {_MOST_UNLOADS} times, other files were found than Athena says that UNLOAD wrote (the last time "
            f"{len(odd)}, first: {odd[0]}); nothing was published: run again"
        )

    def _compacted(
        self,
        run_id: str,
        stored: Sequence[StoredObject],
        table: str,
        columns: Sequence[Column],
        prefix_of: Callable[[str], str],
    ) -> Written:
        """Read what UNLOAD wrote, and put small files together to one, in a prefix of its own.

        UNLOAD writes about as many files as Athena has writers, however few rows there are, and every fold of a day
        reads the files of up to 200 hours. One PUT saves all of them as many GETs as there are files more.
        """
        files, tables = [], []
        for each in stored:
            found = self._lake.read(each.key)
            if found is None:
                raise TransientError(f"{self._lake.url(each.key)}: it vanished while it was read")
            try:
                # Athena may write timestamps as INT96, which has nanoseconds; its own have milliseconds.
                content = pq.read_table(pa.BufferReader(found[0]), coerce_int96_timestamp_unit="ms")
            except (pa.ArrowException, OSError) as error:
                raise StorageError(f"{self._lake.url(each.key)}: Athena's file cannot be read: {error}") from error
            check_columns(self._lake.url(each.key), content.schema, columns)
            files.append(data_file(table, each.key, content.num_rows, found[0]))
            tables.append(content)
        if len(files) > 1 and sum(file.size for file in files) <= _COMPACTED_BYTES:
            run_id, tables = new_run_id(), [pa.concat_tables(tables)]
            compacted = stored_file(self._lake, table, f"{prefix_of(run_id)}{ROWS_NAME}", tables[0])
            # Nobody was ever told of them. Where this breaks off, they are an abandoned build for housekeeping.
            self._lake.delete(file.path for file in files)
            files = [compacted]
        return Written(run_id, tuple(files), tables)


def _select(source: Source) -> exp.Query:
    """Return the rows of a source, as its partitions show them."""
    names = ", ".join(column.name for column in source.columns)
    of_day = f"event_date = DATE '{source.day}' AND " if source.day else ""
    return parse_query(f"SELECT {names} FROM {source.table.full_name} WHERE {of_day}{hour_values_of(source.files)}")
