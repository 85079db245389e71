"""How tables and numbers look on Dagster's pages: column schemas, Markdown tables, links to files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from event_pipeline.rules.contract import Table

OWNERS = ["team:data-engineering"]


def table_metadata(table: Table) -> dict[str, Any]:
    """Return what an asset that is a table shows on its page: the name for queries and the columns."""
    return {"dagster/table_name": table.full_name, "dagster/column_schema": column_schema(table)}


def column_schema(table: Table) -> dg.TableSchema:
    """Return the columns of a table with type and meaning, partition keys last."""
    return dg.TableSchema(
        columns=[
            *(dg.TableColumn(column.name, column.type, column.meaning) for column in table.columns),
            *(
                dg.TableColumn(column.name, column.type, f"{column.meaning} (partition key)")
                for column in table.partition_columns
            ),
        ]
    )


def file_reference(path: Path) -> dict[str, Any]:
    """Return the link to a file that defines an asset, beside the link to the function that makes it."""
    reference = dg.LocalFileCodeReference(file_path=str(path.absolute()), line_number=1, label=path.name)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """Return a table that Dagster shows inline; a null is an empty cell."""
    lines = [header, ["---"] * len(header), *rows]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines))


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
