"""Table layout: light rules, headings that wrap, values that are never truncated."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from event_pipeline.reporting.terminal import printable_text
from event_pipeline.rules.printable import printable

Cell = Text | str


def lay_out(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, left: Sequence[str] = (), title: str | None = None
) -> Table:
    """Return a table of the rows; the columns in `left` hold text, all others numbers.

    Every column is as wide as its widest value; headings wrap between words.
    """
    # Escape before measuring: the console escapes later, which makes values wider.
    shown = [[printable_cell(cell) for cell in row] for row in rows]
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 0, 0, 1),
        title=title,
        title_justify="left",
        title_style="bold",
    )
    for number, heading in enumerate(headings):
        widest = max((_width(row[number]) for row in shown), default=0)
        longest_word = max(map(len, heading.split()), default=0)
        table.add_column(
            heading,
            justify="left" if heading in left else "right",
            # Fixed, not a minimum: Rich shrinks wide columns in proportion, cutting values before headings.
            width=max(widest, longest_word),
        )
    for row in shown:
        table.add_row(*row)
    return table


def printable_cell(cell: Cell) -> Cell:
    """Return a cell as one line of printable characters."""
    return printable_text(cell) if isinstance(cell, Text) else printable(cell)


def fits(table: Table, console: Console, *, wrapped: bool = False) -> bool:
    """Return whether a table can be printed without truncating a value; `wrapped`: in columns that wrap if need be."""
    natural = Measurement.get(console, console.options.update(max_width=1_000_000), table)
    return (natural.minimum if wrapped else natural.maximum) <= console.width


def _width(cell: Cell) -> int:
    return cell.cell_len if isinstance(cell, Text) else Text(cell).cell_len
