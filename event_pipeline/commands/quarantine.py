"""`event-pipeline quarantine`: counts by reason, single records, and replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from event_pipeline.commands.options import ExitCode, FromOption, ListFormat, ToOption, UsageError, hour_range
from event_pipeline.engines.open import open_engine
from event_pipeline.errors import StorageError
from event_pipeline.reporting.results import ResultFormat
from event_pipeline.reporting.terminal import messages, output, progress, quiet_when_reader_leaves
from event_pipeline.rules.contract import QUARANTINE_REASONS
from event_pipeline.rules.hour import Hour, hours_text
from event_pipeline.settings import load_settings

commands = typer.Typer(
    name="quarantine",
    help="Records that broke a rule: how many and why, examples, and replay."
    "\n\nExamples:\n  event-pipeline quarantine list\n\n  event-pipeline quarantine replay --plan",
    no_args_is_help=True,
)

ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="REASON", help="Only records that were refused for this reason.")
]
FormatOption = Annotated[ListFormat, typer.Option("--format", help="table for people, csv or json for programs.")]


def known_reason(reason: str | None) -> str | None:
    """Read `--reason`.

    Raises:
        UsageError: the contract does not define this reason.
    """
    if reason is not None and reason not in QUARANTINE_REASONS:
        raise UsageError(f"--reason {reason!r} is not in the contract: choose from {', '.join(QUARANTINE_REASONS)}")
    return reason


@commands.command("list")
def list_reasons(
    first: FromOption = None,
    end: ToOption = None,
    reason: ReasonOption = None,
    by_hour: Annotated[bool, typer.Option("--by-hour", help="Also count each hour by itself, as csv and json do.")] = (
        False
    ),
    list_format: FormatOption = ListFormat.TABLE,
) -> None:
    """Count quarantined records by reason, with an example and the hours of each, for a range or for everything.

    Examples:
      event-pipeline quarantine list

      event-pipeline quarantine list --reason timestamp_out_of_range --by-hour

      event-pipeline quarantine list --from 2025-12-07T20 --to 2025-12-08T02 --format csv
    """
    from event_pipeline.reporting.quarantine import write_counts

    reason, hours = known_reason(reason), hour_range(first, end)
    damaged, engine = dict[Hour, StorageError](), open_engine(load_settings())
    commits = engine.hour_commits(hours, damaged)
    with quiet_when_reader_leaves():
        write_counts(engine, commits, reason, ResultFormat(list_format.value), by_hour=by_hour)
    _stop_at(damaged)


def _stop_at(damaged: Mapping[Hour, StorageError]) -> None:
    """Fail if any hour's commit record could not be read: the printed counts do not include it.

    Raises:
        StorageError: at least one commit record cannot be read; the message has the first.
    """
    if damaged:
        named = hours_text(sorted(damaged))
        raise StorageError(f"without {named}, whose commit record cannot be read: {damaged[min(damaged)]}")


@commands.command()
def show(
    hour: Annotated[str, typer.Option(metavar="HOUR", help="Landing hour, UTC, for example 2025-12-07T22.")],
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Maximum number of records to show.")] = 10,
    list_format: FormatOption = ListFormat.TABLE,
) -> None:
    """Show an hour's quarantined records in file order. The table escapes and truncates them; csv and json do not.

    Examples:
      event-pipeline quarantine show --hour 2025-12-07T22 --reason timestamp_out_of_range --limit 3
    """
    from event_pipeline.reporting.quarantine import write_records

    reason, landing_hour = known_reason(reason), Hour.parse(hour)
    with quiet_when_reader_leaves():
        write_records(open_engine(load_settings()), landing_hour, reason, limit, ResultFormat(list_format.value))


@commands.command()
def replay(
    first: FromOption = None,
    end: ToOption = None,
    reason: ReasonOption = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Show what would be rebuilt; start nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Rebuild hours even if rules and objects are the same.")
    ] = False,
) -> None:
    """Rebuild hours with quarantined records whose rules or raw objects have changed since.

    Only hours that hold such records are touched. Reports how many records left quarantine, and where they went.

    Examples:
      event-pipeline quarantine replay --plan

      event-pipeline quarantine replay --from 2025-12-09T10 --to 2025-12-09T11 --reason timestamp_out_of_range
    """
    from event_pipeline.operations.replaying import compare_builds, plan_replay
    from event_pipeline.operations.replaying import replay as build_again
    from event_pipeline.reporting.build_summary import is_sound, outcome_line, print_findings
    from event_pipeline.reporting.quarantine import print_replay_plan, print_replay_result

    reason, hours = known_reason(reason), hour_range(first, end)
    if force and hours is None:
        raise UsageError("--force needs --from and --to: say which unchanged hours to rebuild")
    settings = load_settings()
    engine = open_engine(settings)
    plan = plan_replay(engine, settings, hours, reason, force=force)
    print_replay_plan(plan, reason, output())
    if plan_only or not plan.hours:
        _stop_at(plan.damaged)
        return
    chosen = [each.hour for each in plan.hours]
    before = {hour: commit for hour in chosen if (commit := engine.hour_commit(hour))}
    outcomes = []
    with progress(total=len(chosen)) as view:
        done: set[Hour] = set()

        def show_step(line: str, hour: Hour | None) -> None:
            done.update([hour] if hour else [])
            view.step(line, len(done))

        for outcome in build_again(plan, settings, force=force, progress=show_step):
            outcomes.append(outcome)
            view.note(outcome_line(outcome))
    after = {hour: commit for hour in before if (commit := engine.hour_commit(hour))}
    print_replay_result(compare_builds(before, after), output())
    print_findings(outcomes, messages())
    if not all(is_sound(outcome) for outcome in outcomes):
        raise typer.Exit(ExitCode.NOT_HELD)
    _stop_at(plan.damaged)
