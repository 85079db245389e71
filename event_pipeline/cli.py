"""The command line: assembles the commands and maps their errors to exit codes.

Errors that a user can act on end with one message and an exit code (`ExitCode`), never with a traceback. Dagster,
DuckDB and pyarrow are imported only by the commands that need them: the others start in a third of a second.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper

import typer

from event_pipeline.commands import (
    alerts,
    backfill,
    compare,
    cost,
    demo,
    dev,
    doctor,
    erase,
    explain,
    export,
    generate,
    housekeeping,
    import_files,
    quarantine,
    queries,
    query,
    repair,
    report,
    run,
    settings,
    stack,
    status,
    verify,
)
from event_pipeline.commands.options import ExitCode, UsageError
from event_pipeline.errors import (
    BackfillError,
    NotBuildableError,
    PipelineError,
    QueryError,
    RefusedError,
    StorageError,
    TransientError,
)
from event_pipeline.generator.options import GeneratorOptionsError
from event_pipeline.infrastructure.errors import StackOptionError
from event_pipeline.reporting.terminal import (
    WARNING,
    messages,
    print_error,
    print_only_visible_characters,
)
from event_pipeline.rules.hour import InvalidHourError
from event_pipeline.rules.query import GoldFileError
from event_pipeline.settings import SettingsError

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
"""Errors with a message for the user; the first match decides. Any other exception is a bug."""


app = typer.Typer(
    name="event-pipeline",
    help="From raw e-commerce events to Silver and five Gold tables, on this machine or on AWS.",
    epilog="Exit codes:\n" + "\n".join(f"{code.value:>5}  {meaning}" for code, meaning in EXIT_CODES.items()),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command (`sys.argv` when None) and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Characters outside the terminal's encoding are escaped instead of ending the command.
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


COMMANDS = (
    generate.generate,
    import_files.import_files,
    run.run,
    status.status,
    verify.verify,
    query.query,
    queries.queries,
    explain.explain,
    compare.compare,
    export.export,
    report.report,
    repair.repair,
    cost.cost,
    settings.settings,
    doctor.doctor,
    dev.dev,
    demo.demo,
    housekeeping.housekeeping,
    erase.erase,
)
GROUPS = (backfill.commands, quarantine.commands, alerts.commands, stack.commands)
"""Command groups; each names itself."""

for command in COMMANDS:
    name = "import" if command is import_files.import_files else None  # a word of Python's own
    app.command(name, cls=query.SqlCommand if command is query.query else None)(command)
for group in GROUPS:
    app.add_typer(group)


if __name__ == "__main__":
    main()
