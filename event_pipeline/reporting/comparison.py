"""Prints what Bronze, Silver and Gold answer, what that takes, and which records account for a difference."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.text import Text

from event_pipeline.inspection.comparison import Comparison, Layer, TableQuestion
from event_pipeline.reporting.results import ResultFormat, write_result
from event_pipeline.reporting.tables import Cell, lay_out
from event_pipeline.reporting.terminal import FAULT, GOOD, QUIET, WARNING, messages, output
from event_pipeline.rules.hour import hours_text
from event_pipeline.rules.printable import size_text

_SAME = "same rows as gold"
_OTHER = "other rows"


def print_comparison(found: Comparison) -> None:
    """Print a row for each question and layer; USD only where somebody bills."""
    if not found.questions:
        return
    billed = any(answer.usd is not None for each in found.questions for answer in each.answers.values())
    headings = ["question", "layer", "rows", "seconds", "read", *(["USD"] if billed else []), "answer"]
    rows = list[list[Cell]]()
    for question in found.questions:
        for number, (layer, answer) in enumerate(question.answers.items()):
            row: list[Cell] = [
                question.table.name if number == 0 else "",
                layer.value,
                f"{len(answer.rows):,}",
                f"{answer.seconds:.2f}",
                size_text(answer.bytes_read),
            ]
            row += [] if not billed else ["" if answer.usd is None else f"{answer.usd:.6f}"]
            rows.append([*row, _verdict(found, question, layer)])
    output().print(lay_out(headings, rows, left=["question", "layer", "answer"]))


def write_comparison(found: Comparison, result_format: ResultFormat) -> None:
    """Write the rows of the comparison for a program or a page; `same_as_gold` is true for Gold itself."""
    import pyarrow as pa

    schema = pa.schema(
        {
            "question": pa.string(),
            "layer": pa.string(),
            "rows": pa.int64(),
            "seconds": pa.float64(),
            "bytes_read": pa.int64(),
            "usd": pa.decimal128(38, 9),
            "same_as_gold": pa.bool_(),
        }
    )
    rows = [
        {
            "question": question.table.name,
            "layer": layer.value,
            "rows": len(answer.rows),
            "seconds": round(answer.seconds, 3),
            "bytes_read": answer.bytes_read,
            "usd": None if answer.usd is None else answer.usd.quantize(Decimal("1e-9")),
            "same_as_gold": question.agrees(layer),
        }
        for question in found.questions
        for layer, answer in question.answers.items()
    ]
    write_result(pa.Table.from_pylist(rows, schema), result_format)


def print_account(found: Comparison) -> None:
    """Say on stderr what the answers are from, whether they are equal, and which records account for a difference."""
    if not found.questions:
        _say("No such event day is published: there is nothing to compare.", WARNING)
        return
    days = f"event day {found.days[0]}" if len(found.days) == 1 else f"{len(found.days):,} event days"
    _say(f"Of {days}, from {hours_text(found.hours)} of landing.", QUIET)
    if found.retired:
        _say(
            f"The Silver of {hours_text(found.retired)} is past its retention: Silver cannot be compared with Gold.",
            WARNING,
        )
    for question in found.differing:
        _say(
            f"gold.{question.table.name} is not what its own SQL makes of Silver: `event-pipeline verify` says where "
            "they differ.",
            FAULT,
        )
    if not found.differing and not found.retired:
        _say(f"Gold and Silver give the same rows to {_questions(found.questions)}.", GOOD)
    _print_bronze(found)


def _print_bronze(found: Comparison) -> None:
    asked = [each for each in found.questions if Layer.BRONZE in each.answers]
    differing = found.bronze_differing
    if asked and not differing:
        _say(f"So does Bronze, the raw lines, to {_questions(asked)}.", GOOD)
    elif differing:
        refused, duplicates = found.refused, found.duplicates
        erased = f" and {found.erased:,} records of people who were erased" if found.erased else ""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in refused.most_common(3))
        reasons += f" and {len(refused) - 3} more reasons" if len(refused) > 3 else ""
        _say(
            f"Bronze gives other rows to {_questions(differing)}: of {found.records:,} records, Silver refused "
            f"{refused.total():,}{f' ({reasons})' if reasons else ''} and left out "
            f"{duplicates:,} duplicates{erased}; the raw lines still have them, and every value as it was spelled.",
            WARNING,
        )
    if found.unreadable and asked:
        _say(
            f"Bronze was asked without the minutes of {len(found.unreadable):,} unreadable raw objects, which fail "
            f"every query: {', '.join(found.unreadable[:3])}{', ...' if len(found.unreadable) > 3 else ''}",
            QUIET,
        )
    if found.changed and asked:
        _say(
            f"Raw objects of {hours_text(found.changed)} changed since Silver was built; Bronze shows them as they are "
            "now.",
            WARNING,
        )


def _verdict(found: Comparison, question: TableQuestion, layer: Layer) -> Cell:
    if layer is Layer.GOLD:
        return ""
    if question.agrees(layer):
        return Text(_SAME, style=GOOD)
    return Text(_OTHER, style=FAULT if layer is Layer.SILVER and not found.retired else WARNING)


def _questions(questions: Sequence[TableQuestion]) -> str:
    return f"{len(questions)} questions" if len(questions) > 1 else f"the question of {questions[0].table.name}"


def _say(text: str, style: str) -> None:
    messages().print(text, style=style, soft_wrap=True)
