"""`event-pipeline query`: queries over the published data."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from event_pipeline.commands.memory import memory_bounded
from event_pipeline.commands.options import UsageError, complete_question, file_to_write
from event_pipeline.engines.open import open_pipeline
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.statement import split_statements
from event_pipeline.errors import QueryError
from event_pipeline.reporting.results import ResultFormat
from event_pipeline.reporting.terminal import QUIET, WARNING, messages, output, quiet_when_reader_leaves
from event_pipeline.rules.printable import size_text
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import load_questions
from event_pipeline.settings import load_settings

if TYPE_CHECKING:
    from event_pipeline.engines.base import ResultStream
    from event_pipeline.reporting.result_files import ResultFile

FormatOption = Annotated[
    ResultFormat,
    typer.Option(
        "--format", help="table or markdown for people, csv or json for programs, parquet or xlsx for files (--output)."
    ),
]

_SEVERAL = frozenset((ResultFormat.TABLE, ResultFormat.MARKDOWN, ResultFormat.XLSX))
"""Formats that hold the results of several statements."""

MOST_DAYS = 20 * 366
"""Maximum length of a range: a mistyped year must not keep a command busy for hours."""


class SqlCommand(TyperCommand):
    """A command whose argument may begin with an SQL comment: `-- title` is not an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, those that begin with a comment as the last ones."""
        commented = [each for each in args if re.match(r"--\s|--\S*\n", each)]
        others = [each for each in args if each not in commented]
        return super().parse_args(ctx, [*others, "--", *commented] if commented else args)


def query(
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="[SQL]",
            help="SELECTs over bronze.events, silver.*, ops.hour_ledger and gold.*, SHOW TABLES, or DESCRIBE and a "
            "table; with a semicolon after each if there are several. - reads them from standard input",
        ),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Read the SQL from a file; - is standard input.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="A Gold table, whole and in order, or a question of event-pipeline queries, instead of SQL.",
            autocompletion=complete_question,
        ),
    ] = None,
    day: Annotated[str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="With --name: one event day.")] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="YYYY-MM-DD",
            help="With --name: one answer for all event days from this one on, without a row per day.",
        ),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="YYYY-MM-DD", help="With --name: the last event day of that answer, inclusive."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="With --name: one answer for all published event days together.")
    ] = False,
    result_format: FormatOption = ResultFormat.TABLE,
    target: Annotated[
        str | None,
        typer.Option("--output", metavar="FILE", help="Write the result to a file, which appears when it is complete."),
    ] = None,
) -> None:
    """Query the published data. Timestamps are UTC; stdout has only the result, stderr its seconds and bytes read.

    With --from and --to (days, both inclusive) or --all, a Gold table answers for the whole range: the best products of
    the week, the distinct users of the month. Such numbers cannot be had by adding up days. What is missing in the
    range is named on stderr.

    Rows are streamed. EVENT_PIPELINE_QUERY_* limit time, result and spilled data.

    Examples:
      event-pipeline query "SHOW TABLES"

      event-pipeline query --name top_products --from 2025-12-01 --to 2025-12-07

      event-pipeline query --file report.sql --format xlsx --output report.xlsx

      echo "SELECT count(*) FROM silver.events" | event-pipeline query - --format csv
    """
    from event_pipeline.reporting.answers import named_query, print_describe_command

    if sum(each is not None for each in (sql, file, name)) != 1:
        raise UsageError("give either SQL, --file with SQL, or --name with a Gold table")
    if day is not None and name is None:
        raise UsageError("--day goes with --name: in SQL write WHERE event_date = DATE '2025-12-07'")
    days = day_range(first, last, whole=whole)
    if days is not None and name is None:
        raise UsageError("--from, --to and --all go with --name: in SQL write WHERE event_date BETWEEN ... AND ...")
    question = next((each for each in load_questions() if each.name == name), None)
    if question is not None and (day is not None or days is not None):
        raise UsageError(
            f"--day, --from, --to and --all go with a Gold table, not with {name}: `event-pipeline queries {name}` "
            "prints its SQL, to add a WHERE to"
        )
    if days is not None and day is not None:
        raise UsageError("--day is one event day: omit it, or --from, --to and --all")
    settings = load_settings()
    pipeline = open_pipeline(settings)
    if question is not None:
        statements = [question.sql]
    elif name is not None:
        statements = [named_query(name, load_gold_tables(), event_day(day, "--day") if day is not None else None)]
    else:
        statements = statements_of(sql, file)
    if len(statements) > 1 and result_format not in _SEVERAL:
        raise UsageError(
            f"--format {result_format} holds the result of one statement, not of {len(statements)}: choose "
            f"{', '.join(sorted(_SEVERAL))}, or ask one by one"
        )
    with (
        memory_bounded(settings.duckdb_memory_mb),
        quiet_when_reader_leaves(),
        results_to(result_format, target) as out,
    ):
        if name is not None and days is not None:
            answer_range(pipeline, name, days, out)
        else:
            for number, statement in enumerate(statements, start=1):
                with of_several(number, statements):
                    out.measured(pipeline.engine.query_stream(statement))
        if name is not None and question is None and result_format is ResultFormat.TABLE and target is None:
            print_describe_command(name)


def statements_of(sql: str | None, file: str | None) -> list[str]:
    """Return the statements of the argument, of a file or of standard input.

    Raises:
        UsageError: the file cannot be read, is not UTF-8, or has no statement.
    """
    place = "standard input" if "-" in (sql, file) else f"--file {file}" if file is not None else ""
    if not place:
        # The engine says what is wrong with an empty text.
        return split_statements(sql or "") or [sql or ""]
    try:
        content = sys.stdin.buffer.read() if "-" in (sql, file) else Path(file or "").read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{place}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{place}: byte {error.start + 1} is not UTF-8: save it as UTF-8") from error
    statements = split_statements(text)
    if not statements:
        raise UsageError(f"{place}: has no SQL statement")
    return statements


@contextmanager
def of_several(number: int, statements: list[str]) -> Iterator[None]:
    """Say in the message of an SQL error which of several statements has it."""
    try:
        yield
    except QueryError as error:
        if len(statements) == 1:
            raise
        raise QueryError(f"statement {number} of {len(statements)}: {error}") from error


class Results:
    """Where results go: stdout or a file."""

    def __init__(self, result_format: ResultFormat, file: ResultFile | None) -> None:
        self._format = result_format
        self._file = file
        self._written = 0

    def measured(self, opened: AbstractContextManager[ResultStream]) -> None:
        """Write a result, then say on stderr how long it took and what was read for it."""
        started = time.monotonic()
        with opened as result:
            self.write(result)
            if result.bytes_read is not None:
                print_usage(time.monotonic() - started, result.bytes_read())

    def write(self, result: ResultStream) -> None:
        """Write a result; a line is left empty between two of them."""
        from event_pipeline.reporting.results import write_result

        if self._file is not None:
            self._file.add(result)
            return
        if self._written:
            output().print()
        self._written += 1
        write_result(result, self._format)


@contextmanager
def results_to(result_format: ResultFormat, target: str | None) -> Iterator[Results]:
    """Open the place for results.

    Raises:
        UsageError: format and file do not go together, or no file can be there.
    """
    from event_pipeline.reporting.result_files import BINARY, ResultFile

    if target is None:
        if result_format in BINARY:
            raise UsageError(f"--format {result_format} is for files: add --output FILE")
        yield Results(result_format, None)
        return
    if result_format is ResultFormat.TABLE:
        raise UsageError("--output needs another --format than table: csv, json, markdown, parquet or xlsx")
    with ResultFile(file_to_write(Path(target), "--output"), result_format) as file:
        yield Results(result_format, file)


def print_usage(seconds: float, size: int) -> None:
    """Say on stderr how long a query took and how much it read."""
    messages().print(f"{seconds:.2f} s, {size_text(size)} read", style=QUIET, soft_wrap=True)


def answer_range(pipeline: Pipeline, name: str, days: DayRangeOptions, out: Results) -> None:
    """Write the answer of a Gold table for a range of days, then say on stderr what it does not have."""
    from event_pipeline.inspection.coverage import coverage
    from event_pipeline.reporting.answers import named_table, print_coverage, print_range

    table = named_table(name, pipeline.gold_tables)
    first, last = days
    started = time.monotonic()
    with pipeline.engine.answer(table, first or date.min, last or date.max) as answer:
        found = answer.range
        out.write(answer.rows)
        if answer.rows.bytes_read is not None:
            print_usage(time.monotonic() - started, answer.rows.bytes_read())
    if found.days:
        first, last = first or found.days[0], last or found.days[-1]
    if first is None or last is None:
        of_range = f" from {first} on" if first else f" until {last}" if last else ""
        messages().print(f"No event day of gold.{table.name}{of_range} is published", style=WARNING, soft_wrap=True)
        return
    print_range(table, first, last, found)
    print_coverage(table, coverage(pipeline, table, first, last, found.days, datetime.now(UTC)))


DayRangeOptions = tuple[date | None, date | None]
"""First and last event day, both inclusive; None is the first or last that is published."""


def day_range(first: str | None, last: str | None, *, whole: bool) -> DayRangeOptions | None:
    """Read `--from`, `--to` and `--all`; without any of them there is no range.

    Raises:
        UsageError: they do not go together, or one of them is not a day.
    """
    if whole and (first is not None or last is not None):
        raise UsageError("--all has every published event day: omit it, or --from and --to")
    if not whole and first is None and last is None:
        return None
    first_day = event_day(first, "--from") if first is not None else None
    last_day = event_day(last, "--to") if last is not None else None
    if first_day and last_day and first_day > last_day:
        raise UsageError(f"--from {first_day} is after --to {last_day}: give the earlier day first; both are inclusive")
    if first_day and last_day and (last_day - first_day).days >= MOST_DAYS:
        raise UsageError(
            f"{first_day} to {last_day} is more than {MOST_DAYS:,} days, twenty years: choose a shorter range"
        )
    return first_day, last_day


def event_day(text: str, option: str) -> date:
    """Parse an event day.

    Raises:
        UsageError: the text is not a day.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day, no instant
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a day: write YYYY-MM-DD, for example 2025-12-07") from None
