"""`event-pipeline backfill`: plan, start, watch, pause, resume and cancel backfills that run through Dagster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from event_pipeline.commands.options import FromOption, ToOption, UsageError, hour_range
from event_pipeline.engines.open import open_pipeline
from event_pipeline.reporting.terminal import WARNING, messages, output
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import Settings, SilverBuilderKind, load_settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from event_pipeline.operations.backfills import BackfillPlan

commands = typer.Typer(name="backfill", no_args_is_help=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

BuilderOption = Annotated[
    SilverBuilderKind | None,
    typer.Option("--builder", help="On AWS: what builds Silver in its runs, instead of EVENT_PIPELINE_BUILDER."),
]

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the backfill, as `backfill status` shows it.")]


@commands.callback(invoke_without_command=True)
def backfill(
    context: typer.Context,
    first: FromOption = None,
    end: ToOption = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what it would build, in how many runs and at what cost; start nothing.")
    ] = False,
    builder: BuilderOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Start without asking.")] = False,
) -> None:
    """Build what is due in a range of hours, as queued Dagster runs with a lower priority than live hours.

    New, changed and outdated hours are built. Hours that are up to date, already in another run, without raw objects or
    with lost ones are skipped. The runs start when a Dagster daemon is running (`event-pipeline dev`).

    Examples:
      event-pipeline backfill --from 2025-12-01T00 --to 2025-12-31T00 --plan

      event-pipeline backfill --from 2025-12-01T00 --to 2025-12-31T00 --yes
    """
    if context.invoked_subcommand is not None:
        return
    hours = hour_range(first, end)
    if hours is None:
        raise UsageError(
            "--from and --to are missing: say which landing hours, or see `event-pipeline backfill status`"
        )
    settings = load_settings()
    planned = _planned(settings, hours, builder)
    if plan or not planned.to_build:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("no terminal to ask on: give --yes to start, or --plan only to look")
        typer.confirm("Start it?", abort=True)
    _start(planned, settings, builder=builder)


@commands.command()
def status(
    backfill_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One backfill; without it, all.")] = None,
) -> None:
    """Show the progress of backfills: hours left, and runs by status.

    Examples:
      event-pipeline backfill status

      event-pipeline backfill status abcdefgh
    """
    from event_pipeline.operations.backfills import backfill_statuses
    from event_pipeline.reporting.backfills import print_backfills

    settings = load_settings()
    with _storage(settings) as instance:
        found = backfill_statuses(instance, open_pipeline(settings), datetime.now(UTC), backfill_id)
    print_backfills(found, output())


@commands.command()
def pause(backfill_id: IdArgument) -> None:
    """Cancel queued runs; running ones finish.

    Examples:
      event-pipeline backfill pause abcdefgh
    """
    from event_pipeline.operations.backfills import pause_backfill

    with _storage(load_settings()) as instance:
        taken_back, running = pause_backfill(instance, backfill_id)
    output().print(
        f"Backfill {backfill_id} is paused: {taken_back} queued runs cancelled, {running} running ones finish. "
        f"`event-pipeline backfill resume {backfill_id}` builds what is left."
    )


@commands.command()
def resume(backfill_id: IdArgument, builder: BuilderOption = None) -> None:
    """Resume a paused, cancelled or failed backfill: exactly the hours still due, with the same builder.

    Examples:
      event-pipeline backfill resume abcdefgh
    """
    from event_pipeline.operations.backfills import builder_to_resume, hours_to_resume

    settings = load_settings()
    with _storage(settings) as instance:
        hours = hours_to_resume(instance, backfill_id)
        builder = builder or builder_to_resume(instance, backfill_id)
    planned = _planned(settings, hours, builder)
    if planned.to_build:
        _start(planned, settings, backfill_id, builder)


@commands.command()
def cancel(backfill_id: IdArgument) -> None:
    """Cancel queued runs and stop running ones; committed hours stay.

    Examples:
      event-pipeline backfill cancel abcdefgh
    """
    from event_pipeline.operations.backfills import cancel_backfill

    with _storage(load_settings()) as instance:
        cancel_backfill(instance, backfill_id)
        _warn_without_daemon(instance)
    output().print(f"Backfill {backfill_id} is being cancelled: the Dagster daemon stops its runs.")


def _planned(settings: Settings, hours: HourRange, builder: SilverBuilderKind | None) -> BackfillPlan:
    """Return the plan of a backfill, after printing what it would do and cost."""
    from event_pipeline.commands.estimates import print_estimates
    from event_pipeline.operations.backfills import measured_speed, plan_backfill
    from event_pipeline.reporting.backfills import print_gains, print_plan, print_time

    pipeline = open_pipeline(settings)
    engine = pipeline.engine.with_builder(builder) if builder else pipeline.engine
    with _storage(settings) as instance:
        planned = plan_backfill(pipeline, instance, datetime.now(UTC), hours)
        speed = measured_speed(instance)
    print_plan(planned, settings, output())
    print_gains(planned, output())
    if not planned.to_build:
        output().print("Nothing to build.")
    elif not print_estimates(engine, planned.to_build, settings):
        print_time(planned, speed, output())
    return planned


def _start(
    planned: BackfillPlan, settings: Settings, resumed: str | None = None, builder: SilverBuilderKind | None = None
) -> None:
    from event_pipeline.operations.backfills import start_backfill

    with _storage(settings) as instance:
        backfill_id = start_backfill(planned, settings, instance, resumed, builder)
        _warn_without_daemon(instance)
    output().print(
        f"Backfill {backfill_id}: {len(planned.to_build):,} hours queued as {len(planned.runs):,} runs. "
        f"`event-pipeline backfill status {backfill_id}` shows how far it is."
    )


def _warn_without_daemon(instance: DagsterInstance) -> None:
    from event_pipeline.operations.backfills import is_daemon_heard

    if not is_daemon_heard(instance):
        messages().print(
            "No Dagster daemon is running: the runs start once `event-pipeline dev` (or dagster-daemon) does.",
            style=WARNING,
        )


@contextmanager
def _storage(settings: Settings) -> Iterator[DagsterInstance]:
    from event_pipeline.dagster_instance.prepare import prepare_instance
    from event_pipeline.dagster_instance.storage import storage_faults

    with storage_faults(settings.dagster_home), prepare_instance(settings) as instance:
        yield instance
