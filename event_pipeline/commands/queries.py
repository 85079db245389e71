"""`event-pipeline queries`: the questions that `event-pipeline query --name` answers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from event_pipeline.commands.options import ListFormat, complete_question
from event_pipeline.reporting.terminal import QUIET, messages, quiet_when_reader_leaves
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import COSTS, load_questions


def queries(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Print the SQL of this question instead.", autocompletion=complete_question
        ),
    ] = None,
    list_format: Annotated[
        ListFormat, typer.Option("--format", help="table for people, csv or json for programs.")
    ] = ListFormat.TABLE,
) -> None:
    """List the questions that `query --name NAME` answers: the Gold tables, and the query pack.

    Examples:
      event-pipeline queries

      event-pipeline queries weekly_active_users

      event-pipeline query --name weekly_active_users
    """
    import pyarrow as pa

    from event_pipeline.engines.base import PROSE
    from event_pipeline.reporting.answers import named_query
    from event_pipeline.reporting.results import ResultFormat, write_result

    questions = {question.name: question for question in load_questions()}
    with quiet_when_reader_leaves():
        if name is not None:
            sql = questions[name].sql if name in questions else named_query(name, load_gold_tables())
            sys.stdout.write(f"{sql};\n")
            return
        rows = [
            (table.name, table.description, ", ".join(("event_date", *table.grain)), "small")
            for table in load_gold_tables()
        ]
        rows += [(each.name, each.title, each.grain, each.cost) for each in questions.values()]
        title = pa.field("question", pa.string(), metadata={PROSE: b"yes"})
        schema = pa.schema([("name", pa.string()), title, ("grain", pa.string()), ("cost", pa.string())])
        listed = pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)
        write_result(listed, ResultFormat(list_format.value))
        if list_format is ListFormat.TABLE:
            reads = "; ".join(f"{cost} reads {what}" for cost, what in COSTS.items())
            messages().print(f"Cost: {reads}", style=QUIET, soft_wrap=True)
