"""Writes what follows from declarations into pages of `docs/` and into the template: `make fix` runs it.

A table of the contract page or the alerts page follows a line `<!-- table: NAME -->`; columns of the template follow a
line `Columns: # generated: NAME`, and the named queries of the query pack are between two comments. The reference pages
are written as a whole (`reference_pages.py`). Tests compare all of them with what would be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from event_pipeline.alerts.conditions import ALERT_RULES
from event_pipeline.engines.dialect import parse_query, rename_databases, render
from event_pipeline.rules.contract import (
    BRONZE_EVENTS,
    CARRIED_FIELDS,
    EVENT_TIME,
    EVENT_TYPE,
    EVENT_TYPES,
    FIELDS,
    HOUR_TABLES,
    LONG_LINE_HEAD_BYTES,
    OUT_OF_RANGE,
    Column,
    Field,
    Limits,
)
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import load_questions
from event_pipeline_tests.reference_pages import Rows, markdown_table, reference_pages

PROJECT = Path(__file__).parents[1]
CONTRACT_PAGE = PROJECT / "docs" / "contract.md"
ALERTS_PAGE = PROJECT / "docs" / "alerts.md"
TEMPLATE = PROJECT / "infra" / "cloudformation" / "event_pipeline.yaml"
LINE_WIDTH = 120

_PAGE_TABLE = re.compile(r"(<!-- table: (.+) -->\n\n)(?:\|.*\n)*")
_TEMPLATE_COLUMNS = re.compile(r"( +)(Columns: # generated: (.+)\n)(?:\1  +\S.*\n)*")
_TEMPLATE_PACK = re.compile(
    r"(  # generated: query pack\n)(?:.*\n)*?(  # end of the query pack\n)",
)


def main() -> None:
    """Write the files, and name the changed ones."""
    for path, text in generated().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(PROJECT)} follows the declarations again")


def generated() -> dict[Path, str]:
    """Return the files as they must be."""
    template = TEMPLATE.read_text(encoding="utf-8")
    template = _TEMPLATE_PACK.sub(lambda found: found[1] + query_pack_resources() + found[2], template)
    return {
        **{page: _with_tables(page.read_text(encoding="utf-8")) for page in (CONTRACT_PAGE, ALERTS_PAGE)},
        **reference_pages(),
        TEMPLATE: _TEMPLATE_COLUMNS.sub(
            lambda found: found[1] + found[2] + _yaml(TEMPLATE_COLUMNS[found[3]], found[1] + "  "), template
        ),
    }


# -- the tables of pages


def _with_tables(page: str) -> str:
    return _PAGE_TABLE.sub(lambda found: found[1] + markdown_table(PAGE_TABLES[found[2]]()), page)


def field_rows() -> Rows:
    """Return the fields of a record."""
    return [
        ("field", "JSON form", "carried by", "meaning"),
        *((f"`{field.name}`", _json_form(field), _carriers(field), field.meaning) for field in FIELDS),
    ]


def event_type_rows() -> Rows:
    """Return the types of events."""
    common = ", ".join(f"`{field.name}`" for field in FIELDS if field.in_every_event)
    return [
        ("event type", f"fields besides {common}"),
        *((f"`{each.name}`", ", ".join(f"`{name}`" for name in each.carries)) for each in EVENT_TYPES),
    ]


def reason_rows() -> Rows:
    """Return the quarantine reasons in order."""
    limit = f"{Limits().max_line_bytes:,} bytes"
    return [
        ("reason", "when"),
        (
            "`too_long`",
            f"the line has more than {limit} (1 MiB, a setting), not counting its newline; the first "
            f"{LONG_LINE_HEAD_BYTES:,} bytes after leading white space are kept as `record`",
        ),
        (
            "`not_json`",
            "not valid UTF-8; not exactly one strict RFC 8259 object; a top-level key occurs twice; a lone surrogate "
            "escape in one of the fields above",
        ),
        *(row for field in FIELDS for row in _reasons(field)),
    ]


def column_rows(columns: tuple[Column, ...]) -> Rows:
    """Return the columns of a table."""
    return [
        ("column", "type", "meaning"),
        *((f"`{each.name}`", each.type, each.meaning) for each in columns),
    ]


def _tables() -> Iterator[tuple[str, tuple[Column, ...]]]:
    for table in (*HOUR_TABLES, *(each.table for each in load_gold_tables())):
        yield table.full_name, table.columns


def alert_rows() -> Rows:
    """Return the kinds of alerts and reports."""
    return [
        ("kind", "severity", "open while", "threshold"),
        *((f"`{kind}`", rule.severity, rule.open_while, rule.threshold) for kind, rule in ALERT_RULES.items()),
    ]


PAGE_TABLES: dict[str, Callable[[], Rows]] = {
    "fields": field_rows,
    "event types": event_type_rows,
    "quarantine reasons": reason_rows,
    "alerts": alert_rows,
    **{name: partial(column_rows, columns) for name, columns in _tables()},
}


def _reasons(field: Field) -> Iterator[tuple[str, str]]:
    where = "" if field.in_every_event else "where carried: "
    if not field.optional:
        yield f"`{field.missing}`", f"{where}null, empty or absent"
    yield f"`{field.fault}`", f"{where}{field.kind.rule}"
    if field is EVENT_TIME:
        limits = Limits()
        days, minutes = limits.max_age.days, limits.max_lead.seconds // 60
        yield (
            f"`{OUT_OF_RANGE}`",
            f"before the landing hour's start - {days} days, or at or after its end + {minutes} minutes (both are "
            "settings)",
        )


def _json_form(field: Field) -> str:
    if field is EVENT_TYPE:
        return "string, one of the event types below"
    return f"{field.kind.json_form}{', optional' if field.optional else ''}"


def _carriers(field: Field) -> str:
    if field.in_every_event:
        return "every event"
    return ", ".join(f"`{name}`" for name, carries in CARRIED_FIELDS.items() if field.name in carries)


# -- the template

BRONZE_COLUMNS = tuple(Column(column.name, column.type, "") for column in BRONZE_EVENTS.columns)
"""Columns of `bronze.events`, without comments in the catalog."""

TEMPLATE_COLUMNS: dict[str, tuple[Column, ...]] = {
    "bronze.events": BRONZE_COLUMNS,
    **{table.full_name: table.columns for table in HOUR_TABLES},
}


def query_pack_resources() -> str:
    """Return a named query for each question of the query pack, rendered for Athena."""
    placeholder = "database_prefix_"
    resources = []
    for question in load_questions():
        query = rename_databases(parse_query(question.sql), lambda database: placeholder + database)
        lines = render(query, "athena").replace(placeholder, "${DatabasePrefix}").splitlines()
        title = question.title.replace("'", "''")
        resources.append(
            f"  {''.join(word.capitalize() for word in question.name.split('_'))}Question:\n"
            "    Type: AWS::Athena::NamedQuery\n"
            "    Properties:\n"
            f"      Name: {question.name}\n"
            f"      Description: '{title}'\n"
            "      Database: !Ref GoldDatabase\n"
            "      WorkGroup: !Ref AnalystWorkgroup\n"
            "      QueryString: !Sub |-\n" + "".join(f"        {line}\n" for line in lines)
        )
    return "\n".join(resources)


def _yaml(columns: tuple[Column, ...], indent: str) -> str:
    lines = []
    for column in columns:
        pairs = {"Name": column.name, "Type": _plain(column.type)}
        if column.meaning:
            pairs["Comment"] = "'{}'".format(column.meaning.replace("'", "''"))
        line = f"{indent}- {{{', '.join(f'{key}: {value}' for key, value in pairs.items())}}}"
        if len(line) <= LINE_WIDTH:
            lines.append(line)
        else:
            first, *rest = (f"{key}: {value}" for key, value in pairs.items())
            lines += [f"{indent}- {first}", *(f"{indent}  {each}" for each in rest)]
    return "\n".join((*lines, ""))


def _plain(glue_type: str) -> str:
    return f"'{glue_type}'" if re.search(r"[(,<]", glue_type) else glue_type


if __name__ == "__main__":
    main()
