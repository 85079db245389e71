"""`event-pipeline demo`: a producer's bad day in half a minute, with a kill in the middle and the proof at the end."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from event_pipeline.commands.options import ExitCode, UsageError
from event_pipeline.engines.open import open_pipeline
from event_pipeline.reporting.terminal import output, progress
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import load_settings


def demo(
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="New or empty folder for its data; the default is a temporary one."),
    ] = None,
) -> None:
    """Show in half a minute what the pipeline does with late events, a broken object, a duplicate and a kill.

    Three hours of sample data go through the pipeline in a folder of their own; your data folder is not touched, and
    your settings do not apply. One build is really killed. At the end everything is recounted from the raw objects.
    Exits with 1 if anything is not as it must be.

    Examples:
      event-pipeline demo

      event-pipeline demo --folder data-demo
    """
    from event_pipeline.inspection.verification import verify
    from event_pipeline.operations import demo as steps
    from event_pipeline.operations.building import build, plan_build
    from event_pipeline.reporting.demo import Narrator

    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--folder {folder} is not empty: name a new one, the demo builds its own data")
    place = folder.absolute() if folder else Path(tempfile.mkdtemp(prefix="event-pipeline-demo-"))
    tell = Narrator(output(), place)
    with steps.only_settings_of_the_demo(place):
        settings = load_settings()
        pipeline = open_pipeline(settings)
        now = datetime.now(UTC)
        current = Hour.containing(now)
        normal, troubled, third = (current.plus(-number) for number in (3, 2, 1))

        def build_what_is_due() -> None:
            with progress() as view:
                plan = plan_build(pipeline, now, None)
                for _ in build(
                    plan, settings, force=False, allow_lost_objects=False, progress=lambda line, _: view.step(line)
                ):
                    pass

        tell.begin()
        landed = steps.land_normal_hour(settings.raw_folder, normal)
        tell.normal_hour(normal, landed)
        build_what_is_due()
        first = steps.published(pipeline.engine)
        tell.built(first, landed)

        most = steps.OBJECTS_PER_HOUR - 3
        steps.land_normal_hour(settings.raw_folder, troubled, most)
        late = steps.land_late_object(settings.raw_folder, troubled, most)
        tell.late(normal, troubled, late)
        steps.land_broken_object(settings.raw_folder, troubled, most + 1)
        tell.broken(troubled)
        again = steps.land_again(settings.raw_folder, troubled, most + 2, sent_before=0)
        tell.duplicate(again)
        steps.land_normal_hour(settings.raw_folder, third)

        tell.kill(troubled, third)
        with progress() as view:
            view.step("event-pipeline run, as a process of its own")
            killed = steps.kill_in_the_middle(troubled)
        tell.killed(killed, first, steps.published(pipeline.engine))

        tell.run_again()
        build_what_is_due()
        commits = pipeline.engine.hour_commits(None, {})
        tell.hours(commits)
        tell.late_counted(normal, late, first, steps.published(pipeline.engine))
        tell.broken_named(commits[troubled].account)
        tell.duplicate_counted_once(again, commits[troubled].account)

        tell.prove()
        with progress() as view:
            found = verify(
                pipeline.engine,
                pipeline.gold_tables,
                settings.event_time_limits,
                None,
                now,
                view.step,
                workers=settings.workers,
            )
        tell.proven(found)
        tell.end()
    if not tell.all_held:
        raise typer.Exit(ExitCode.NOT_HELD)
