"""Proofs that go blind: the recount of `verify`, and the checks of the assets."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_VERIFY = "event_pipeline/inspection/verification.py"
_VERIFY_TESTS = "event_pipeline_tests/inspection/test_verification.py"
_OTHER_ROWS = f"{_VERIFY_TESTS}::test_other_published_rows_are_found"
_CHECKS = "event_pipeline/assets/checks.py"
_CHECKS_TESTS = "event_pipeline_tests/assets/test_checks.py"

MUTANTS = (
    Mutant(
        "published rows of an object that raw does not have are not compared",
        _VERIFY,
        "for key in sorted(expected.keys() | published.keys()):",
        "for key in sorted(expected):",
        _OTHER_ROWS,
    ),
    Mutant(
        "rows are counted but their content is not compared",
        _VERIFY,
        "if want.count == have.count:",
        "if want.count != have.count:",
        _OTHER_ROWS,
    ),
    Mutant(
        "the quarantine is not compared",
        _VERIFY,
        "    compared += _compare_rows(engine, SILVER_QUARANTINE, hour, quarantine, pool)\n",
        "",
        _OTHER_ROWS,
    ),
    Mutant(
        "reasons of refused records are not compared with the commit record",
        _VERIFY,
        'yield f"quarantined {place}", dict(sorted(want.reasons.items())), dict(account.quarantined_by_reason)',
        'yield f"quarantined {place}", want.reasons.total(), account.quarantined',
        f"{_VERIFY_TESTS}::test_other_reasons_of_as_many_records_in_a_commit_record_are_found",
    ),
    Mutant(
        "an object that was wrongly set aside is not noticed",
        _VERIFY,
        'yield f"unreadable {place}", recount is None, account.unreadable is not None',
        'yield f"unreadable {place}", recount is None, recount is None',
        f"{_VERIFY_TESTS}::test_an_object_that_was_set_aside_although_it_can_be_read_is_found",
    ),
    Mutant(
        "a record that names an object that is not there passes",
        _VERIFY,
        "    if state is HourState.CHANGED:",
        "    if state is HourState.CHANGED and len(listing.objects) >= len(commit.account.objects):",
        f"{_VERIFY_TESTS}::test_an_object_that_was_set_aside_and_is_not_there_is_found",
    ),
    Mutant(
        "Gold of days whose Silver is retired is not checked",
        _VERIFY,
        "                differences = _compare_totals(engine, table, day)\n",
        "                differences = ()\n",
        f"{_VERIFY_TESTS}::test_gold_of_a_day_whose_silver_is_retired_is_held_to_its_totals",
    ),
    Mutant(
        "surplus rows of Gold pass, only missing ones are found",
        _VERIFY,
        "FROM (SELECT * FROM published EXCEPT ALL SELECT {columns} FROM recomputed)",
        "FROM (SELECT * FROM published EXCEPT SELECT {columns} FROM recomputed)",
        f"{_VERIFY_TESTS}::test_missing_and_surplus_gold_rows_are_found",
    ),
    Mutant(
        "missing rows of Gold pass, only other ones are found",
        _VERIFY,
        "FROM (SELECT {columns} FROM recomputed EXCEPT ALL SELECT * FROM published)",
        "FROM (SELECT {columns} FROM recomputed EXCEPT ALL SELECT {columns} FROM recomputed)",
        f"{_VERIFY_TESTS}::test_missing_and_surplus_gold_rows_are_found",
    ),
    Mutant(
        "Gold days without any Silver are not looked at",
        _VERIFY,
        "    days |= {day for shown in gold_rows.values() for day in shown if hours is None or hours.touches(day)}\n",
        "",
        f"{_VERIFY_TESTS}::test_gold_days_without_any_silver_are_found",
    ),
    Mutant(
        "the rows that queries count are taken from the files instead",
        _VERIFY,
        "verdict.silver_rows, counted_rows)\n",
        "verdict.silver_rows, verdict.silver_rows)\n",
        f"{_VERIFY_TESTS}::test_rows_that_queries_do_not_count_are_found",
    ),
    Mutant(
        "the ledger's numbers are not compared",
        _VERIFY,
        'for name, value in expected.items():\n            yield f"{HOUR_LEDGER.full_name} {name}", value, row[name]',
        'for name, value in expected.items():\n            yield f"{HOUR_LEDGER.full_name} {name}", value, value',
        _OTHER_ROWS,
    ),
    Mutant(
        "control totals of the commit record are compared by their events only",
        _VERIFY,
        "yield place, expected_days.get(day, DayTotals()), commit.account.days.get(day, DayTotals())",
        "yield place, expected_days.get(day, DayTotals()).events, commit.account.days.get(day, DayTotals()).events",
        f"{_VERIFY_TESTS}::test_wrong_control_totals_in_a_commit_record_are_found",
    ),
    Mutant(
        "an hour that queries see in an older build is proven",
        _VERIFY,
        "if registered != commit.build_id:",
        "if registered is None:",
        f"{_VERIFY_TESTS}::test_an_unregistered_build_is_a_difference",
    ),
    Mutant(
        "a published hour without a commit record is proven",
        _VERIFY,
        'compared.append(("commit record", "one that names the published build", "none"))',
        "pass",
        f"{_VERIFY_TESTS}::test_a_published_hour_without_a_commit_record_is_a_difference",
    ),
)
