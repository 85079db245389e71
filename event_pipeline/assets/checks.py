"""The asset checks of each hour.

The checks are part of their assets: they run with every materialization, single or range, and record one result per
hour. Materializing a finished hour again changes nothing but repeats its checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import dagster as dg

from event_pipeline.assets.presentation import code_span, markdown_table, quoted
from event_pipeline.assets.results import BLOCKING_CHECKS, CheckVerdict
from event_pipeline.engines.base import Engine, Measure, RowCounts
from event_pipeline.engines.commit import HourCommit
from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import HourAccount, RawListing, and_erased
from event_pipeline.rules.drift import UnknownField, drift_of
from event_pipeline.rules.framing import objects_text, remedies, wrongly_framed
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.printable import plural
from event_pipeline.rules.query import GoldTable
from event_pipeline.rules.resent import NEIGHBOUR_DAYS, compared_with, described, neighbours_sent_again
from event_pipeline.settings import Settings

MOVED = "Not compared: another run has rebuilt hours of the day since it was folded, and will compare it after folding"
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR

RAW_CHECKS = {
    "expected_objects": "The closed hour has the expected number of raw objects. A warning.",
    "unmatched_keys": "Every key under the hour's prefix matches the raw layout; others are not read. A warning.",
}
SILVER_CHECKS = {
    "conservation_law": (
        "Records = Silver rows + quarantined + duplicates + erased, for every object, and the published files hold "
        "exactly that many rows. Blocking: an hour that violates it is never published."
    ),
    "unreadable_objects": (
        "Every raw object could be decompressed completely. An error lists each object that was left out as a whole; "
        "the hour is published without it, and a replaced object is picked up by the next run."
    ),
    "object_framing": (
        "Every raw object holds one JSON object per line: none is lost as a whole because its records are not "
        "separated by newlines, are in an array, are CSV, UTF-16, compressed twice and the like. Judged per object, "
        "because one lost object among many is a small share of the hour's lines."
    ),
    "quarantine_share": "The share of quarantined records stays below the warning and the error threshold.",
    "unknown_fields": (
        "No record has a field outside the contract (schema drift). A warning with names, counts and an example value; "
        "nothing is rejected, and the fields of accepted records are kept in the column `rescued`."
    ),
    "sent_again": (
        f"No other landing hour within {NEIGHBOUR_DAYS} days holds the same records: duplicates are removed inside a "
        "landing hour only, so a batch that is sent again in a later hour counts twice. A warning with the number of "
        "records and their revenue, estimated from samples for large hours."
    ),
}
PARTITION_CHECKS = {
    "partition_readable": (
        "The catalog shows the committed build of the hour, and all its files exist. Blocking: Gold is not refreshed "
        "from unreadable data."
    ),
}
GOLD_CHECKS = {
    "grain_unique": "In every day that the hour touches, the grain columns identify one row.",
    "equals_silver": (
        "Every day that the hour touches adds up to Silver's control totals: counts exactly, revenue to the cent."
    ),
}
_OBJECTS_DESCRIBED = 5


ROWS_LISTED = 20
"""Rows of a table in a check's metadata; its length depends on the data and must not fill the event log."""


def check_specs(
    asset: str, checks: Mapping[str, str], partitions: dg.PartitionsDefinition[Any]
) -> list[dg.AssetCheckSpec]:
    """Declare the checks of an asset, with the asset's partitions."""
    return [
        dg.AssetCheckSpec(
            name, asset=asset, description=description, blocking=name in BLOCKING_CHECKS, partitions_def=partitions
        )
        for name, description in checks.items()
    ]


def raw_verdicts(listing: RawListing, settings: Settings, now: datetime) -> dict[str, CheckVerdict]:
    """Check the listing of one hour."""
    found, expected, unmatched = len(listing.objects), settings.expected_objects, listing.unmatched
    if not listing.hour.is_closed(now):
        described = f"The hour has {found} raw objects so far and is not over"
    elif found == expected:
        described = f"The hour has all {expected} expected raw objects"
    else:
        described = f"The hour has {found} raw objects instead of the expected {expected}"
    return {
        "expected_objects": CheckVerdict(
            found == expected or not listing.hour.is_closed(now),
            described,
            {"objects": found, "expected": expected},
            WARN,
        ),
        "unmatched_keys": CheckVerdict(
            not unmatched,
            f"{len(unmatched):,} keys under the hour are not read"
            if unmatched
            else "Every key under the hour is a raw object",
            {
                "unmatched": len(unmatched),
                **_listed("keys", ("key", "why not read"), [(each.key, each.reason) for each in unmatched]),
            },
            WARN,
        ),
    }


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The published hours near some hours, including those."""

    accounts: Mapping[Hour, HourAccount]
    damaged: Mapping[Hour, StorageError]
    """Hours whose commit record cannot be read -> why."""

    @classmethod
    def of(cls, engine: Engine, hours: Iterable[Hour]) -> Neighbours:
        """Read the commit records of the hours and their neighbours; a damaged one does not fail the other hours."""
        ranges = [compared_with(hour) for hour in hours]
        if not ranges:
            return cls({}, {})
        wanted = HourRange(min(each.first for each in ranges), max(each.end for each in ranges))
        damaged = dict[Hour, StorageError]()
        commits = engine.hour_commits(wanted, damaged)
        return cls({hour: commit.account for hour, commit in commits.items()}, damaged)


def silver_verdicts(
    engine: Engine, commit: HourCommit, settings: Settings, neighbours: Neighbours
) -> dict[str, CheckVerdict]:
    """Check the committed build of one hour; reads the committed files.

    Raises:
        TransientError: they cannot be read at the moment, which says nothing about the hour.
    """
    return {
        "conservation_law": _conservation_law(engine, commit),
        "unreadable_objects": _unreadable_objects(commit.account),
        "object_framing": _object_framing(commit, neighbours),
        "quarantine_share": _quarantine_share(commit.account, settings),
        "unknown_fields": _unknown_fields(commit.account),
        "sent_again": _sent_again(commit, neighbours),
    }


def partition_verdicts(engine: Engine, hour: Hour) -> dict[str, CheckVerdict]:
    """Check what queries see of one hour.

    Raises:
        TransientError: the catalog cannot be read at the moment, which says nothing about the hour.
    """
    try:
        faults = engine.partition_faults(hour)
    except TransientError:
        raise
    except (PipelineError, OSError) as fault:
        return {"partition_readable": CheckVerdict(False, quoted(str(fault)))}
    return {
        "partition_readable": CheckVerdict(
            not faults,
            "; ".join(map(quoted, faults)) or "The catalog shows the committed build, and it can be read",
            {"faults": len(faults)},
        )
    }


def gold_verdicts(
    engine: Engine, table: GoldTable, days: Sequence[date], passing: dict[date, TransientError]
) -> dict[date, dict[str, CheckVerdict]]:
    """Check the published rows of each event day; unreadable rows fail the checks of their day.

    A day that a transient error keeps from being checked has no verdicts; the error is added to `passing`.
    """
    try:
        measures = engine.reconcile(table, days)
        doubled = engine.grain_faults(table, days)
        # A query lists a limited number of faults, so each day is queried separately.
        faults = {day: engine.grain_faults(table, [day]) if doubled else [] for day in days}
    except (PipelineError, OSError) as fault:
        if len(days) > 1:
            each_alone = (gold_verdicts(engine, table, [day], passing) for day in days)
            return {day: verdicts for found in each_alone for day, verdicts in found.items()}
        if isinstance(fault, TransientError):
            passing[days[0]] = fault
            return {}
        return {days[0]: dict.fromkeys(GOLD_CHECKS, CheckVerdict(False, quoted(str(fault))))}
    return {
        day: {
            "grain_unique": _grain_unique(faults[day]),
            "equals_silver": _equals_silver([measure for measure in measures if measure.day == day]),
        }
        for day in days
    }


def joined(verdicts: Sequence[CheckVerdict]) -> CheckVerdict:
    """Merge the results of the days that an hour touches into one for the hour: the first failure is reported."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        description = "; ".join(verdict.description for verdict in failed)
        return CheckVerdict(False, description, failed[0].metadata, failed[0].severity)
    return verdicts[0] if verdicts else CheckVerdict(True, "The hour has no events")


def _conservation_law(engine: Engine, commit: HourCommit) -> CheckVerdict:
    account = commit.account
    lost = [each for each in account.objects if each.unaccounted]
    if commit.retired_at is not None:
        left = (
            f"Past its retention since {commit.retired_at:%Y-%m-%d}: the ledger of {account.records:,} records is left"
        )
        return CheckVerdict(
            not lost, left, {"records": account.records, "unaccounted": sum(e.unaccounted for e in lost)}
        )
    try:
        rows = engine.count_rows(commit)
    except TransientError:
        raise
    except (PipelineError, OSError) as fault:
        return CheckVerdict(False, quoted(str(fault)))
    expected = RowCounts(account.silver_rows, account.quarantined, account.quarantined_by_reason)
    numbers = [
        ("Silver rows", expected.silver_rows, rows.silver_rows),
        ("quarantined records", expected.quarantined, rows.quarantined),
        *(
            (reason, expected.quarantined_by_reason.get(reason, 0), rows.quarantined_by_reason.get(reason, 0))
            for reason in sorted({*expected.quarantined_by_reason, *rows.quarantined_by_reason})
        ),
    ]
    faults = [f"{quoted(each.key)}: {each.unaccounted} records have no verdict or more than one" for each in lost] + [
        f"{name}: {recorded} by the commit record, {held} in the files"
        for name, recorded, held in numbers
        if recorded != held
    ]
    return CheckVerdict(
        not faults,
        _joined(faults)
        or (
            f"All {account.records:,} records are accounted for: {rows.silver_rows:,} Silver rows + "
            f"{rows.quarantined:,} quarantined + {account.duplicates:,} duplicates{and_erased(account.erased)}"
        ),
        {
            "records": account.records,
            "unaccounted": sum(abs(each.unaccounted) for each in lost),
            **_listed("rows", ("what", "commit record", "files"), numbers),
        },
    )


def _unreadable_objects(account: HourAccount) -> CheckVerdict:
    unreadable = account.unreadable
    return CheckVerdict(
        not unreadable,
        _joined(f"{quoted(each.key)}: {quoted(each.unreadable or '')}" for each in unreadable)
        or f"All {len(account.objects)} raw objects were decompressed completely",
        {
            "unreadable": len(unreadable),
            **_listed("objects", ("object", "reason", "bytes"), [(e.key, e.unreadable, e.size) for e in unreadable]),
        },
    )


def _object_framing(commit: HourCommit, neighbours: Neighbours) -> CheckVerdict:
    found = wrongly_framed(commit.account, neighbours.accounts.get(commit.hour.plus(-1)))
    return CheckVerdict(
        not found,
        f"{objects_text(found, _OBJECTS_DESCRIBED)}. What to do: {remedies(found)}"
        if found
        else f"All {len(commit.account.objects)} raw objects have one record per line",
        {
            "wrongly_framed": len(found),
            **_listed("objects", ("object", "what it is", "what to do"), [(e.key, e.reason, e.remedy) for e in found]),
        },
    )


def _quarantine_share(account: HourAccount, settings: Settings) -> CheckVerdict:
    share = account.quarantined / account.records if account.records else 0.0
    warn, error = settings.quarantine_warn_share, settings.quarantine_error_share
    reasons = sorted(account.quarantined_by_reason.items(), key=lambda each: (-each[1], each[0]))
    description = f"{account.quarantined:,} of {account.records:,} records are quarantined ({share:.2%})"
    if share > warn:
        description += f", above {error if share > error else warn:.2%}; most of them {reasons[0][0]}"
    return CheckVerdict(
        share <= warn,
        description,
        {
            "share": share,
            "warn above": warn,
            "error above": error,
            **_listed("reasons", ("reason", "records"), reasons),
        },
        ERROR if share > error else WARN,
    )


def _unknown_fields(account: HourAccount) -> CheckVerdict:
    fields = drift_of([account])
    return CheckVerdict(
        not fields,
        _joined(map(_unknown_field, fields), ", ") or "No record has a field outside the contract",
        {
            "unknown": len(fields),
            **_listed(
                "fields",
                ("field", "records", "example"),
                [(each.name, each.records, each.explanation or each.example or None) for each in fields],
            ),
        },
        WARN,
    )


def _unknown_field(field: UnknownField) -> str:
    records = f"{quoted(field.name)} in {field.records:,} {plural(field.records, 'record')}"
    if field.explanation:
        return f"{records} ({field.explanation})"
    return f"{records} (for example {code_span(field.example)})" if field.example else records


def _sent_again(commit: HourCommit, neighbours: Neighbours) -> CheckVerdict:
    damaged = [fault for hour, fault in neighbours.damaged.items() if hour in compared_with(commit.hour)]
    faults = [f"{len(damaged)} hours near it cannot be compared: {quoted(str(damaged[0]))}"] if damaged else []
    found = neighbours_sent_again(commit.hour, {**neighbours.accounts, commit.hour: commit.account})
    return CheckVerdict(
        not found and not faults,
        "; ".join([*([described(found)] if found else []), *faults])
        or f"No other hour within {NEIGHBOUR_DAYS} days holds the same records",
        {
            "hours": len(found),
            **_listed(
                "shared",
                ("hour", "records", "revenue", "counted or estimated"),
                [
                    (hour, each.records, each.revenue, "counted" if each.is_exact else "estimated")
                    for hour, each in list(found.items())[:ROWS_LISTED]
                ],
            ),
            **_listed(
                "objects",
                ("object", "hour", "like its object"),
                [(here, hour, there) for hour, each in found.items() for here, there in each.objects.items()][
                    :ROWS_LISTED
                ],
            ),
        },
        WARN,
    )


def _grain_unique(faults: Sequence[Mapping[str, Any]]) -> CheckVerdict:
    return CheckVerdict(
        not faults,
        f"{len(faults)} grain values occur more than once" if faults else "No two rows of a day have the same grain",
        {
            "doubled": len(faults),
            **(_listed("rows", tuple(faults[0]), [tuple(fault.values()) for fault in faults]) if faults else {}),
        },
    )


def _equals_silver(measures: Sequence[Measure]) -> CheckVerdict:
    unequal = [each for each in measures if each.gold != each.silver]
    return CheckVerdict(
        not unequal,
        "; ".join(f"{each.day} {each.name}: {each.gold} in Gold, {each.silver} in Silver" for each in unequal)
        or ("Gold adds up to Silver, revenue to the cent" if measures else MOVED),
        {
            "unequal": len(unequal),
            "measures": markdown_table(
                ("day", "measure", "Gold", "Silver"),
                [(each.day, each.name, each.gold, each.silver) for each in measures],
            ),
        },
    )


def _listed(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return a table of the first rows under a name, or nothing if there are no rows."""
    listed = list(rows)
    if len(listed) > ROWS_LISTED:
        further = (f"and {len(listed) - ROWS_LISTED:,} more", *[""] * (len(header) - 1))
        listed = [*listed[:ROWS_LISTED], further]
    return {name: markdown_table(header, listed)} if listed else {}


def _joined(texts: Iterable[str], separator: str = "; ") -> str:
    """Join texts for a description: the first ROWS_LISTED, and the number of others."""
    every = list(texts)
    more = [f"and {len(every) - ROWS_LISTED:,} more"] if len(every) > ROWS_LISTED else []
    return separator.join([*every[:ROWS_LISTED], *more])
