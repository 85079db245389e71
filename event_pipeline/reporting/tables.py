"""How a table for people is laid out: light rules, headings that wrap, values that are never cut."""

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
    """Return a table of the rows; the columns named in `left` hold text, all others numbers.

    Every column is as wide as its widest value; headings wrap between words.
    """
    # Escaped before it is measured: the console would only find afterwards that a value is wider.
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
            # Set, not only bounded: Rich shrinks wide columns by share, and would cut values to spare headings.
            width=max(widest, longest_word),
        )
    for row in shown:
        table.add_row(*row)
    return table


def printable_cell(cell: Cell) -> Cell:
    """Return a cell as one line of visible characters."""
    return printable_text(cell) if isinstance(cell, Text) else printable(cell)


def fits(table: Table, console: Console) -> bool:
    """Tell whether a table can be printed without wrapping or cutting a value."""
    natural = Measurement.get(console, console.options.update(max_width=1_000_000), table)
    return natural.maximum <= console.width


def _width(cell: Cell) -> int:
    return cell.cell_len if isinstance(cell, Text) else Text(cell).cell_len
