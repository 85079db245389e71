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
    Mutant(
        "verify takes records that differ below the millisecond for duplicates",
        _VERIFY,
        "identity = (digest + instant % 1_000) % _DIGEST_MODULUS",
        "identity = digest",
        f"{_VERIFY_TESTS}::test_records_that_differ_below_the_millisecond_are_no_duplicates_to_anybody",
    ),
    Mutant(
        "only the last of the days that an hour touches counts in a check",
        _CHECKS,
        "failed = [verdict for verdict in verdicts if not verdict.passed]",
        "failed = [verdict for verdict in verdicts[-1:] if not verdict.passed]",
        f"{_CHECKS_TESTS}::test_any_failed_day_fails_the_hour",
    ),
    Mutant(
        "only the first of the days that an hour touches counts in a check",
        _CHECKS,
        "failed = [verdict for verdict in verdicts if not verdict.passed]",
        "failed = [verdict for verdict in verdicts[:1] if not verdict.passed]",
        f"{_CHECKS_TESTS}::test_any_failed_day_fails_the_hour",
    ),
    Mutant(
        "surplus rows in a partition pass",
        "event_pipeline/engines/engine.py",
        "            if counted != expected:",
        "            if counted < expected:",
        f"{_CHECKS_TESTS}::test_rows_that_no_commit_names_keep_a_partition_from_passing",
    ),
    Mutant(
        "the check of a partition always passes",
        _CHECKS,
        '    return {\n        "partition_readable": CheckVerdict(\n            not faults,',
        '    return {\n        "partition_readable": CheckVerdict(\n            True,',
        f"{_CHECKS_TESTS}::test_a_partition_that_cannot_be_read_stops_gold",
    ),
    Mutant(
        "reasons of quarantined records are not compared by the law",
        _CHECKS,
        "for reason in sorted({*expected.quarantined_by_reason, *rows.quarantined_by_reason})",
        "for reason in ()",
        f"{_CHECKS_TESTS}::test_other_reasons_of_as_many_refused_records_break_the_law",
    ),
    Mutant(
        "the law counts the files only if there are more rows than recorded",
        _CHECKS,
        "        if recorded != held\n",
        "        if recorded < held\n",
        f"{_CHECKS_TESTS}::test_a_commit_record_that_counts_other_rows_than_the_files_hold_breaks_the_law",
    ),
    Mutant(
        "objects whose records do not add up pass the law",
        _CHECKS,
        "lost = [each for each in account.objects if each.unaccounted]",
        "lost = [each for each in account.objects if each.unaccounted < 0]",
        f"{_CHECKS_TESTS}::test_records_without_a_verdict_break_the_law_and_nobody_sees_the_hour",
    ),
    Mutant(
        "Gold with more than Silver has passes",
        _CHECKS,
        "unequal = [each for each in measures if each.gold != each.silver]",
        "unequal = [each for each in measures if each.gold < each.silver]",
        f"{_CHECKS_TESTS}::test_a_cent_too_much_in_gold_is_found",
    ),
    Mutant(
        "doubled rows of Gold pass",
        "event_pipeline/engines/host/duckdb_sql.py",
        'f" HAVING count(*) > 1 ORDER BY',
        'f" HAVING count(*) > 2 ORDER BY',
        f"{_CHECKS_TESTS}::test_doubled_rows_in_gold_fail_grain_and_reconciliation",
    ),
    Mutant(
        "an unreadable object passes",
        _CHECKS,
        "    return CheckVerdict(\n        not unreadable,",
        "    return CheckVerdict(\n        True,",
        f"{_CHECKS_TESTS}::test_an_unreadable_object_is_an_error_that_names_it_and_the_hour_goes_on",
    ),
    Mutant(
        "a share of quarantined records above the error's threshold is a warning",
        _CHECKS,
        "ERROR if share > error else WARN,",
        "WARN,",
        f"{_CHECKS_TESTS}::test_the_share_of_quarantined_records_warns_and_then_fails",
    ),
    Mutant(
        "keys outside the layout pass",
        _CHECKS,
        "            not unmatched,\n",
        "            True,\n",
        f"{_CHECKS_TESTS}::test_a_key_that_does_not_match_the_layout_is_a_warning",
    ),
    Mutant(
        "more objects than expected pass",
        _CHECKS,
        "            found == expected or not listing.hour.is_closed(now),",
        "            found >= expected or not listing.hour.is_closed(now),",
        f"{_CHECKS_TESTS}::test_another_number_of_objects_than_expected_is_a_warning",
    ),
)
