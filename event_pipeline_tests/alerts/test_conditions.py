"""The conditions: what is found in which facts, with which hours and numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from event_pipeline.alerts.conditions import (
    AlertFinding,
    AlertKind,
    DayFacts,
    Facts,
    FailedRun,
    FinishedBackfill,
    Severity,
    backfill_reports,
    digest,
    find,
)
from event_pipeline.engines.commit import DataFile, HourCommit
from event_pipeline.engines.state import HourState
from event_pipeline.rules.accounting import DayTotals, HourAccount, ObjectAccount, UnmatchedKey
from event_pipeline.rules.arrow import EVENTS_SCHEMA
from event_pipeline.rules.contract import MAX_UNKNOWN_FIELDS
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.sampler import Sampler
from event_pipeline.settings import load_settings
from event_pipeline_tests.alerts.facts import NOW, WINDOW, commit, facts

HOUR = Hour.parse("2025-12-07T22")
SETTINGS = load_settings(expected_objects=1)


def found(given: Facts) -> dict[AlertKind, AlertFinding]:
    """Findings by kind."""
    return {finding.kind: finding for finding in find(given, SETTINGS)}


def test_a_pipeline_that_is_well_has_no_finding() -> None:
    assert found(facts()) == {}


def test_an_hour_whose_commit_record_cannot_be_read_is_named_with_the_file() -> None:
    error = "/data/lake/commits/hours/hour=22.json: not JSON"
    finding = found(facts(states={HOUR: HourState.DAMAGED}, damaged={HOUR: error}))[AlertKind.DAMAGED_COMMIT_RECORD]

    assert finding.severity is Severity.CRITICAL
    assert finding.title == "Commit records cannot be read, so alerts do not cover 1 hour (2025-12-07T22)"
    assert finding.subjects == {str(HOUR): error}


def test_a_new_pipeline_has_no_finding() -> None:
    nothing = dict.fromkeys(WINDOW, HourState.NO_RAW)
    assert found(facts(states=nothing)) == {}


def test_hours_that_wait_to_be_built_for_too_long_are_not_fresh() -> None:
    waiting = [HOUR.plus(offset) for offset in (1, 2, 3)]
    objects = dict.fromkeys(waiting, 12)
    given = facts(states=dict.fromkeys(waiting, HourState.NEW), objects=objects)
    finding = found(given)[AlertKind.FRESHNESS]

    assert finding.severity is Severity.CRITICAL
    assert finding.title == "No hour published for 3 h 30 min (limit 2 h 30 min)"
    assert finding.subjects["newest hour"] == "the newest is 2025-12-07T22, which ended 3 h 30 min ago"
    assert "raw objects of 3 hours (2025-12-07T23 to 2025-12-08T02) are waiting" in finding.subjects["cause"]


@pytest.mark.parametrize(("minutes", "fresh"), [(150, True), (151, False)])
def test_the_limit_of_freshness_itself_is_still_fresh(minutes: int, fresh: bool) -> None:
    newest = max(WINDOW)
    given = facts(now=newest.end + timedelta(minutes=minutes))
    assert (AlertKind.FRESHNESS not in found(given)) == fresh


def test_a_silent_producer_is_named_as_the_cause() -> None:
    silent = {hour: HourState.NO_RAW for hour in WINDOW if hour > HOUR}
    assert found(facts(states=silent))[AlertKind.FRESHNESS].subjects["cause"] == "no raw objects have landed since"


def test_raw_objects_of_which_nothing_was_ever_published_are_not_fresh() -> None:
    given = facts(states=dict.fromkeys(WINDOW, HourState.NEW), objects=dict.fromkeys(WINDOW, 12))
    assert found(given)[AlertKind.FRESHNESS].subjects["newest hour"] == "nothing is published, for 23 h 30 min"


def test_too_many_quarantined_records_are_found_with_their_reason() -> None:
    bad = [commit(HOUR.plus(offset), 90, {"not_json": 7, "invalid_price": 3}) for offset in (0, 1)]
    finding = found(facts(bad))[AlertKind.QUARANTINE_SHARE]

    assert finding.title == ("More than 5.00% of the records quarantined in 2 hours (2025-12-07T22 to 2025-12-08T00)")
    assert finding.subjects == {
        "2025-12-07T22": "10.00%: 10 of 100 records, most not_json (7)",
        "2025-12-07T23": "10.00%: 10 of 100 records, most not_json (7)",
    }


def test_the_share_of_the_threshold_itself_is_allowed() -> None:
    assert found(facts([commit(HOUR, 95, {"not_json": 5})])) == {}


def test_unreadable_objects_are_found_by_key() -> None:
    finding = found(facts([commit(HOUR, unreadable=["events/x", "events/y"])]))[AlertKind.UNREADABLE_OBJECTS]
    assert finding.subjects == {"2025-12-07T22": "2 of 3 objects, first events/x: truncated"}


def test_records_without_a_verdict_break_the_law() -> None:
    finding = found(facts([commit(HOUR, lost=1)]))[AlertKind.CONSERVATION_LAW]
    assert finding.severity is Severity.CRITICAL
    assert finding.subjects == {"2025-12-07T22": "101 records, but 100 Silver rows, 0 quarantined, 0 duplicates"}


def test_a_run_that_failed_of_the_law_is_told_as_that_and_not_twice() -> None:
    run = FailedRun("r" * 36, (HOUR,), "hourly_pipeline", "2025-12-07T22: 5 records, but 4", "BrokenLawError", True)
    kinds = found(facts(failed_runs=[run]))
    assert set(kinds) == {AlertKind.CONSERVATION_LAW}
    assert kinds[AlertKind.CONSERVATION_LAW].run_id == run.run_id


def test_failed_runs_of_many_hours_are_one_finding_with_the_section_of_their_error() -> None:
    hours = tuple(HourRange(HOUR, HOUR.plus(3)))
    runs = [
        FailedRun("a" * 36, hours, "hourly_pipeline", "silver_events: the disk is full", "StorageError", False),
        FailedRun("b" * 36, (), "repair_partitions", "no", "", False),
    ]
    finding = found(facts(failed_runs=runs))[AlertKind.RUN_FAILED]
    assert finding.title == (
        "Runs failed and are not retried: 3 hours (2025-12-07T22 to 2025-12-08T01) and job repair_partitions"
    )
    assert finding.subjects == {
        "3 hours (2025-12-07T22 to 2025-12-08T01)": "run aaaaaaaa: silver_events: the disk is full",
        "job repair_partitions": "run bbbbbbbb: no",
    }
    assert (finding.section, finding.run_id) == ("StorageError", "a" * 36)


def test_hours_that_lost_some_objects_are_found_and_expired_ones_are_not() -> None:
    lost = {HOUR: HourState.LOST_OBJECTS, HOUR.plus(1): HourState.LOST_OBJECTS}
    objects = {HOUR: 11, HOUR.plus(1): 0}
    finding = found(facts(states=lost, objects=objects))[AlertKind.LOST_OBJECTS]
    assert finding.subjects == {"2025-12-07T22": "11 objects now, built from 1"}


def test_records_that_were_sent_again_are_found_in_the_later_hour() -> None:
    ids, none = ["u_1", "u_2"], [None, None]
    columns = [[1, 2], ids, ids, ["page_view", "purchase"], ids, ids, [None, 2], [None, 1_000], none, none, [1, 2]]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, EVENTS_SCHEMA.types, strict=True)]
    sampler = Sampler()
    sampler.add(pa.table(arrays, schema=EVENTS_SCHEMA))
    sample = sampler.finish()
    shared = [
        HourCommit(
            hour,
            f"run-{hour}",
            hour.end,
            "1",
            HourAccount(
                (ObjectAccount(f"object of {hour}", "e", 10, 2, 2, sample=sample),),
                {"2025-12-07": DayTotals({"page_view": 2})},
            ),
            (DataFile("silver.events", "e.parquet", 2, 10, ""),),
        )
        for hour in (HOUR, HOUR.plus(2))
    ]
    finding = found(facts(shared))[AlertKind.SENT_AGAIN]
    assert finding.severity is Severity.WARNING
    assert finding.title == "Records of another hour were sent again in 1 hour (2025-12-08T00)"
    assert finding.subjects == {
        "2025-12-08T00": "2025-12-07T22 holds 2 records, revenue 20.00 USD (object of 2025-12-08T00 like object of "
        "2025-12-07T22) as well"
    }
    assert AlertKind.SENT_AGAIN not in found(facts(shared[:1]))


def volumes(today: dict[Hour, int]) -> Facts:
    """Two weeks of 1,000 records an hour, but for some hours of today; the look before saw only the two weeks."""
    before = {hour.plus(-24 * day): 1_000 for hour in WINDOW for day in range(1, 15)}
    now = {hour: 1_000 for hour in WINDOW} | today
    return facts(records=before | now, records_before=before | {h: n for h, n in now.items() if h not in today})


def test_a_row_of_hours_with_few_records_up_to_now_is_one_finding() -> None:
    last = max(WINDOW)
    finding = found(volumes({last.plus(-1): 400, last: 0}))[AlertKind.VOLUME]
    assert finding.title == "Unusual number of records in 2 hours (2025-12-08T00 to 2025-12-08T02)"
    assert finding.subjects["2025-12-08T00"] == (
        "400 records, -60% of the expected 1,000 (normal 769 to 1,300, from 14 days)"
    )


def test_an_odd_hour_in_the_middle_is_told_when_it_is_published_and_is_over_after_that() -> None:
    given = volumes({HOUR: 5_000})
    assert list(found(given)[AlertKind.VOLUME].subjects) == ["2025-12-07T22"]
    seen = Facts(**{name: getattr(given, name) for name in Facts.__slots__} | {"records_before": given.records})
    assert found(seen) == {}


def test_an_hour_in_which_nothing_landed_counts_as_zero_once_a_later_one_is_published() -> None:
    given = volumes({})
    states = {**given.states, HOUR: HourState.NO_RAW}
    silent = Facts(**{name: getattr(given, name) for name in Facts.__slots__} | {"states": states})
    assert found(silent)[AlertKind.VOLUME].subjects["2025-12-07T22"].startswith("0 records, -100% of the expected")


def test_a_backfill_is_reported_with_its_counts() -> None:
    hours = tuple(HourRange(HOUR, HOUR.plus(30)))
    good = FinishedBackfill("abcdefgh", "completed_success", hours, (), 4_000)
    bad = FinishedBackfill("hgfedcba", "completed_failed", hours[:29], hours[29:], 30)
    first, second = backfill_reports([good, bad])
    assert (first.severity, first.lines) == (Severity.INFO, ("30 hours done, 0 failed, in 66 min",))
    assert second.severity is Severity.WARNING
    assert second.lines == ("29 hours done, 1 failed, in 30 s", "failed: 1 hour (2025-12-09T03)")


def test_the_digest_adds_up_the_day() -> None:
    day = DayFacts(23, 1_000, 950, 20, 30, 1, Decimal("1234.50"), (HOUR,), Decimal("3.214"))
    assert digest("2025-12-07", day, ["volume"]).lines == (
        "hours: 23 of 24 published",
        "missing: 1 hour (2025-12-07T22)",
        "records: 1,000, of them 950 Silver rows, 30 duplicates",
        "quarantined: 20 (2.00%)",
        "unreadable objects: 1",
        "revenue: 1,234.50 USD (of what landed on the day)",
        "cost: 3.21 USD (estimate)",
        "open alerts: volume",
    )
    assert NOW.date().isoformat() == "2025-12-08"


def test_a_closed_hour_with_too_few_objects_is_told_once_its_grace_is_over() -> None:
    settings = load_settings(expected_objects=3, grace_minutes=45)
    last = WINDOW.last
    objects = {hour: 3 for hour in WINDOW} | {WINDOW.first: 2, WINDOW.first.plus(1): 0, last: 1}
    # Two and a half hours past two: the last hour ended half an hour ago, its grace is not over.
    finding = next(each for each in find(facts(objects=objects), settings) if each.kind is AlertKind.FEW_OBJECTS)
    assert finding.subjects == {
        str(WINDOW.first): "2 of 3 expected objects",
        str(WINDOW.first.plus(1)): "1 of 3 expected objects",  # as published: raw has expired since
    }
    assert finding.severity is Severity.WARNING
    enough = find(facts(objects={hour: 3 for hour in WINDOW}), settings)
    assert AlertKind.FEW_OBJECTS not in [each.kind for each in enough]


def test_keys_that_are_not_read_are_told_by_reason_and_never_all_of_them() -> None:
    unmatched = [UnmatchedKey(f"events/{number:05}.csv", "not named so") for number in range(12_345)]
    unmatched.append(UnmatchedKey("events/pipe", "a pipe, no regular file"))
    finding = found(facts(unmatched=unmatched))[AlertKind.UNMATCHED_KEYS]
    assert finding.title == "12,346 keys are not read"
    assert finding.subjects == {
        "not named so": "12,345, first events/00000.csv",
        "a pipe, no regular file": "1, first events/pipe",
    }


def drifted(hour: Hour, fields: dict[str, int], examples: dict[str, str] | None = None) -> HourCommit:
    """A published hour with fields outside the contract."""
    published = commit(hour)
    account = replace(published.account, unknown_fields=fields, unknown_examples=examples or {})
    return replace(published, account=account)


def test_fields_outside_the_contract_are_named_with_counts_and_an_example() -> None:
    given = facts(
        [
            drifted(HOUR, {"referrer": 1_000, "(not rescued)": 2}, {"referrer": '"mail"'}),
            drifted(HOUR.plus(1), {"referrer": 200, "a\x1b[2Jb": 1}, {"referrer": '"ad"', "a\x1b[2Jb": "1"}),
        ]
    )
    finding = found(given)[AlertKind.SCHEMA_DRIFT]

    assert finding.severity is Severity.WARNING
    assert finding.title == ("Schema drift: 2 fields outside the contract in 2 hours (2025-12-07T22 to 2025-12-08T00)")
    assert list(finding.subjects.items()) == [
        ("(not rescued)", "2 records: fields that did not fit into rescued"),
        (r"a\x1b[2Jb", "1 record, for example 1"),
        ("referrer", '1,200 records, for example "mail"'),
    ]
    assert finding.hour == str(HOUR.plus(1))


def test_a_field_that_was_declared_since_is_no_drift() -> None:
    assert AlertKind.SCHEMA_DRIFT not in found(facts([drifted(HOUR, {"category": 7})]))


def test_values_used_as_names_are_one_subject_whatever_the_names_are() -> None:
    def subjects(first: int) -> dict[str, str]:
        many = {f"id_{number}": 1 for number in range(first, first + MAX_UNKNOWN_FIELDS + 1)}
        return dict(found(facts([drifted(HOUR, many)]))[AlertKind.SCHEMA_DRIFT].subjects)

    assert subjects(100) == {
        "many names": "101, most often id_100 (1 record), id_101 (1 record), id_102 (1 record), and 98 more"
    }
    assert subjects(500).keys() == {"many names"}
