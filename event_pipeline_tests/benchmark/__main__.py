"""The command: `python -m event_pipeline_tests.benchmark` (`make bench`, `make bench-quick`)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from event_pipeline_tests.benchmark.bench import FULL, QUICK, SIZES, Bench
from event_pipeline_tests.benchmark.measurements import Group, Results, groups, run_group, title_of
from event_pipeline_tests.benchmark.modes import EVENTS_PER_OBJECT, run_modes
from event_pipeline_tests.benchmark.pages import write_pages
from event_pipeline_tests.benchmark.record import RECORD, keep


def main() -> int:
    """Measure in a folder of its own, which is removed afterwards; print, and write the pages on request."""
    names = list(groups(FULL))
    parser = argparse.ArgumentParser(prog="python -m event_pipeline_tests.benchmark", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default=FULL.name, help="how much is measured")
    parser.add_argument("--only", choices=names, nargs="+", help="measure these groups only")
    parser.add_argument("--write", action="store_true", help="keep the results and write the pages from them")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the pages from the kept results")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--modes", action="store_true", help="measure freshness and work of both build modes instead")
    options = parser.parse_args()
    if options.render:
        write_pages(RECORD.parent)
        return 0
    console = Console()
    if find_spec("pandas"):
        console.print(
            "pandas is installed here: pyarrow imports it in every process, for half a second of each command"
        )
    with tempfile.TemporaryDirectory(prefix="event-pipeline-bench-", dir=options.folder) as folder:
        if options.modes:
            return 0 if run_modes(EVENTS_PER_OBJECT, Path(folder), console) else 1
        size = SIZES[options.size]
        with closing(Bench(Path(folder), size)) as bench:
            for name, group in groups(size).items():
                if name in options.only if options.only else group.is_quick or size is not QUICK:
                    console.print(f"{group.title} ...")
                    results = run_group(group, bench, lambda line: console.print(f"  {line}", highlight=False))
                    print_results(console, group, results)
                    if options.write:
                        keep(RECORD, name, size, results)
    if options.write:
        write_pages(RECORD.parent)
    return 0


def print_results(console: Console, group: Group, results: Results) -> None:
    """Print the medians of a group, and whether its goals are met."""
    table = Table(title=group.title, title_justify="left")
    ruled = (f"x {group.ruler}", "x its CPU") if group.ruler else ()
    for heading in ("what", "wall s", "CPU s", "peak MB", *ruled):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, take in group.measurements.items():
        wall, cpu, peak = (results.median(name, value) for value in ("wall", "cpu", "peak_mb"))
        ratios = []
        if group.ruler and results.is_paired(name, group.ruler):
            ratios = [f"{results.ratio(name, group.ruler, value):.2f}" for value in ("wall", "cpu")]
        table.add_row(title_of(take), f"{wall:.2f}", f"{cpu:.2f}", f"{peak:,.0f}", *ratios)
    console.print(table)
    for goal in group.goals:
        met = "[green]met[/]   " if goal.is_met(results) else "[red]missed[/]"
        bound = f"{'at least' if goal.at_least else 'at most'} {goal.bound:,} {goal.unit}"
        console.print(f"{met} {goal.text}: {goal.value(results):,.2f} {goal.unit}, {bound}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
