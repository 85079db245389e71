"""The alert conditions: each is a pure function from facts to at most one finding of its kind.

A finding covers every hour that shares its cause, so that an outage of 200 hours is one finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from event_pipeline.alerts.volume import volume_band
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.state import HourState
from event_pipeline.rules.accounting import UnmatchedKey, and_erased
from event_pipeline.rules.contract import MAX_UNKNOWN_FIELDS, SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline.rules.drift import drift_of, drift_text
from event_pipeline.rules.framing import WronglyFramed, objects_text, remedies, wrongly_framed
from event_pipeline.rules.hour import Hour, hours_text
from event_pipeline.rules.printable import plural
from event_pipeline.rules.resent import described, neighbours_sent_again
from event_pipeline.settings import Settings

OBJECTS_NAMED = 3
"""Objects per hour that a finding lists."""
ERROR_CHARACTERS = 400
"""Characters of an error's message: as much as a phone shows at once."""


class AlertKind(StrEnum):
    """What an alert is about. The value is also the anchor of its section in docs/runbook.md."""

    FRESHNESS = "freshness"
    VOLUME = "volume"
    QUARANTINE_SHARE = "quarantine_share"
    UNREADABLE_OBJECTS = "unreadable_objects"
    DAMAGED_COMMIT_RECORD = "damaged_commit_record"
    OBJECT_FRAMING = "object_framing"
    CONSERVATION_LAW = "conservation_law"
    LOST_OBJECTS = "lost_objects"
    SENT_AGAIN = "sent_again"
    SCHEMA_DRIFT = "schema_drift"
    FEW_OBJECTS = "few_objects"
    UNMATCHED_KEYS = "unmatched_keys"
    RUN_FAILED = "run_failed"
    CANNOT_LOOK = "cannot_look"
    BACKFILL_FINISHED = "backfill_finished"
    DAILY_DIGEST = "daily_digest"


class Severity(StrEnum):
    """How soon someone should look."""

    CRITICAL = "critical"
    """Look now: data is missing or wrong."""
    WARNING = "warning"
    """Look today."""
    INFO = "info"
    """For information, nothing to do."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """What people are told about one kind of alert: docs/alerts.md is written from it."""

    severity: Severity
    open_while: str
    """When it is open, or what a report reports."""
    threshold: str = "none"
    """The settings that decide, without their prefix, or the fixed limit."""


ALERT_RULES: Mapping[AlertKind, AlertRule] = {
    AlertKind.FRESHNESS: AlertRule(
        Severity.CRITICAL,
        "the newest published hour with raw objects ended too long ago; says whether hours wait or nothing landed",
        "`ALERT_FRESHNESS_MINUTES`",
    ),
    AlertKind.VOLUME: AlertRule(
        Severity.WARNING,
        "an hour's record count is outside the band for the same hour of recent days",
        "`ALERT_VOLUME_...`",
    ),
    AlertKind.QUARANTINE_SHARE: AlertRule(
        Severity.CRITICAL, "a larger share of an hour's records is quarantined", "`QUARANTINE_ERROR_SHARE`"
    ),
    AlertKind.UNREADABLE_OBJECTS: AlertRule(
        Severity.WARNING, "raw objects of an hour could not be read", "`ALERT_UNREADABLE_OBJECTS`"
    ),
    AlertKind.DAMAGED_COMMIT_RECORD: AlertRule(
        Severity.CRITICAL,
        "the commit record of an hour cannot be read: names the file; the other hours are still monitored",
    ),
    AlertKind.OBJECT_FRAMING: AlertRule(
        Severity.CRITICAL,
        "a raw object is not one JSON object per line, so its records are lost: names the key, what it is, what to do",
        "half of its records, or a fifth of its bytes",
    ),
    AlertKind.CONSERVATION_LAW: AlertRule(
        Severity.CRITICAL,
        "records in and out of an hour do not add up: its commit record shows it, or a build failed because of it",
    ),
    AlertKind.LOST_OBJECTS: AlertRule(Severity.WARNING, "a published hour lost some of its raw objects"),
    AlertKind.SENT_AGAIN: AlertRule(
        Severity.WARNING,
        "an hour contains records that an earlier hour (of the last `ALERT_HOURS`) also contains",
        "0.1 % of the smaller hour",
    ),
    AlertKind.SCHEMA_DRIFT: AlertRule(
        Severity.WARNING,
        "records have fields outside the contract: names them, with the number of records and one value; only further "
        "names are reported again",
    ),
    AlertKind.FEW_OBJECTS: AlertRule(
        Severity.WARNING,
        "a closed hour has fewer raw objects than expected, after the hour's grace period",
        "`EXPECTED_OBJECTS`, `GRACE_MINUTES`",
    ),
    AlertKind.UNMATCHED_KEYS: AlertRule(
        Severity.WARNING,
        "keys below `events/` are not read: a different name, an impossible hour, a link or a pipe; gives the number "
        "for each reason",
    ),
    AlertKind.RUN_FAILED: AlertRule(
        Severity.CRITICAL, "a run failed, Dagster does not retry it, and no later run of its hours succeeded"
    ),
    AlertKind.CANNOT_LOOK: AlertRule(
        Severity.CRITICAL,
        "data folder, buckets or Dagster cannot be read, so nothing else is known",
        "transient errors: as `freshness`",
    ),
    AlertKind.BACKFILL_FINISHED: AlertRule(
        Severity.INFO, "report: a backfill finished, with hours done and failed; a warning if hours failed"
    ),
    AlertKind.DAILY_DIGEST: AlertRule(
        Severity.INFO,
        "report: hours, records, quarantine, revenue, cost and open alerts of yesterday",
        "`ALERT_DIGEST_HOUR`",
    ),
}


PUBLISHED_STATES = frozenset(
    (HourState.READY, HourState.CHANGED, HourState.LOST_OBJECTS, HourState.OUTDATED, HourState.RETIRED)
)
"""States in which Gold shows a build of the hour, though perhaps not the newest."""


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A Dagster run that failed permanently: it is not retried, and no later run of its hours succeeded."""

    run_id: str
    hours: tuple[Hour, ...]
    """Hours for which no later run succeeded; empty for jobs without hours."""
    job: str
    error: str
    """Readable text."""
    fault: str
    """Class of the pipeline error that failed the run; empty for any other exception."""
    breaks_law: bool


@dataclass(frozen=True, slots=True)
class FinishedBackfill:
    """A Dagster backfill that has ended."""

    backfill_id: str
    status: str
    hours_done: tuple[Hour, ...]
    hours_failed: tuple[Hour, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What landed in one day, for the digest."""

    published: int
    records: int
    silver_rows: int
    quarantined: int
    duplicates: int
    unreadable: int
    revenue: Decimal
    missing: tuple[Hour, ...]
    """Hours of the day with nothing published."""
    cost: Decimal | None
    """In USD; None where nothing is billed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The input of the conditions."""

    now: datetime
    states: Mapping[Hour, HourState]
    """States of the closed hours within the alert window, in order."""
    commits: Mapping[Hour, HourCommit]
    """Commit records of the same hours."""
    records: Mapping[Hour, int]
    """Records of published hours, weeks back, from which the normal volume is learned."""
    records_before: Mapping[Hour, int]
    """The same at the previous evaluation."""
    newest_published: Hour | None
    """Newest published hour with raw objects, however old."""
    objects: Mapping[Hour, int]
    """Raw objects now listed for the hours of `states`."""
    unmatched: Sequence[UnmatchedKey] = ()
    """Every key under `events/` that is not read, however old."""
    failed_runs: Sequence[FailedRun] = ()
    backfills: Sequence[FinishedBackfill] = ()
    damaged: Mapping[Hour, str] = field(default_factory=dict)
    """Hour whose commit record cannot be read -> path and reason; nothing else is known about it."""


@dataclass(frozen=True, slots=True)
class AlertFinding:
    """One thing that is wrong now, with every hour or run that shares the cause."""

    kind: AlertKind
    severity: Severity
    title: str
    """One line with hours, value and threshold."""
    subjects: Mapping[str, str]
    """Hour, run, job or field -> its details."""
    advice: str
    """What to do first."""
    section: str
    """Anchor in docs/runbook.md."""
    hour: str | None = None
    """The hour whose page in Dagster is most relevant."""
    run_id: str | None = None
    """The run whose page in Dagster is most relevant."""


@dataclass(frozen=True, slots=True)
class Report:
    """A message that is sent once and never resolved."""

    kind: AlertKind
    report_id: str
    """A report with an id that was sent before is not sent again."""
    title: str
    lines: tuple[str, ...]
    severity: Severity = Severity.INFO
    supersedes: str = field(default="")
    """Undelivered reports with this name are replaced by this one."""


def find(facts: Facts, settings: Settings) -> list[AlertFinding]:
    """Return what is wrong according to the facts: at most one finding of each kind."""
    found = (
        _freshness(facts, settings),
        _volume(facts, settings),
        _quarantine_share(facts, settings),
        _unreadable_objects(facts, settings),
        _damaged_commit_record(facts),
        _object_framing(facts),
        _conservation_law(facts),
        _lost_objects(facts),
        _sent_again(facts),
        _schema_drift(facts),
        _few_objects(facts, settings),
        _unmatched_keys(facts),
        _run_failed(facts),
    )
    return [finding for finding in found if finding]


def cannot_look(error: Exception) -> AlertFinding:
    """Return the finding that monitoring is blind, because data folder, buckets or Dagster cannot be read."""
    return _found(
        AlertKind.CANNOT_LOOK,
        "The pipeline's data cannot be read, so it is not monitored",
        {"error": shortened(str(error))},
        "`event-pipeline doctor` shows what is broken and how to fix it",
        type(error).__name__,
    )


def backfill_reports(backfills: Iterable[FinishedBackfill]) -> list[Report]:
    """Return one report per backfill: how it ended, hours done and failed, duration."""
    reports = []
    for each in backfills:
        failed = hours_text(each.hours_failed) if each.hours_failed else ""
        lines = [f"{len(each.hours_done):,} hours done, {len(each.hours_failed):,} failed, in {_span(each.seconds)}"]
        lines += [f"failed: {failed}"] if failed else []
        severity = Severity.WARNING if each.hours_failed or each.status != "completed_success" else Severity.INFO
        title = f"Backfill {each.backfill_id} finished: {each.status.replace('_', ' ')}"
        reports.append(Report(AlertKind.BACKFILL_FINISHED, each.backfill_id, title, tuple(lines), severity))
    return reports


def digest(day: str, facts: DayFacts, open_alerts: Sequence[str]) -> Report:
    """Return the digest of one UTC day of landing hours."""
    share = facts.quarantined / facts.records if facts.records else 0.0
    lines = [
        f"hours: {facts.published} of {facts.published + len(facts.missing)} published",
        *([f"missing: {hours_text(facts.missing)}"] if facts.missing else []),
        f"records: {facts.records:,}, of them {facts.silver_rows:,} Silver rows, {facts.duplicates:,} duplicates",
        f"quarantined: {facts.quarantined:,} ({share:.2%})",
        f"unreadable objects: {facts.unreadable:,}",
        f"revenue: {facts.revenue:,.2f} USD (of what landed on the day)",
        *([f"cost: {facts.cost:,.2f} USD (estimate)"] if facts.cost is not None else []),
        f"open alerts: {', '.join(open_alerts) or 'none'}",
    ]
    return Report(AlertKind.DAILY_DIGEST, f"digest-{day}", f"Digest of {day}", tuple(lines), supersedes="digest")


def shortened(text: str) -> str:
    """Truncate a long message to what a phone shows."""
    line = " ".join(text.split())
    return line if len(line) <= ERROR_CHARACTERS else line[: ERROR_CHARACTERS - 1] + "…"


def _freshness(facts: Facts, settings: Settings) -> AlertFinding | None:
    newest, limit = facts.newest_published, timedelta(minutes=settings.alert_freshness_minutes)
    waiting = [hour for hour, state in facts.states.items() if state not in PUBLISHED_STATES]
    landed = [hour for hour in waiting if facts.objects.get(hour)]
    if newest is None and not landed:
        return None  # a new pipeline: nothing has ever landed
    since = newest.end if newest else landed[0].end
    if facts.now - since <= limit:
        return None
    age = _span((facts.now - since).total_seconds())
    if landed:
        cause = f"raw objects of {hours_text(landed)} are waiting to be built"
        advice = (
            "`event-pipeline status`, then `event-pipeline run` builds it; check that daemon and sensor are running"
        )
    else:
        cause = "no raw objects have landed since"
        advice = "ask the producer: the pipeline has built everything it was given"
    said = f"the newest is {newest}, which ended {age} ago" if newest else f"nothing is published, for {age}"
    return _found(
        AlertKind.FRESHNESS,
        f"No hour published for {age} (limit {_span(limit.total_seconds())})",
        {"newest hour": said, "cause": cause},
        advice,
        AlertKind.FRESHNESS,
        hour=str(landed[-1]) if landed else None,
    )


def _volume(facts: Facts, settings: Settings) -> AlertFinding | None:
    """Find hours outside their band: the unbroken series up to now, and those published since the last evaluation.

    An unusual hour further back cannot recover, so the alert is over once normal hours follow it.
    """
    counts = _counts(facts)
    odd, numbers = [], {}
    for hour, records in counts.items():
        band = volume_band(hour, facts.records, settings)
        if band and records not in band:
            odd.append(hour)
            share = records / band.expected - 1 if band.expected >= 1 else 1.0
            numbers[hour] = (
                f"{records:,} records, {share:+.0%} of the expected {band.expected:,.0f} "
                f"(normal {band.low:,.0f} to {band.high:,.0f}, from {band.days} days)"
            )
    row: set[Hour] = set()
    for hour in reversed(counts):
        if hour not in numbers:
            break
        row.add(hour)
    told = [hour for hour in odd if hour in row or facts.records_before.get(hour) != counts[hour]]
    if not told:
        return None
    return _found(
        AlertKind.VOLUME,
        f"Unusual number of records in {hours_text(told)}",
        {str(hour): numbers[hour] for hour in told},
        "compare raw objects and records in `event-pipeline status`, then ask the producer",
        AlertKind.VOLUME,
        hour=str(told[-1]),
    )


def _counts(facts: Facts) -> dict[Hour, int]:
    """Return the records of hours in order; an hour in which nothing landed counts once a later one is published."""
    counts = {}
    for hour, state in facts.states.items():
        if state in PUBLISHED_STATES and hour in facts.records:
            counts[hour] = facts.records[hour]
        elif state is HourState.NO_RAW and facts.newest_published and hour < facts.newest_published:
            counts[hour] = 0
    return counts


def _quarantine_share(facts: Facts, settings: Settings) -> AlertFinding | None:
    limit, details = settings.quarantine_error_share, {}
    for hour, commit in facts.commits.items():
        account = commit.account
        share = account.quarantined / account.records if account.records else 0.0
        if share > limit:
            reason, most = max(account.quarantined_by_reason.items(), key=lambda each: (each[1], each[0]))
            details[hour] = (
                f"{share:.2%}: {account.quarantined:,} of {account.records:,} records, most {reason} ({most:,})"
            )
    return _about_hours(
        AlertKind.QUARANTINE_SHARE,
        f"More than {limit:.2%} of the records quarantined in",
        details,
        "look at `silver.quarantine` by reason and object: a producer's change, or a rule that no longer fits",
    )


def _unreadable_objects(facts: Facts, settings: Settings) -> AlertFinding | None:
    details = {}
    for hour, commit in facts.commits.items():
        unreadable = commit.account.unreadable
        if len(unreadable) >= settings.alert_unreadable_objects:
            first = unreadable[0]
            details[hour] = f"{len(unreadable)} of {len(commit.account.objects)} objects, first {first.key}: " + str(
                first.unreadable
            )
    return _about_hours(
        AlertKind.UNREADABLE_OBJECTS,
        "Raw objects cannot be read in",
        details,
        "ask the producer to write the objects again: replaced objects are picked up automatically",
    )


def _damaged_commit_record(facts: Facts) -> AlertFinding | None:
    return _about_hours(
        AlertKind.DAMAGED_COMMIT_RECORD,
        "Commit records cannot be read, so alerts do not cover",
        {hour: shortened(error) for hour, error in facts.damaged.items()},
        "move the file away and rebuild the hour: `event-pipeline run`; queries still see what was published",
    )


def _object_framing(facts: Facts) -> AlertFinding | None:
    details, found = dict[Hour, str](), list[WronglyFramed]()
    for hour, commit in facts.commits.items():
        before = facts.commits.get(hour.plus(-1))
        if framed := wrongly_framed(commit.account, before.account if before else None):
            details[hour] = objects_text(framed, OBJECTS_NAMED)
            found += framed
    return _about_hours(
        AlertKind.OBJECT_FRAMING,
        "Raw objects are not one JSON object per line, so their records are lost, in",
        details,
        f"ask the producer: {remedies(found)}; replaced objects are picked up automatically",
    )


def _conservation_law(facts: Facts) -> AlertFinding | None:
    details = dict[Hour, str]()
    run_id = None
    for run in facts.failed_runs:
        if run.breaks_law:
            run_id = run_id or run.run_id
            details |= {hour: shortened(run.error) for hour in run.hours}
    for hour, commit in facts.commits.items():
        account = commit.account
        files = [commit.files_of(table.full_name) for table in (SILVER_EVENTS, SILVER_QUARANTINE)]
        written = tuple(sum(file.rows for file in each) for each in files)
        lost = sum(each.unaccounted for each in account.objects)
        # An hour past its retention has no such files left, but its account still has to add up.
        if lost or (any(files) and written != (account.silver_rows, account.quarantined)):
            details[hour] = (
                f"{account.records:,} records, but {written[0]:,} Silver rows, {written[1]:,} quarantined, "
                f"{account.duplicates:,} duplicates{and_erased(account.erased)}"
            )
    return _about_hours(
        AlertKind.CONSERVATION_LAW,
        "Records in and out do not add up in",
        details,
        "a bug in the pipeline, not bad data: keep raw as it is, run `event-pipeline verify`, call its maintainers",
        run_id,
    )


def _lost_objects(facts: Facts) -> AlertFinding | None:
    lost = [hour for hour, state in facts.states.items() if state is HourState.LOST_OBJECTS and facts.objects.get(hour)]
    return _about_hours(
        AlertKind.LOST_OBJECTS,
        "Raw objects of published hours are lost in",
        {
            hour: f"{facts.objects[hour]} objects now, built from {len(facts.commits[hour].account.objects)}"
            for hour in lost
        },
        "restore the objects; the published build stays, and new objects of the hour wait",
    )


def _sent_again(facts: Facts) -> AlertFinding | None:
    """Report the later of two hours that hold the same records: that is where they were sent again."""
    accounts, details = {hour: commit.account for hour, commit in facts.commits.items()}, dict[Hour, str]()
    for hour in accounts:
        earlier = {other: found for other, found in neighbours_sent_again(hour, accounts).items() if other < hour}
        if earlier:
            details[hour] = described(earlier)
    return _about_hours(
        AlertKind.SENT_AGAIN,
        "Records of another hour were sent again in",
        details,
        "revenue and counts include them twice: ask the producer, remove the object that was sent again from raw",
    )


def _schema_drift(facts: Facts) -> AlertFinding | None:
    """Find the fields outside the contract; the subjects are their names, so that only further names are news."""
    hours = [hour for hour, commit in facts.commits.items() if drift_of([commit.account])]
    if not hours:
        return None
    fields = drift_of(facts.commits[hour].account for hour in hours)
    if len(fields) > MAX_UNKNOWN_FIELDS:
        # A producer writes values as names: every hour has others, and each would be news for ever.
        subjects = {"many names": f"{len(fields):,}, most often {shortened(drift_text(fields, OBJECTS_NAMED))}"}
    else:
        # A message shows the last ones: those in most records.
        subjects = {each.shown_name: each.details for each in reversed(fields)}
    names = sum(not each.explanation for each in fields)
    count = f"{names:,} {plural(names, 'field')}"
    return _found(
        AlertKind.SCHEMA_DRIFT,
        f"Schema drift: {count} outside the contract in {hours_text(hours)}",
        subjects,
        "nothing is lost, silver.events keeps them in the column rescued: ask the producer what they mean, then "
        "declare the fields that are wanted",
        AlertKind.SCHEMA_DRIFT,
        hour=str(hours[-1]),
    )


def _few_objects(facts: Facts, settings: Settings) -> AlertFinding | None:
    """Find hours with too few objects after their grace period; hours without any belong to another condition."""
    expected, details = settings.expected_objects, dict[Hour, str]()
    for hour in facts.states:
        commit = facts.commits.get(hour)
        found = max(facts.objects.get(hour, 0), len(commit.account.objects) if commit else 0)
        if 0 < found < expected and hour.end + timedelta(minutes=settings.grace_minutes) <= facts.now:
            details[hour] = f"{found} of {expected} expected objects"
    return _about_hours(
        AlertKind.FEW_OBJECTS,
        f"Fewer than {expected} raw objects in",
        details,
        "ask the producer whether objects are missing: late ones are picked up automatically. "
        "EVENT_PIPELINE_EXPECTED_OBJECTS is the number that counts as complete",
    )


def _unmatched_keys(facts: Facts) -> AlertFinding | None:
    by_reason: dict[str, list[str]] = {}
    for each in facts.unmatched:
        by_reason.setdefault(each.reason, []).append(each.key)
    if not by_reason:
        return None
    count = len(facts.unmatched)
    return _found(
        AlertKind.UNMATCHED_KEYS,
        f"{count:,} key{'s' if count > 1 else ''} {'are' if count > 1 else 'is'} not read",
        {reason: shortened(f"{len(keys):,}, first {keys[0]}") for reason, keys in by_reason.items()},
        "`event-pipeline status` lists them: move each object under the hour in which it landed, or out of events/",
        AlertKind.UNMATCHED_KEYS,
    )


def _run_failed(facts: Facts) -> AlertFinding | None:
    runs = [run for run in facts.failed_runs if not run.breaks_law]
    if not runs:
        return None
    hours = sorted({hour for run in runs for hour in run.hours})
    jobs = sorted({run.job for run in runs if not run.hours})
    where = " and ".join([*([hours_text(hours)] if hours else []), *(f"job {job}" for job in jobs)])
    details = dict[str, str]()
    for run in runs:
        # By hours, not by run: the same hours failing again are not a new subject.
        about = hours_text(run.hours) if run.hours else f"job {run.job}"
        details.setdefault(about, f"run {run.run_id[:8]}: {shortened(run.error)}")
    return _found(
        AlertKind.RUN_FAILED,
        f"Runs failed and are not retried: {where}",
        details,
        "read the error below; once its cause is fixed, `event-pipeline run` builds what is due",
        runs[0].fault or AlertKind.RUN_FAILED,
        hour=str(hours[-1]) if hours else None,
        run_id=runs[0].run_id,
    )


def _found(
    kind: AlertKind,
    title: str,
    subjects: Mapping[str, str],
    advice: str,
    section: str,
    hour: str | None = None,
    run_id: str | None = None,
) -> AlertFinding:
    return AlertFinding(kind, ALERT_RULES[kind].severity, title, subjects, advice, section, hour, run_id)


def _about_hours(
    kind: AlertKind,
    what: str,
    details: Mapping[Hour, str],
    advice: str,
    run_id: str | None = None,
) -> AlertFinding | None:
    if not details:
        return None
    hours = sorted(details)
    subjects = {str(hour): details[hour] for hour in hours}
    return _found(kind, f"{what} {hours_text(hours)}", subjects, advice, kind, str(hours[-1]), run_id)


def _span(seconds: float) -> str:
    """Format a duration for people."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 48 * 60 else f"{minutes // 1440} days"
