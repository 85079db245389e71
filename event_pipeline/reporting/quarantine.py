"""Prints what quarantine holds: counts by hour and reason, single records, and what a replay did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from event_pipeline.engines.base import Engine
from event_pipeline.engines.commit import HourCommit
from event_pipeline.errors import PipelineError
from event_pipeline.reporting.results import ResultFormat, write_result
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import FAULT, GOOD, PROGRAM, QUIET, WARNING, messages, output
from event_pipeline.rules.contract import QUARANTINE_REASONS, SILVER_QUARANTINE
from event_pipeline.rules.hour import PARTITION_COLUMNS, Hour, hours_text
from event_pipeline.rules.printable import printable

if TYPE_CHECKING:
    from event_pipeline.operations.replaying import ReplayPlan, ReplayResult

MOST_ROWS_SHOWN = 500
"""Newest rows shown in the table of counts; csv and json have all."""
MOST_CHARACTERS_SHOWN = 400
"""Characters shown of one record in the table, before escaping."""
HOURS_SHOWN = 48


def write_counts(
    engine: Engine,
    commits: Mapping[Hour, HourCommit],
    reason: str | None,
    result_format: ResultFormat,
    *,
    by_hour: bool = False,
) -> None:
    """Write the counts to stdout: by reason as a table, otherwise one row per hour and reason."""
    rows = list(_counts(commits, reason))
    if result_format is ResultFormat.TABLE:
        if by_hour:
            _print_hours(rows, output())
        _print_reasons(commits, rows, output())
        _print_examples(engine, commits, rows, output())
        return
    import pyarrow as pa

    types = (
        ("hour", pa.string()),
        ("reason", pa.string()),
        ("quarantined", pa.int64()),
        ("records", pa.int64()),
        ("share", pa.float64()),
    )
    columns = zip(*rows, strict=True) if rows else [[] for _ in types]
    arrays = [pa.array(column, type) for column, (_, type) in zip(columns, types, strict=True)]
    write_result(pa.table(arrays, names=[name for name, _ in types]), result_format)


def _counts(commits: Mapping[Hour, HourCommit], reason: str | None) -> Iterator[tuple[str, str, int, int, float]]:
    """Yield hour, reason, quarantined records, records of the hour, share; reasons in the contract's order."""
    for hour, commit in commits.items():
        account = commit.account
        found = account.quarantined_by_reason
        for each in QUARANTINE_REASONS:
            if each in found and reason in (None, each):
                yield str(hour), each, found[each], account.records, found[each] / account.records


def _print_hours(rows: list[tuple[str, str, int, int, float]], console: Console) -> None:
    shown = rows[-MOST_ROWS_SHOWN:]
    if not shown:
        return
    console.print(
        lay_out(
            ("hour", "reason", "quarantined", "records", "share"),
            [(hour, name, f"{count:,}", f"{records:,}", f"{share:.3%}") for hour, name, count, records, share in shown],
            left=("hour", "reason"),
        )
    )
    if len(rows) > len(shown):
        console.print(f"and {len(rows) - len(shown):,} earlier rows: --format csv or json writes all", style=QUIET)


def _print_reasons(
    commits: Mapping[Hour, HourCommit], rows: list[tuple[str, str, int, int, float]], console: Console
) -> None:
    """Print one row per reason, the most frequent first."""
    if not rows:
        console.print(f"No quarantined records in {len(commits):,} published hours.")
        return
    records = sum(commit.account.records for commit in commits.values())
    totals, hours = Counter[str](), dict[str, list[str]]()
    for hour, name, count, _, _ in rows:
        totals[name] += count
        hours.setdefault(name, []).append(hour)
    sums = [
        (name, f"{len(hours[name]):,}", f"{count:,}", f"{count / records:.3%}", hours[name][0], hours[name][-1])
        for name, count in totals.most_common()
    ]
    in_all, every = totals.total(), sorted({row[0] for row in rows})
    sums.append(("in all", f"{len(every):,}", f"{in_all:,}", f"{in_all / records:.3%}", every[0], every[-1]))
    console.print(f"{len(commits):,} published hours, {records:,} records", style="bold")
    console.print(
        lay_out(("reason", "hours", "quarantined", "share of all", "first hour", "newest hour"), sums, left=("reason",))
    )


def _print_examples(
    engine: Engine,
    commits: Mapping[Hour, HourCommit],
    rows: list[tuple[str, str, int, int, float]],
    console: Console,
) -> None:
    """Print one record per reason, from the newest hour that still has some, and how to see more."""
    newest = {name: Hour.parse(hour) for hour, name, *_ in rows if commits[Hour.parse(hour)].retired_at is None}
    if not newest:
        return
    conditions = " OR ".join(f"({_condition(hour, name)})" for name, hour in newest.items())
    try:
        found = engine.query(
            f"SELECT reason, MIN(record) AS record FROM {SILVER_QUARANTINE.full_name} WHERE {conditions} "
            "GROUP BY reason"
        )
    except PipelineError as error:
        messages().print(f"Without examples: {error}", style=WARNING)
        return
    examples = {row["reason"]: row["record"] for row in found.to_pylist()}
    console.print("Examples", style="bold")
    widest = max(map(len, examples), default=0)
    totals = Counter[str]()
    for _, name, count, *_ in rows:
        totals[name] += count
    for name, _ in totals.most_common():
        if name in examples:
            shown = printable(examples[name][:MOST_CHARACTERS_SHOWN])
            line = Text.assemble((f"  {name:<{widest}}  ", FAULT), shown)
            line.append(" ..." if len(examples[name]) > MOST_CHARACTERS_SHOWN else "", style=QUIET)
            console.print(line, soft_wrap=True)
    name = next(name for name, _ in totals.most_common() if name in newest)
    hour = newest[name]
    console.print(f"`{PROGRAM} quarantine show --hour {hour} --reason {name}` shows whole records", style=QUIET)


def _condition(hour: Hour, reason: str | None) -> str:
    pairs = zip(PARTITION_COLUMNS, hour.partition_values, strict=True)
    condition = " AND ".join(f"{name} = '{value}'" for name, value in pairs)
    return f"{condition} AND reason = '{reason}'" if reason is not None else condition


def write_records(engine: Engine, hour: Hour, reason: str | None, limit: int, result_format: ResultFormat) -> None:
    """Write quarantined records of an hour to stdout, ordered by object and line."""
    condition = _condition(hour, reason)
    result = engine.query(
        f"SELECT reason, source_object, line_number, record FROM {SILVER_QUARANTINE.full_name} WHERE {condition}"
        f" ORDER BY source_object, line_number LIMIT {limit}"
    )
    if result_format is not ResultFormat.TABLE:
        write_result(result, result_format)
        return
    for row in result.to_pylist():
        _print_record(row, output())
    _print_rest(engine.hour_commit(hour), hour, reason, result.num_rows)


def _print_record(row: Mapping[str, Any], console: Console) -> None:
    record, place = row["record"], printable(f"{row['source_object']} line {row['line_number']:,}")
    console.print(Text.assemble((row["reason"], FAULT), f"  {place}"), soft_wrap=True)
    line = Text(f"  {printable(record[:MOST_CHARACTERS_SHOWN])}")
    if len(record) > MOST_CHARACTERS_SHOWN:
        line.append(f" ... cut at {MOST_CHARACTERS_SHOWN} of {len(record):,} characters", style=QUIET)
    console.print(line, soft_wrap=True)


def _print_rest(commit: HourCommit | None, hour: Hour, reason: str | None, shown: int) -> None:
    console, what = messages(), f"quarantined records{f' of {reason}' if reason else ''}"
    if commit is None:
        console.print(f"{hour}: nothing is published", style=WARNING)
    elif commit.retired_at is not None:
        console.print(
            f"{hour}: past its retention since {commit.retired_at:%Y-%m-%d}: the records are deleted", style=WARNING
        )
    else:
        found = commit.account.quarantined_by_reason
        count = found.get(reason, 0) if reason else commit.account.quarantined
        console.print(f"{hour}: {shown:,} of {count:,} {what}", style=QUIET)


def print_replay_plan(plan: ReplayPlan, reason: str | None, console: Console) -> None:
    """Print which hours are rebuilt and why, and which are not."""
    what = f"records of {reason}" if reason else "quarantined records"
    if plan.hours:
        shown = plan.hours[-HOURS_SHOWN:]
        console.print(f"Hours with {what} to rebuild, by rules {plan.rules_version}", style="bold")
        console.print(
            lay_out(
                ("hour", "why", "quarantined", "judged by rules"),
                [(str(each.hour), each.reason, f"{each.quarantined:,}", each.rules_version) for each in shown],
                left=("hour", "why", "judged by rules"),
            )
        )
        if len(plan.hours) > len(shown):
            console.print(f"and {len(plan.hours) - len(shown):,} earlier hours", style=QUIET)
    else:
        console.print(f"Nothing to replay: no hour with {what} was built with other rules or from other objects.")
    if plan.unchanged:
        console.print(f"Same rules, same objects, so nothing can change: {hours_text(plan.unchanged)}.", style=QUIET)
    if plan.lost:
        console.print(f"Skipped, because raw objects are lost: {hours_text(plan.lost)}.", style=WARNING)
    if plan.retired:
        console.print(f"Skipped, because they are past their retention: {hours_text(plan.retired)}.", style=QUIET)


def print_replay_result(result: ReplayResult, console: Console) -> None:
    """Print where the records of the replayed hours went, and whether each of them has exactly one verdict."""
    before, after = result.before, result.after
    counts = [
        ("Silver", before.silver_rows, after.silver_rows),
        ("duplicate", before.duplicates, after.duplicates),
        *([("erased", before.erased, after.erased)] if before.erased or after.erased else []),
        *(
            (name, before.quarantined[name], after.quarantined[name])
            for name in QUARANTINE_REASONS
            if before.quarantined[name] or after.quarantined[name]
        ),
        ("records", before.records, after.records),
    ]
    console.print(
        lay_out(
            ("verdict", "before", "after", "change"),
            [(name, f"{was:,}", f"{now:,}", f"{now - was:+,}" if now != was else "") for name, was, now in counts],
            left=("verdict",),
            title=f"{len(result.rebuilt):,} hours rebuilt",
        )
    )
    left = result.left_quarantine
    reasons = ", ".join(f"{count:,} of {name}" for name, count in left.items()) or "none"
    console.print(Text(f"Left quarantine: {reasons}; {_gains(result)}", style=GOOD if left else ""))
    held = before.adds_up and after.adds_up
    console.print(
        Text(
            "Records = Silver + quarantined + duplicates, before and after."
            if held
            else "Records do not equal Silver + quarantined + duplicates: `event-pipeline verify` says where.",
            style=GOOD if held else FAULT,
        )
    )


def _gains(result: ReplayResult) -> str:
    before, after = result.before, result.after
    gains = [
        ("Silver", after.silver_rows - before.silver_rows),
        ("duplicates", after.duplicates - before.duplicates),
        *result.entered_quarantine.items(),
        ("records of replaced objects", after.records - before.records),
    ]
    return ", ".join(f"{name} {change:+,}" for name, change in gains if change) or "every verdict is the same"
