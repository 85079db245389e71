"""`event-pipeline generate`: synthetic raw objects for the data folder."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer

from event_pipeline.commands.options import UsageError
from event_pipeline.engines.open import open_engine
from event_pipeline.engines.place import place_of
from event_pipeline.generator.options import GeneratorOptions, Shape, recent_hours
from event_pipeline.reporting.terminal import messages, output, progress
from event_pipeline.reporting.unmatched import unmatched_lines
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from event_pipeline.generator import GeneratedObject


def generate(
    start: Annotated[str | None, typer.Option(metavar="HOUR", help="First hour, UTC: 2025-12-07T00.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=8784, help="Hours to write.")] = 1,
    events_per_file: Annotated[int, typer.Option(help="Records per object.")] = 5000,
    files_per_hour: Annotated[int, typer.Option(help="Objects per hour.")] = 12,
    seed: Annotated[int, typer.Option(help="Equal arguments write equal bytes; another seed gives other events.")] = 7,
    shape: Annotated[Shape, typer.Option(help="original: all uniform. realistic: days, sessions, funnels.")] = (
        Shape.ORIGINAL
    ),
    bad_share: Annotated[float, typer.Option(help="Share of records that break a rule, 0 to 1.")] = 0,
    duplicate_share: Annotated[float, typer.Option(help="Share of records that repeat an earlier one.")] = 0,
    late_share: Annotated[float, typer.Option(help="Share of records that belong to another hour.")] = 0,
    broken_objects: Annotated[int, typer.Option(help="How many of the written objects cannot be read.")] = 0,
    recent: Annotated[
        bool, typer.Option("--recent", help="Write the hours from 20:00 yesterday, UTC, to the last closed one.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", help="Write one object now and then one every few seconds.")] = False,
    every: Annotated[int, typer.Option(metavar="SECONDS", help="With --live: seconds between two objects.")] = 5,
    objects: Annotated[
        int | None,
        typer.Option(
            "--count", metavar="N", help="With --live: stop after N objects; the default is to run until stopped."
        ),
    ] = None,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing when there are raw objects.")] = False,
) -> None:
    """Write synthetic raw objects under <root>/raw, byte-identical for equal arguments.

    Examples:
      event-pipeline generate --recent --shape realistic

      event-pipeline generate --start 2025-12-07T20 --hours 6 --bad-share 0.004 --late-share 0.01

      event-pipeline generate --live --every 5 --count 12
    """
    options = GeneratorOptions(
        events_per_file, files_per_hour, seed, shape, bad_share, duplicate_share, late_share, broken_objects
    )
    if sum((live, recent, start is not None)) > 1:
        raise UsageError("--start, --recent and --live each say which hours to write: give one of them")
    settings = load_settings()
    if if_empty and _holds_something(settings):
        return
    if live:
        _generate_live(settings, options, every, objects)
    elif recent:
        _generate_hours(settings, options, recent_hours(datetime.now(UTC)))
    elif start is None:
        raise UsageError(
            "--start is missing: --start 2025-12-07T00 begins with that hour, --recent with yesterday evening, --live "
            "writes now"
        )
    else:
        first = Hour.parse(start)
        if first < settings.first_partition or first.start > datetime.now(UTC):
            raise UsageError(
                f"--start {first} must be between the first partition {settings.first_partition} "
                f"(EVENT_PIPELINE_FIRST_PARTITION) and the current hour {Hour.containing(datetime.now(UTC))}"
            )
        _generate_hours(settings, options, HourRange(first, first.plus(hours)))


def _holds_something(settings: Settings) -> bool:
    """Return whether there are raw objects, or files beside which sample data would only confuse; say which."""
    engine, raw = open_engine(settings), place_of(settings).raw
    if engine.list_raw_hours():
        messages().print(f"{raw} already holds raw objects: nothing generated")
        return True
    if unmatched := engine.unmatched_raw_keys():
        messages().print(f"{raw} holds files that are not read: nothing generated beside them")
        for line in unmatched_lines(unmatched):
            messages().print(line)
        return True
    return False


def _generate_hours(settings: Settings, options: GeneratorOptions, landing_hours: HourRange) -> None:
    from event_pipeline.generator import generate
    from event_pipeline.reporting.generated import print_generated, print_not_read

    folder = settings.raw_folder
    with progress(total=len(landing_hours) * options.files_per_hour) as view:
        written = count(1)

        def show(made: GeneratedObject) -> None:
            # A line per hour only where it is drawn over: a log gets one, and the sum at the end.
            hour = f" of {Hour.containing(made.landed)}" if view.is_drawn_over else ""
            view.step(f"writing raw objects{hour}", next(written))

        totals = generate(folder, landing_hours, options, show)
    print_generated(totals, folder, output())
    print_not_read(place_of(settings), messages())


def _generate_live(settings: Settings, options: GeneratorOptions, every: int, objects: int | None) -> None:
    from event_pipeline.generator import generate_live
    from event_pipeline.reporting.generated import object_line, print_generated, print_not_read

    folder = settings.raw_folder
    with progress() as view:
        view.step(f"one raw object every {every} s into {folder}; Ctrl-C ends it")
        totals = generate_live(folder, every, options, objects, lambda made: view.note(object_line(made)))
    print_generated(totals, folder, output())
    print_not_read(place_of(settings), messages())
