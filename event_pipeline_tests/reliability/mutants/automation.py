"""Mutants of what starts by itself and of what users start: sensor, schedule, runs, backfills, replays, exit codes."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_SENSORS = "event_pipeline/automation/sensors.py"
_SCHEDULES = "event_pipeline/automation/schedules.py"
_DUE = "event_pipeline/automation/due.py"
_ATTEMPTS = "event_pipeline/dagster_instance/attempts.py"
_RUNS = "event_pipeline/dagster_instance/run_hours.py"
_KEPT = "event_pipeline/dagster_instance/sqlite_storage.py"
_BUILDING = "event_pipeline/operations/building.py"
_BACKFILLS = "event_pipeline/operations/backfills.py"
_REPLAYING = "event_pipeline/operations/replaying.py"

_SENSOR = "event_pipeline_tests/automation/test_sensor.py"
_AT_SIZE = "event_pipeline_tests/automation/test_sensor_at_size.py"
_FAILED = "event_pipeline_tests/automation/test_failed_hours.py"
_SCHEDULE = "event_pipeline_tests/automation/test_schedule.py"
_STORAGE = "event_pipeline_tests/dagster_instance/test_sqlite_storage.py"
_PREPARE = "event_pipeline_tests/dagster_instance/test_prepare.py"
_OF_BACKFILLS = "event_pipeline_tests/operations/test_backfills.py"
_CLI = "event_pipeline_tests/test_cli.py"

MUTANTS: tuple[Mutant, ...] = (
    # -- sensor
    Mutant(
        "New SQL is not noticed while days are settled",
        _SENSORS,
        "conclusion = _digest(str(now.date()), str(hours), versions, *listed)",
        "conclusion = _digest(str(now.date()), str(hours), *listed)",
        f"{_SENSOR}::test_new_sql_is_noticed_although_the_days_are_settled",
    ),
    Mutant(
        "A settled day is never compared again",
        _SENSORS,
        "conclusion = _digest(str(now.date()), str(hours), versions, *listed)",
        "conclusion = _digest(str(hours), versions, *listed)",
        f"{_AT_SIZE}::test_everything_is_compared_again_each_day",
    ),
    Mutant(
        "An hour is asked for under a used run key when the SQL is new",
        _SENSORS,
        "return _digest(due.listing.fingerprint, due.state, published, versions)",
        "return _digest(due.listing.fingerprint, due.state, published)",
        f"{_SENSOR}::test_new_sql_is_asked_for_at_once_and_under_another_key",
    ),
    Mutant(
        "An object that is replaced and put back is asked for under a used run key",
        _SENSORS,
        "return _digest(due.listing.fingerprint, due.state, published, versions)",
        "return _digest(due.listing.fingerprint, due.state, versions)",
        f"{_SENSOR}::test_an_object_that_is_replaced_and_put_back_is_requested_each_time",
    ),
    Mutant(
        "New input of an hour waits for the request of the old one",
        _SENSORS,
        "    if last is None or last.wanted != wanted:\n",
        "    if last is None:\n",
        f"{_SENSOR}::test_new_input_is_requested_at_once_although_the_old_was_requested_a_moment_ago",
    ),
    Mutant(
        "An hour whose run vanished is asked for under the key of its first request",
        _SENSORS,
        'f"{hour} {asked[hour].wanted} {asked[hour].attempt} {history',
        'f"{hour} {asked[hour].wanted} {history',
        f"{_SENSOR}::test_an_hour_that_stays_unbuilt_is_asked_for_again_after_twice_as_long_each_time",
    ),
    Mutant(
        "After a reset cursor an hour that failed is asked for under a used run key",
        _SENSORS,
        "{history[hour].newest_run if hour in history else ''}",
        "",
        f"{_FAILED}::test_a_reset_cursor_asks_again_at_once_under_a_key_of_its_own",
    ),
    Mutant(
        "A day counts as settled although something in it is due",
        _SENSORS,
        "**{day: look.digest for day, look in looks.items() if not look.due},",
        "**{day: look.digest for day, look in looks.items()},",
        f"{_SENSOR}::test_an_hour_that_lacks_objects_waits_for_the_grace_after_its_end",
    ),
    Mutant(
        "Days that notices named and that did not fit into one look are forgotten",
        _SENSORS,
        "frozenset(day for day in days.noticed if day not in looks or day in held),",
        "frozenset(day for day in days.noticed if day in held),",
        f"{_AT_SIZE}::test_500_recent_and_noticed_objects_are_asked_for_by_the_next_looks",
    ),
    Mutant(
        "A day that a notice named is forgotten while an hour of it waits",
        _SENSORS,
        "frozenset(day for day in days.noticed if day not in looks or day in held),",
        "frozenset(day for day in days.noticed if day not in looks),",
        f"{_AT_SIZE}::test_a_noticed_day_is_looked_at_until_nothing_waits_in_it",
    ),
    Mutant(
        "The queue is told that notices are done with before the cursor that holds them is stored",
        _SENSORS,
        "notices = _take_notices(context, engine, cursor.receipts)",
        'notices = _take_notices(context, engine, ["all of them"])',
        f"{_AT_SIZE}::test_a_notice_is_done_with_once_the_cursor_that_holds_it_comes_back",
    ),
    Mutant(
        "What the sensor asked for is forgotten where it is not the turn of the day",
        _SENSORS,
        "if (hour in due or hour.start.date() not in looks) and hour >= settings.first_partition",
        "if hour in due and hour >= settings.first_partition",
        f"{_SENSOR}::test_the_cursor_remembers_what_it_asked_for_among_hours_whose_turn_it_is_not",
    ),
    Mutant(
        "The sweep never reaches the oldest day",
        _SENSORS,
        "end = max(first, begin - timedelta(days=-(-settings.sensor_sweep_hours // 24)))",
        "end = max(first + ONE_DAY, begin - timedelta(days=-(-settings.sensor_sweep_hours // 24)))",
        f"{_SENSOR}::test_the_sweep_begins_again_when_it_has_met_the_recent_hours",
    ),
    Mutant(
        "An hour is asked for while a run works on it",
        _SENSORS,
        "            if hour in under_way:\n",
        "            if False:\n",
        f"{_SENSOR}::test_an_hour_is_not_asked_for_while_a_run_of_it_waits_or_runs[DagsterRunStatus.STARTED]",
    ),
    Mutant(
        "An hour that failed is asked for together with others",
        _SENSORS,
        "if each.attempt or (hour in history and history[hour].failed)}",
        "if False}",
        f"{_FAILED}::test_an_hour_that_failed_is_not_asked_for_together_with_new_ones",
    ),
    Mutant(
        "An object with a time in the future holds its hour back until then",
        _DUE,
        "any(abs(now - each.modified) < quiet for each in listing.objects)",
        "any(now - each.modified < quiet for each in listing.objects)",
        f"{_SENSOR}::test_an_object_of_the_future_holds_its_hour_back_no_longer_than_one_that_is_being_written[ahead2]",
    ),
    Mutant(
        "An hour is asked for while its newest object is being written",
        _DUE,
        "        return NOT_QUIET\n",
        "        return None\n",
        f"{_SENSOR}::test_an_hour_is_left_alone_until_its_newest_object_is_quiet",
    ),
    # -- schedule
    Mutant(
        "The hour that just closed without objects is never built as an empty one",
        _SCHEDULES,
        "and not (state is HourState.NO_RAW and hour >= known):",
        "and not (state is HourState.NO_RAW and hour > known):",
        f"{_SCHEDULE}::test_an_hour_without_objects_is_asked_for_until_it_is_built_as_an_empty_hour",
    ),
    Mutant(
        "The schedule asks for an hour that a run works on",
        _SCHEDULES,
        "            elif hour in under_way:\n",
        "            elif False:\n",
        f"{_SCHEDULE}::test_an_hour_that_a_run_works_on_is_skipped",
    ),
    Mutant(
        "The schedule asks again at once for an hour that failed",
        _SCHEDULES,
        "return not is_new and now < before.last + retry_wait(before.failed, settings)",
        "return False",
        f"{_FAILED}::test_the_schedule_waits_for_the_retry_and_asks_for_the_hour_by_itself",
    ),
    # -- runs
    Mutant(
        "A run that was cancelled ends the row of failed ones",
        _ATTEMPTS,
        "            elif not run.is_finished or run.status is not dg.DagsterRunStatus.CANCELED:\n",
        "            else:\n",
        f"{_FAILED}::test_a_run_that_was_cancelled_says_nothing_of_the_hours_that_failed_before",
    ),
    Mutant(
        "A later process with the number of a dead one keeps a run alive",
        _RUNS,
        "        if abs(process.create_time() - started) > _START_TOLERANCE_SECONDS:\n            return False\n",
        "",
        f"{_PREPARE}::test_a_process_of_the_same_number_that_started_later_is_another_one",
    ),
    Mutant(
        "A killed process that nobody has waited for keeps a run alive",
        _RUNS,
        "return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)",
        "return True",
        f"{_PREPARE}::test_a_killed_process_is_gone_though_its_parent_has_not_asked_for_its_exit_code",
    ),
    Mutant(
        "A killed run keeps its place in the pool",
        _RUNS,
        "            instance.event_log_storage.free_concurrency_slots_for_run(run_id)\n",
        "            pass\n",
        f"{_PREPARE}::test_a_killed_command_is_recorded_as_failed_and_gives_its_pool_slot_back",
    ),
    Mutant(
        "A run that ended keeps its place in the pool if whoever closed it was killed then",
        _RUNS,
        "if run is None or (run.is_finished and not _is_executed_still(run)):",
        "if run_id in [run.run_id for run in abandoned]:",
        f"{_STORAGE}::test_a_pool_is_free_wherever_the_one_who_was_to_free_it_was_killed",
    ),
    Mutant(
        "A run that waits for a pool does not notice that its holder is gone",
        _KEPT,
        "            close_abandoned_runs(self._instance)\n",
        "",
        f"{_STORAGE}::test_a_pool_is_free_wherever_the_one_who_was_to_free_it_was_killed",
    ),
    Mutant(
        "A place in a pool that nobody gave to the next one stays empty",
        _KEPT,
        "            self._assign_free_place(concurrency_key)\n",
        "",
        f"{_STORAGE}::test_a_pool_is_free_wherever_the_one_who_was_to_free_it_was_killed",
    ),
    Mutant(
        "A run that is cancelled by force, and still at work, loses its place in the pool",
        _RUNS,
        "return _process_of(run) is not None and not process_is_gone(run)",
        "return False",
        f"{_PREPARE}::test_a_run_that_counts_as_ended_and_is_still_at_work_keeps_its_pool",
    ),
    Mutant(
        "A run that ended in order while the runs were listed is recorded as failed",
        _RUNS,
        "if (run := instance.get_run_by_id(each.run_id)) and not run.is_finished]",
        "if (run := instance.get_run_by_id(each.run_id))]",
        f"{_PREPARE}::test_a_run_that_ends_in_order_while_the_runs_are_looked_through_is_no_abandoned_one",
    ),
    # -- what users start
    Mutant(
        "`run` does not see that files of an hour are gone",
        _BUILDING,
        "states = pipeline.states(now, hours, listings=landed, thorough=True)",
        "states = pipeline.states(now, hours, listings=landed)",
        "event_pipeline_tests/engines/test_local_catalog_damage.py::test_an_hour_whose_files_are_gone_is_due",
    ),
    Mutant(
        "`run` builds an hour from fewer objects than are published without being told to",
        _BUILDING,
        "if hour in landed and not allow_lost_objects)",
        "if False)",
        f"{_CLI}::test_an_hour_with_lost_objects_is_refused_named_and_rebuilt_on_an_explicit_word",
    ),
    Mutant(
        "`run` ends with 0 although hours failed",
        "event_pipeline/commands/run.py",
        "        raise typer.Exit(ExitCode.NOT_HELD)\n",
        "        raise typer.Exit\n",
        f"{_CLI}::test_a_failing_range_does_not_stop_the_others",
    ),
    Mutant(
        "`run` ends with 0 although an hour of the range was refused",
        "event_pipeline/commands/run.py",
        "    if hours is not None and plan.lost:\n",
        "    if False:\n",
        f"{_CLI}::test_an_hour_with_lost_objects_is_refused_named_and_rebuilt_on_an_explicit_word",
    ),
    Mutant(
        "`verify` ends with 0 although something differs",
        "event_pipeline/commands/verify.py",
        "    if verification.differences or verification.wrongly_framed:\n",
        "    if verification.wrongly_framed:\n",
        f"{_CLI}::test_verify_ends_with_1_and_a_table_of_what_differs",
    ),
    Mutant(
        "`alerts` ends with 0 although something is wrong",
        "event_pipeline/commands/alerts.py",
        "    if found.seen.findings:\n",
        "    if False:\n",
        "event_pipeline_tests/commands/test_alerts_command.py"
        "::test_what_is_wrong_is_shown_and_ends_with_1_and_nobody_is_told",
    ),
    Mutant(
        "`erase` ends with 0 although an hour could not be read",
        "event_pipeline/commands/erase.py",
        "        complete = not (erased.damaged or erased.changed_raw)\n",
        "        complete = True\n",
        "event_pipeline_tests/commands/test_erase.py"
        "::test_nothing_is_built_with_a_damaged_list_and_a_damaged_hour_is_named",
    ),
    Mutant(
        "A backfill takes hours that a run works on",
        _BACKFILLS,
        "        if hour not in under_way:\n",
        "        if True:\n",
        f"{_OF_BACKFILLS}::test_a_plan_says_what_becomes_of_every_hour",
    ),
    Mutant(
        "A backfill with hours left counts as finished",
        _BACKFILLS,
        "    if not left:\n        return BackfillState.FINISHED\n",
        "    if left >= 0:\n        return BackfillState.FINISHED\n",
        f"{_OF_BACKFILLS}::test_a_backfill_is_paused_and_resumed_with_exactly_what_is_left",
    ),
    Mutant(
        "A replay builds hours that lost objects",
        _REPLAYING,
        "state in (HourState.RETIRED, HourState.LOST_OBJECTS) or",
        "state is HourState.RETIRED or",
        "event_pipeline_tests/commands/test_quarantine.py::test_hours_that_lost_raw_objects_are_not_replayed",
    ),
    Mutant(
        "A replay builds hours whose result cannot differ",
        _REPLAYING,
        " or (state is HourState.READY and not force):",
        ":",
        "event_pipeline_tests/commands/test_quarantine.py::test_nothing_is_replayed_when_nothing_can_change",
    ),
    Mutant(
        "Gold may be given up while hours with Silver still change it",
        "event_pipeline/settings.py",
        "needed = self.silver_retention_days + self.event_max_age_days + 1",
        "needed = self.silver_retention_days",
        "event_pipeline_tests/engines/test_local_housekeeping.py"
        "::test_gold_may_not_be_given_up_before_the_hours_that_still_change_it",
    ),
    Mutant(
        "Other limits of event times are the same rules",
        "event_pipeline/rules/contract.py",
        'return f"{rules_digest()}:{times}:{sizes}"',
        'return f"{rules_digest()}:{sizes}"',
        "event_pipeline_tests/test_settings.py"
        "::test_other_verdicts_follow_from_other_limits_so_the_rules_version_differs",
    ),
    Mutant(
        "`housekeeping` ends with 0 although something is held",
        "event_pipeline/commands/housekeeping.py",
        "    if kept:\n",
        "    if False:\n",
        "event_pipeline_tests/operations/test_housekeeping.py"
        "::test_what_another_process_holds_is_left_for_the_next_time",
    ),
    # -- clocks
    Mutant(
        "The sensor goes by the machine's clock, its hours by another",
        _SENSORS,
        "now, pipeline = clock(), Pipeline(engine, gold_tables, settings)",
        "now, pipeline = datetime.now(UTC), Pipeline(engine, gold_tables, settings)",
        f"{_SENSOR}::test_an_hour_is_left_alone_until_its_newest_object_is_quiet",
    ),
    Mutant(
        "A tick that comes late asks for the hours of now, not for those of its own time",
        _SCHEDULES,
        "now = context.scheduled_execution_time\n",
        "now = datetime.now(context.scheduled_execution_time.tzinfo)\n",
        f"{_SCHEDULE}::test_a_tick_asks_for_the_hour_that_just_closed",
    ),
    Mutant(
        "An hour that ends while it is built is committed as one that was over",
        "event_pipeline/engines/silver.py",
        "started, now = time.monotonic(), self._clock()",
        "started, now = time.monotonic(), commit_time()",
        "event_pipeline_tests/engines/test_local_open_hours.py"
        "::test_an_hour_that_ends_while_it_is_built_is_built_whole_after_all",
    ),
)
