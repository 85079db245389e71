"""Formats tables, numbers and untrusted text for Dagster's pages: column schemas, Markdown tables, links to files.

Object names, field names and error messages are untrusted, and Dagster renders descriptions and tables as Markdown: an
image in it is fetched by every browser that opens the page. So text from data becomes a code span of visible characters
unless it is a plain name, and never contains lone surrogates, for which GraphQL answers 500.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

import dagster as dg

from event_pipeline.rules.contract import Table
from event_pipeline.rules.printable import printable

OWNERS = ["team:data-engineering"]

MOST_CHARACTERS = 300
"""Characters of one text from data in a description or a cell; longer text is truncated."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./=+,;%() -]*(?::[A-Za-z0-9_.=+,;%() -]+)*")
"""Text that Markdown shows unchanged: no address, no markup, nothing at its start that makes a list or a heading."""


_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")
_MARKUP = re.compile(r"[<\[]|://|www\.|\w@\w", re.IGNORECASE)
"""What turns text into a link, an image or a tag."""


def table_metadata(table: Table) -> dict[str, Any]:
    """Return the metadata of an asset that is a table: the name for queries and the columns."""
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


def column_lineage(asset: str, sources: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the metadata that says from which columns of another asset each column is made.

    Only Dagster+ draws it; the web server of this project has the table.
    """
    return {
        f"columns made from {asset}": markdown_table(
            ("column", f"columns of {asset}"), [(column, ", ".join(of)) for column, of in sources.items()]
        ),
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(asset_key=dg.AssetKey(asset), column_name=name) for name in of_column]
                for column, of_column in sources.items()
            }
        ),
    }


def file_references(*paths: Path) -> dict[str, Any]:
    """Return the links to files that define or explain an asset, next to the link to its function."""
    references: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = [
        dg.LocalFileCodeReference(file_path=str(path.absolute()), line_number=1, label=path.name) for path in paths
    ]
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=references)}


def sql_block(sql: str) -> dg.MarkdownMetadataValue:
    """Return a statement of the project's own files, which Dagster highlights."""
    return dg.MetadataValue.md(f"```sql\n{sql.strip()}\n```")


def seconds_text(seconds: float) -> str:
    """Format a duration with its unit: `0.84 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


_BAR_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bars(values: Sequence[Any]) -> list[str]:
    """Return a bar for each number of a narrow table, the largest twenty characters long."""
    largest = max((float(value or 0) for value in values), default=0)
    eighths = [round(float(value or 0) / largest * 8 * _BAR_CELLS) if largest > 0 else 0 for value in values]
    return ["█" * (each // 8) + _EIGHTHS[each % 8].strip() for each in eighths]


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata with only visible characters in names and texts."""
    return {printable(name): printable(value) if isinstance(value, str) else value for name, value in metadata.items()}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """Return a table that Dagster shows inline; null is an empty cell, text other than a plain name a code span."""
    lines = [[quoted(name) for name in header], ["---"] * len(header), *(list(map(_cell, row)) for row in rows)]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def quoted(text: str) -> str:
    """Return a text from data for a description: unchanged if it is a plain name, else as a code span."""
    shown = printable(text)
    if len(shown) > MOST_CHARACTERS:
        shown = f"{shown[:MOST_CHARACTERS]}..."
    return shown if _PLAIN.fullmatch(shown) and "www." not in shown.lower() else code_span(shown)


def described(text: str) -> str:
    """Return a check's description as Markdown without links, images or tags: one code span if it would have any."""
    shown = printable(text)
    return code_span(shown) if _MARKUP.search(_CODE_SPAN.sub("", shown)) else shown


def code_span(text: str) -> str:
    """Return a text as a Markdown code span, in which nothing is markup; it fits into a table cell."""
    # A bar ends a cell even in a code span, and renderers disagree on escapes after a backslash.
    shown = re.sub(r"(\\?)\|", lambda found: r"\\x7c" if found[1] else r"\|", printable(text))
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    # An empty code span does not render, and renderers strip one space at either end.
    return (
        f"{fence} {shown} {fence}" if not shown or shown[0] in "` " or shown[-1] in "` " else f"{fence}{shown}{fence}"
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, Number) else quoted(str(value))
