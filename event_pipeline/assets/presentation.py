"""How tables, numbers and text of strangers look on Dagster's pages: column schemas, Markdown tables, links to files.

Object names, field names and the messages of errors are text of strangers, and Dagster shows descriptions and tables as
Markdown: an image in it is fetched by every browser that opens the page. So text of data is a code span of visible
characters wherever it is not a plain name, and never lone surrogates, for which GraphQL answers 500.
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
"""Of one text of data in a description or a cell; what is longer is cut."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./=+,;%() -]*(?::[A-Za-z0-9_.=+,;%() -]+)*")
"""Text that Markdown shows as it is: no address, no markup, nothing at its start that makes a list or a heading."""


_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")
_MARKUP = re.compile(r"[<\[]|://|www\.|\w@\w", re.IGNORECASE)
"""What makes a link, an image or a tag of text."""


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


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata whose names and texts are visible characters."""
    return {printable(name): printable(value) if isinstance(value, str) else value for name, value in metadata.items()}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """Return a table that Dagster shows inline; a null is an empty cell, any text that is no plain name a code span."""
    lines = [[quoted(name) for name in header], ["---"] * len(header), *(list(map(_cell, row)) for row in rows)]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def quoted(text: str) -> str:
    """Return a text of data for a description: as it is when it is a plain name, else as a code span."""
    shown = printable(text)
    if len(shown) > MOST_CHARACTERS:
        shown = f"{shown[:MOST_CHARACTERS]}..."
    return shown if _PLAIN.fullmatch(shown) and "www." not in shown.lower() else code_span(shown)


def described(text: str) -> str:
    """Return what a check says, as Markdown that holds no links, images or tags: whole as a code span if it would."""
    shown = printable(text)
    return code_span(shown) if _MARKUP.search(_CODE_SPAN.sub("", shown)) else shown


def code_span(text: str) -> str:
    """Return a text as Markdown's code span, in which nothing is markup; it fits into a cell of a table."""
    # A bar ends a cell, in a code span as well. Behind a backslash no escape of it is read alike by all readers.
    shown = re.sub(r"(\\?)\|", lambda found: r"\\x7c" if found[1] else r"\|", printable(text))
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    # An empty code span is none, and one space at either end is taken away by who reads it.
    return (
        f"{fence} {shown} {fence}" if not shown or shown[0] in "` " or shown[-1] in "` " else f"{fence}{shown}{fence}"
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, Number) else quoted(str(value))
