"""The command line: each command calls one function of another room and prints what it returns.

Faults that a person can act on end with one message and an exit code (`ExitCode`), never with a traceback. Dagster,
DuckDB and pyarrow are imported by the commands that need them: the others start in a third of a second.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from io import TextIOWrapper
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer

from event_pipeline import shipped
from event_pipeline.commands import housekeeping, quarantine, stack
from event_pipeline.commands.alerts import alerts_app
from event_pipeline.commands.backfill import backfill_app
from event_pipeline.commands.memory import memory_bounded
from event_pipeline.commands.options import ExitCode, FromOption, ToOption, UsageError, hour_range
from event_pipeline.engines.open import open_engine, open_pipeline
from event_pipeline.errors import (
    BackfillError,
    NotBuildableError,
    PipelineError,
    QueryError,
    RefusedError,
    StorageError,
    TransientError,
)
from event_pipeline.generator.options import GeneratorOptions, GeneratorOptionsError, Shape
from event_pipeline.infrastructure.errors import StackOptionError
from event_pipeline.reporting.results import ResultFormat
from event_pipeline.reporting.terminal import (
    WARNING,
    messages,
    output,
    print_error,
    print_only_visible_characters,
    progress,
    quiet_when_reader_leaves,
)
from event_pipeline.rules.hour import Hour, HourRange, InvalidHourError
from event_pipeline.rules.query import GoldFileError, load_gold_tables
from event_pipeline.settings import Environment, Settings, SettingsError, load_settings
from event_pipeline.shipped import shipped_file

if TYPE_CHECKING:
    from event_pipeline.generator import GeneratedObject


WORKSPACE = shipped_file(shipped.WORKSPACE_YAML)
"""The code location: the same for every way in which the UI is started."""


EXIT_CODES = {
    ExitCode.OK: "done, and everything that was asked for holds",
    ExitCode.NOT_HELD: "it failed or does not hold: a run, a check, verify (differences, lost records), doctor",
    ExitCode.USAGE: "wrong usage: an option, an hour, a setting, an SQL statement",
    ExitCode.STORAGE: "data cannot be used (folder, bucket, catalog): full, denied, damaged, of another version",
    ExitCode.REFUSED: "refused, because data would be lost",
    ExitCode.BUSY: "another process holds what is needed: try again",
    ExitCode.INTERRUPTED: "interrupted; nothing is left half done",
    ExitCode.READER_LEFT: "the reader of the output (`| head`) closed it",
}

_CODE_OF_ERROR: tuple[tuple[type[Exception], ExitCode], ...] = (
    (RefusedError, ExitCode.REFUSED),
    (TransientError, ExitCode.BUSY),
    (StorageError, ExitCode.STORAGE),
    (QueryError, ExitCode.USAGE),
    (NotBuildableError, ExitCode.USAGE),
    (BackfillError, ExitCode.USAGE),
    (PipelineError, ExitCode.NOT_HELD),
    (UsageError, ExitCode.USAGE),
    (SettingsError, ExitCode.USAGE),
    (InvalidHourError, ExitCode.USAGE),
    (GeneratorOptionsError, ExitCode.USAGE),
    (GoldFileError, ExitCode.USAGE),
    (StackOptionError, ExitCode.USAGE),
    (OSError, ExitCode.STORAGE),
)
"""Errors with a message for people; the first that fits decides. Any other exception is a fault of the program."""


app = typer.Typer(
    name="event-pipeline",
    help="From raw e-commerce events to Silver and five Gold tables, on this machine or on AWS.",
    epilog="Exit codes:\n" + "\n".join(f"{code.value:>5}  {meaning}" for code, meaning in EXIT_CODES.items()),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command (`sys.argv` when None) and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What a terminal's encoding does not have is shown escaped, instead of ending the command.
            stream.reconfigure(errors="backslashreplace")
    print_only_visible_characters()
    try:
        app(arguments, prog_name="event-pipeline")
    except tuple(kind for kind, _ in _CODE_OF_ERROR) as error:
        print_error(str(error), messages())
        sys.exit(next(code for kind, code in _CODE_OF_ERROR if isinstance(error, kind)))
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED:
            messages().print(EXIT_CODES[ExitCode.INTERRUPTED], style=WARNING)
        raise


class StatusFormat(StrEnum):
    """How the status is written."""

    GRID = "grid"
    JSON = "json"


FormatOption = Annotated[ResultFormat, typer.Option("--format", help="table for people, csv or json for programs.")]


@app.command()
def generate(
    start: Annotated[str | None, typer.Option(metavar="HOUR", help="First hour, UTC: 2025-12-07T00.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=8784, help="Hours to write.")] = 1,
    events_per_file: Annotated[int, typer.Option(help="Records of every object.")] = 5000,
    files_per_hour: Annotated[int, typer.Option(help="Objects of every hour.")] = 12,
    seed: Annotated[int, typer.Option(help="Equal arguments write equal bytes; another seed, other events.")] = 7,
    shape: Annotated[Shape, typer.Option(help="original: all uniform. realistic: days, sessions, funnels.")] = (
        Shape.ORIGINAL
    ),
    bad_share: Annotated[float, typer.Option(help="Share of records that break a rule, 0 to 1.")] = 0,
    duplicate_share: Annotated[float, typer.Option(help="Share of records that repeat an earlier one.")] = 0,
    late_share: Annotated[float, typer.Option(help="Share of records that belong to another hour.")] = 0,
    broken_objects: Annotated[int, typer.Option(help="Objects that cannot be read, of all that are written.")] = 0,
    live: Annotated[bool, typer.Option("--live", help="Write one object now and then one every few seconds.")] = False,
    every: Annotated[int, typer.Option(metavar="SECONDS", help="With --live: seconds between two objects.")] = 5,
    objects: Annotated[
        int | None, typer.Option("--count", metavar="N", help="With --live: objects to write; else there is no end.")
    ] = None,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing when there are raw objects.")] = False,
) -> None:
    """Write synthetic raw objects below <root>/raw, byte-identical for equal arguments."""
    options = GeneratorOptions(
        events_per_file, files_per_hour, seed, shape, bad_share, duplicate_share, late_share, broken_objects
    )
    settings = load_settings()
    if if_empty and open_engine(settings).list_raw_hours():
        messages().print(f"{_raw_place(settings)} holds raw objects already: nothing generated")
        return
    if live:
        if start is not None:
            raise UsageError("--live writes objects of the present: leave --start out")
        _generate_live(settings, options, every, objects)
    elif start is None:
        raise UsageError("--start is missing: --start 2025-12-07T00 begins with that hour, --live writes now")
    else:
        _generate_hours(settings, options, Hour.parse(start), hours)


def _raw_place(settings: Settings) -> str:
    """Say where the engine of the settings looks for raw objects."""
    if settings.env is Environment.AWS:
        return f"s3://{settings.raw_bucket}/{settings.raw_prefix}"
    return str(settings.raw_folder)


def _generate_hours(settings: Settings, options: GeneratorOptions, first: Hour, hours: int) -> None:
    from event_pipeline.generator import generate
    from event_pipeline.reporting.generated import print_generated, print_not_read

    if first < settings.first_partition or first.start > datetime.now(UTC):
        raise UsageError(
            f"--start {first}: allowed is from the first partition {settings.first_partition} "
            f"(EVENT_PIPELINE_FIRST_PARTITION) to the present hour {Hour.containing(datetime.now(UTC))}"
        )
    folder = settings.raw_folder
    landing_hours = HourRange(first, first.plus(hours))
    with progress(total=len(landing_hours) * options.files_per_hour) as view:
        written = count(1)

        def show(made: GeneratedObject) -> None:
            view.step(f"writing raw objects of {Hour.containing(made.landed)}", next(written))

        totals = generate(folder, landing_hours, options, show)
    print_generated(totals, folder, output())
    print_not_read(settings, folder, messages())


def _generate_live(settings: Settings, options: GeneratorOptions, every: int, objects: int | None) -> None:
    from event_pipeline.generator import generate_live
    from event_pipeline.reporting.generated import object_line, print_generated, print_not_read

    folder = settings.raw_folder
    with progress() as view:
        view.step(f"one raw object every {every} s into {folder}; Ctrl-C ends it")
        totals = generate_live(folder, every, options, objects, lambda made: view.note(object_line(made)))
    print_generated(totals, folder, output())
    print_not_read(settings, folder, messages())


@app.command()
def run(
    first: FromOption = None,
    end: ToOption = None,
    force: Annotated[bool, typer.Option("--force", help="Build hours of the range again that are up to date.")] = False,
    allow_fewer_objects: Annotated[
        bool, typer.Option("--allow-fewer-objects", help="Rebuild hours that lost raw objects: their records go too.")
    ] = False,
) -> None:
    """Build hours through Dagster, raw to Gold, and print the answers. Without a range: every hour that is due."""
    from event_pipeline.automation.building import build, plan_build
    from event_pipeline.reporting.build_summary import is_sound, outcome_line, print_summary

    hours = hour_range(first, end)
    if force and hours is None:
        raise UsageError("--force needs --from and --to: say which hours to build again although they are up to date")
    settings = load_settings()
    pipeline = open_pipeline(settings)
    plan = plan_build(pipeline, datetime.now(UTC), hours, force=force, allow_fewer_objects=allow_fewer_objects)
    outcomes = []
    with progress(total=len(plan.hours)) as view:
        done: set[Hour] = set()

        def show(line: str, hour: Hour | None) -> None:
            done.update([hour] if hour else [])
            view.step(line, len(done))

        for outcome in build(plan, settings, force=force, allow_fewer_objects=allow_fewer_objects, progress=show):
            outcomes.append(outcome)
            view.note(outcome_line(outcome))
    print_summary(pipeline, plan, outcomes)
    if not all(is_sound(outcome) for outcome in outcomes):
        raise typer.Exit(ExitCode.NOT_HELD)
    if hours is not None and plan.shrunk:
        raise typer.Exit(ExitCode.REFUSED)


@app.command()
def status(
    first: FromOption = None,
    end: ToOption = None,
    status_format: Annotated[StatusFormat, typer.Option("--format", help="grid for people, json for programs.")] = (
        StatusFormat.GRID
    ),
) -> None:
    """Show where every landing hour stands: raw objects, commit record, catalog, Gold and Dagster's last run."""
    from event_pipeline.automation.dagster_storage import latest_run_states
    from event_pipeline.reporting.status import print_status, read_status, status_as_json

    settings = load_settings()
    shown = read_status(
        open_pipeline(settings),
        datetime.now(UTC),
        hour_range(first, end),
        latest_run_states(settings.dagster_home),
    )
    with quiet_when_reader_leaves():
        if status_format is StatusFormat.JSON:
            sys.stdout.write(json.dumps(status_as_json(shown), indent=1).replace("\x7f", "\\u007f") + "\n")
        else:
            print_status(shown, output())


@app.command()
def verify(first: FromOption = None, end: ToOption = None) -> None:
    """Recount raw independently and prove that Silver, quarantine, ledger and Gold are what raw says.

    Reads every raw object again with a plain reader, so it takes minutes for a full-size hour. Hours that lost raw
    objects cannot be recounted: they are named, and are no difference. Ends with 1 when something differs, or when raw
    objects that are not one JSON object a line hold records that nobody can read.
    """
    from event_pipeline.reporting.verification_table import print_verification
    from event_pipeline.verification import verify as recount

    settings, hours = load_settings(), hour_range(first, end)
    engine = open_engine(settings)
    with progress() as view:
        verification = recount(
            engine, load_gold_tables(), settings.event_time_limits, hours, datetime.now(UTC), view.step
        )
    print_verification(verification, engine.unmatched_raw_keys(), settings.expected_objects, output())
    if verification.differences or verification.wrongly_framed:
        raise typer.Exit(ExitCode.NOT_HELD)


@app.command()
def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="[SQL]", help="One SELECT over silver.*, ops.hour_ledger and gold.*")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="A Gold table, whole and in order, instead of SQL.")
    ] = None,
    day: Annotated[str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="With --name: one event day.")] = None,
    result_format: FormatOption = ResultFormat.TABLE,
) -> None:
    """Ask the published data. Instants are UTC; stdout holds the result and nothing else.

    Rows are written as they are found. EVENT_PIPELINE_QUERY_* limit time, result and spilled data.
    """
    from event_pipeline.reporting.answers import named_query
    from event_pipeline.reporting.results import write_result

    if (sql is None) == (name is None):
        raise UsageError("give either one SQL statement or --name with a Gold table")
    if day is not None and name is None:
        raise UsageError("--day goes with --name: in SQL write WHERE event_date = DATE '2025-12-07'")
    if name is not None:
        sql = named_query(name, load_gold_tables(), event_day(day) if day is not None else None)
    settings = load_settings()
    with (
        memory_bounded(settings.duckdb_memory_mb),
        quiet_when_reader_leaves(),
        open_engine(settings).query_stream(sql or "") as result,
    ):
        write_result(result, result_format)


def event_day(text: str) -> date:
    """Read an event day.

    Raises:
        UsageError: the text names no day.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day, no instant
    except ValueError:
        raise UsageError(f"--day {text!r} is not a day: write YYYY-MM-DD, for example 2025-12-07") from None


@app.command()
def repair(first: FromOption = None, end: ToOption = None) -> None:
    """Make the catalog agree with the commit records, of a range or of everything, and say what changed."""
    from event_pipeline.reporting.repair import print_changes

    print_changes(open_engine(load_settings()).repair(hour_range(first, end)), output())


@app.command()
def cost(
    first: FromOption = None,
    end: ToOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="What building the range would start and about cost; starts nothing.")
    ] = False,
) -> None:
    """Sum what the steps of a range of hours cost on AWS, or estimate what building it would."""
    hours, loaded = hour_range(first, end), load_settings()
    if hours is None:
        raise UsageError("--from and --to are missing: say which landing hours")
    if loaded.env is not Environment.AWS:
        raise UsageError(f"nothing is billed with EVENT_PIPELINE_ENV={loaded.env}: costs are those of aws")
    from event_pipeline.engines.aws import AwsEngine
    from event_pipeline.engines.pipeline import Pipeline
    from event_pipeline.engines.state import DUE_STATES
    from event_pipeline.reporting.costs import print_costs, print_estimate

    engine = AwsEngine(loaded)
    if not dry_run:
        print_costs(engine.costs(hours), hours, loaded, output())
        return
    states = Pipeline(engine, load_gold_tables(), loaded).states(datetime.now(UTC), hours)
    print_estimate(engine.estimate([hour for hour in hours if states[hour] in DUE_STATES]), loaded, output())


@app.command()
def settings() -> None:
    """List every EVENT_PIPELINE_* variable: value, default, what is allowed, what it means."""
    from event_pipeline.reporting.settings_table import print_settings

    print_settings(load_settings(), output())


@app.command()
def doctor() -> None:
    """Check program, data folder, catalog, commit records and Dagster's storage, and say how to mend what is wrong."""
    from event_pipeline.reporting.doctor import examine, print_findings
    from event_pipeline.reporting.findings import Level

    loaded = load_settings()
    findings = examine(loaded, open_engine(loaded))
    print_findings(findings, output())
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(ExitCode.NOT_HELD)


@app.command()
def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address that the Dagster UI listens at.")] = "127.0.0.1",
) -> None:
    """Start the Dagster UI and daemon over the same data; Ctrl-C ends both."""
    from event_pipeline.automation.dagster_storage import storage_faults
    from event_pipeline.automation.resources import place
    from event_pipeline.automation.runs import prepare_instance
    from event_pipeline.webserver.guard import exposure_warning, is_loopback

    loaded = load_settings()
    with storage_faults(loaded.dagster_home):
        prepare_instance(loaded).dispose()
    # The data folder stands in the environment, absolute: Dagster starts processes of its own, in other folders.
    environment = os.environ | {
        "DAGSTER_HOME": str(loaded.dagster_home),
        "EVENT_PIPELINE_ROOT": str(loaded.root.absolute()),
    }
    # Dagster would announce its successor of this command. -P, and the same for its processes: no module is imported
    # from the folder in which somebody happens to be.
    environment["PYTHONSAFEPATH"] = "1"
    command = [sys.executable, "-P", "-W", "ignore:Function `dev_command`", "-m", "event_pipeline.webserver.dev"]
    command += ["-w", str(WORKSPACE), "-h", host, "-p", str(port)]
    console = messages()
    console.print(f"Dagster UI: http://{f'[{host}]' if ':' in host else host}:{port} over {place(loaded)}")
    if not is_loopback(host):
        console.print(exposure_warning(host), style=WARNING)
    # Replaced, not started: signals reach Dagster itself, which stops its processes in order.
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is wanted


app.add_typer(backfill_app, name="backfill")
app.add_typer(quarantine.commands)
app.command()(housekeeping.housekeeping)
app.add_typer(alerts_app, name="alerts")
app.add_typer(stack.stack_app)


if __name__ == "__main__":
    main()
