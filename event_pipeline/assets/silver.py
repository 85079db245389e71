"""Silver: builds and commits a landing hour, then makes the catalog show what is committed."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from event_pipeline.assets.builder_choice import engine_of_run
from event_pipeline.assets.checks import (
    PARTITION_CHECKS,
    ROWS_LISTED,
    SILVER_CHECKS,
    Neighbours,
    check_specs,
    partition_verdicts,
    silver_verdicts,
)
from event_pipeline.assets.cost_metadata import cost_metadata, details_metadata
from event_pipeline.assets.faults import faults_explained
from event_pipeline.assets.glue_messages import glue_runs_followed
from event_pipeline.assets.partitions import backfill_policy, failures_among, hours_left, landing_hours
from event_pipeline.assets.presentation import (
    OWNERS,
    bars,
    column_lineage,
    column_schema,
    file_references,
    markdown_table,
    seconds_text,
    table_metadata,
)
from event_pipeline.assets.progress import HourProgress
from event_pipeline.assets.raw import RAW_EVENTS
from event_pipeline.assets.results import HourEvent, HourResult, hour_events
from event_pipeline.engines.base import Engine, PartitionChange, SilverBuild, SilverOutcome
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.isolation import isolated
from event_pipeline.engines.place import AssetKinds
from event_pipeline.errors import PipelineError
from event_pipeline.rules.accounting import and_erased
from event_pipeline.rules.contract import COLUMN_SOURCES, HOUR_LEDGER, SILVER_EVENTS, SILVER_QUARANTINE, raw_column
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.printable import printable, size_text
from event_pipeline.settings import Settings
from event_pipeline.shipped import CONTRACT, DICTIONARY, QUERIES, shipped_file

SILVER = "silver_events"
PARTITIONS = "silver_partitions"
SILVER_POOL = "silver"


class SilverConfig(dg.Config):
    """Run config of a Silver build."""

    force: bool = Field(default=False, description="Rebuild hours even if neither input nor rules have changed")
    allow_lost_objects: bool = Field(
        default=False,
        description="Replace a published hour even if it lost raw objects; the records of those objects are lost",
    )


def silver_events_asset(settings: Settings, kinds: AssetKinds) -> dg.AssetsDefinition:
    """Return the asset `silver_events`."""
    partitions = landing_hours(settings)

    @dg.asset(
        name=SILVER,
        deps=[RAW_EVENTS],
        group_name="silver",
        kinds=set(kinds.silver),
        owners=OWNERS,
        pool=SILVER_POOL,
        partitions_def=partitions,
        backfill_policy=backfill_policy(settings),
        code_version=settings.event_time_limits.rules_version,
        check_specs=check_specs(SILVER, SILVER_CHECKS, partitions),
        metadata={
            **table_metadata(SILVER_EVENTS),
            **column_lineage(RAW_EVENTS, {name: list(map(raw_column, of)) for name, of in COLUMN_SOURCES.items()}),
            SILVER_QUARANTINE.full_name: column_schema(SILVER_QUARANTINE),
            HOUR_LEDGER.full_name: column_schema(HOUR_LEDGER),
            **file_references(shipped_file(CONTRACT), shipped_file(DICTIONARY)),
        },
    )
    def silver_events(
        context: dg.AssetExecutionContext,
        config: SilverConfig,
        engine: dg.ResourceParam[Engine],
        progress: dg.ResourceParam[HourProgress],
    ) -> Iterator[HourEvent]:
        """One row per accepted event of a landing hour: typed, exact, deduplicated.

        Every record gets exactly one verdict; records that break a rule go to `silver.quarantine` with the reason, and
        `ops.hour_ledger` gets one row that adds up. The three are committed atomically, and queries see them only after
        `silver_partitions` registers them. Materializing an hour whose input and rules are unchanged does
        nothing. An hour that lost raw objects is not replaced unless the run's config allows it.
        """
        with (
            faults_explained(context),
            glue_runs_followed(context, engine_of_run(engine, context.run.tags)) as followed,
        ):
            hours, earlier = hours_left(context)
            builds, failures = dict[Hour, SilverBuild](), dict[Hour, PipelineError]()
            try:
                for build in followed.build_silver(
                    hours,
                    force=config.force,
                    allow_lost_objects=config.allow_lost_objects,
                    progress=lambda line: context.log.info(printable(line)),
                ):
                    hour, account = build.commit.hour, build.commit.account
                    builds[hour] = build
                    progress(f"{hour}: {account.silver_rows:,} Silver rows, {build.outcome} ({build.reason})", hour)
            except PipelineError as error:
                failures.update(failures_among(hours, earlier, error))
                for hour, error in failures.items():
                    progress(f"{hour}: failed: {error}", None)
            neighbours = Neighbours.of(engine, builds)
            results = dict[Hour, HourResult]()
            for hour, build in builds.items():
                with isolated([*hours, *earlier], hour, failures):
                    results[hour] = HourResult(
                        _silver_metadata(build),
                        silver_verdicts(engine, build.commit, settings, neighbours),
                        _version(build.commit),
                    )
            yield from hour_events(context, results, failures, earlier)

    return silver_events


def silver_partitions_asset(settings: Settings, kinds: AssetKinds) -> dg.AssetsDefinition:
    """Return the asset `silver_partitions`."""
    partitions = landing_hours(settings)

    @dg.asset(
        name=PARTITIONS,
        deps=[SILVER],
        group_name="silver",
        kinds=set(kinds.partitions),
        owners=OWNERS,
        pool=SILVER_POOL,
        partitions_def=partitions,
        backfill_policy=backfill_policy(settings),
        check_specs=check_specs(PARTITIONS, PARTITION_CHECKS, partitions),
        metadata={**table_metadata(HOUR_LEDGER), **file_references(shipped_file(QUERIES))},
    )
    def silver_partitions(
        context: dg.AssetExecutionContext, engine: dg.ResourceParam[Engine], progress: dg.ResourceParam[HourProgress]
    ) -> Iterator[HourEvent]:
        """The catalog's partitions of a landing hour: what queries see of Silver, quarantine and ledger.

        Materializing an hour makes the catalog show exactly its committed build and reports every change. This is
        partition repair for the daily path; the job `repair_partitions` does it for any range or everything.
        """
        with faults_explained(context):
            hours, earlier = hours_left(context)
            changes, failures = _register(engine, hours)
            changed = [change for change in changes if change.action != "unchanged"]
            for change in changed:
                context.log.info(printable(f"{change.table} {change.partition}: {change.action} ({change.reason})"))
            progress(f"{PARTITIONS}: {len(changed)} of {len(changes)} catalog entries changed", None)
            results = dict[Hour, HourResult]()
            for hour in hours:
                with isolated([*hours, *earlier], hour, failures):
                    if hour not in failures:
                        commit = engine.hour_commit(hour)
                        results[hour] = HourResult(
                            _partition_metadata(hour, commit, changes),
                            partition_verdicts(engine, hour),
                            _version(commit) if commit else None,
                        )
            yield from hour_events(context, results, failures, earlier)

    return silver_partitions


def _register(engine: Engine, hours: Sequence[Hour]) -> tuple[list[PartitionChange], dict[Hour, PipelineError]]:
    """Register all hours in one call or, if that fails, one by one, so that one hour does not block the others."""
    failures: dict[Hour, PipelineError] = {}
    try:
        return engine.register_hours(hours), failures
    except PipelineError:
        if len(hours) == 1:
            raise
    changes: list[PartitionChange] = []
    for hour in hours:
        with isolated(hours, hour, failures):
            changes += engine.register_hours([hour])
    return changes, failures


def _version(commit: HourCommit) -> str:
    """Return the data version of a commit: the same bytes judged by the same rules are the same data."""
    return f"{commit.account.content}:{commit.rules_version}"


def _silver_metadata(build: SilverBuild) -> dict[str, Any]:
    """Return the metadata of one hour in reading order: what happened, tables, numbers that Dagster plots, digests."""
    commit, account = build.commit, build.commit.account
    built = build.outcome is SilverOutcome.BUILT
    written = sum(file.size for file in commit.files)
    metadata: dict[str, Any] = {"summary": _summary(build, written)}
    if account.quarantined:
        reasons = sorted(account.quarantined_by_reason.items(), key=lambda each: (-each[1], each[0]))
        chart = bars([records for _, records in reasons])
        metadata["quarantined_by_reason"] = markdown_table(
            ("reason", "records", "as a bar"), [(*each, bar) for each, bar in zip(reasons, chart, strict=True)]
        )
    if account.unreadable:
        shown = [(each.key, each.unreadable, each.size) for each in account.unreadable[:ROWS_LISTED]]
        more = len(account.unreadable) - len(shown)
        rest = [(f"and {more:,} more", "", "")] if more else []
        metadata["unreadable"] = markdown_table(("object", "reason", "bytes"), [*shown, *rest])
    if account.days:
        metadata["events_by_day"] = markdown_table(
            ("event day", "events", "revenue"),
            [(day, totals.events, totals.revenue) for day, totals in sorted(account.days.items())],
        )
    metadata |= {
        "outcome": build.outcome.value,
        "reason": build.reason,
        "dagster/partition_row_count": account.silver_rows,
        "records": account.records,
        "quarantined": account.quarantined,
        "duplicates": account.duplicates,
        **({"erased": account.erased} if account.erased else {}),
        "objects": len(account.objects),
        "unreadable_objects": len(account.unreadable),
        "bytes_in": account.raw_bytes,
        "bytes_out": written,
        "seconds": round(build.seconds, 3),
        **({"records_per_second": round(account.records / build.seconds)} if built and build.seconds > 0 else {}),
        **cost_metadata(build.cost),
        "committed_at": dg.MetadataValue.timestamp(commit.committed_at),
        "build_id": commit.build_id,
        "fingerprint": commit.fingerprint,
        "rules_version": commit.rules_version,
        **details_metadata(build.details),
    }
    return metadata


def _summary(build: SilverBuild, written: int) -> str:
    account = build.commit.account
    took = f" in {seconds_text(build.seconds)}" if build.outcome is SilverOutcome.BUILT else ""
    return (
        f"{build.outcome.value.capitalize()}: {account.records:,} records = {account.silver_rows:,} Silver rows + "
        f"{account.quarantined:,} quarantined + {account.duplicates:,} duplicates{and_erased(account.erased)}, "
        f"from {len(account.objects):,} raw objects; {size_text(account.raw_bytes)} read and "
        f"{size_text(written)} written{took}"
    )


def _partition_metadata(hour: Hour, commit: HourCommit | None, changes: list[PartitionChange]) -> dict[str, Any]:
    own = [change for change in changes if change.partition == hour.hive_path]
    changed = sum(change.action != "unchanged" for change in own)
    seen = f"the {commit.account.silver_rows:,} Silver rows of the committed build" if commit else "nothing"
    return {
        "summary": f"Queries see {seen}; {changed} of {len(own)} catalog entries changed",
        "changed_entries": changed,
        "changes": markdown_table(
            ("table", "action", "reason"), [(change.table, change.action, change.reason) for change in own]
        ),
        **({"build_id": commit.build_id, "dagster/partition_row_count": commit.account.silver_rows} if commit else {}),
    }
