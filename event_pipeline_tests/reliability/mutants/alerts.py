"""Mutants of the alerts: what is wrong, what has been reported, and the channels."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_STATE = "event_pipeline/alerts/state.py"
_DELIVERY = "event_pipeline/alerts/delivery.py"
_LOOK = "event_pipeline/alerts/look.py"
_FACTS = "event_pipeline/alerts/facts.py"
_CONDITIONS = "event_pipeline/alerts/conditions.py"
_CHANNELS = "event_pipeline/alerts/channels.py"

_OF_STATE = "event_pipeline_tests/alerts/test_state.py"
_OF_DELIVERY = "event_pipeline_tests/alerts/test_delivery.py"
_OF_LOOK = "event_pipeline_tests/alerts/test_look.py"
_OF_CONDITIONS = "event_pipeline_tests/alerts/test_conditions.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "What one process learned of alerts is lost when another one stores the state at the same time",
        _DELIVERY,
        "        if document.replace(state.to_json(), present[1] if present else None):\n            return state\n",
        "        now = document.read()\n        if document.replace(state.to_json(), now[1] if now else None):\n"
        "            return state\n",
        f"{_OF_DELIVERY}::test_an_alert_that_another_process_raised_meanwhile_is_kept",
    ),
    Mutant(
        "A swap of the state of alerts that lost counts as done",
        _DELIVERY,
        "        if document.replace(state.to_json(), present[1] if present else None):\n            return state\n",
        "        document.replace(state.to_json(), present[1] if present else None)\n        return state\n",
        f"{_OF_DELIVERY}::test_an_alert_that_another_process_raised_meanwhile_is_kept",
    ),
    Mutant(
        "Two processes deliver the same messages",
        _DELIVERY,
        "return replace(state, delivering_until=now + _LEASE if mine else None)",
        "return state",
        f"{_OF_DELIVERY}::test_two_processes_do_not_tell_the_same_twice",
    ),
    Mutant(
        "The lease of a process that died while it delivered never ends",
        _DELIVERY,
        "        if state.delivering_until and now < state.delivering_until:\n",
        "        if state.delivering_until:\n",
        f"{_OF_DELIVERY}::test_a_process_that_dies_while_it_delivers_costs_one_repeat_under_the_same_id",
    ),
    Mutant(
        "A message that one channel took counts as delivered to all",
        _DELIVERY,
        "if (name, each.message.message_id) not in sent))",
        "if each.message.message_id not in {sent_id for _, sent_id in sent}))",
        f"{_OF_DELIVERY}::test_a_webhook_that_fails_loses_nothing_and_is_tried_again_later[500]",
    ),
    Mutant(
        "A receiver that asks for time does not get it",
        _DELIVERY,
        "wait = max(min(_FIRST_WAIT * 2 ** min(count - 1, 10), _LONGEST_WAIT), asked)",
        "wait = min(_FIRST_WAIT * 2 ** min(count - 1, 10), _LONGEST_WAIT)",
        f"{_OF_DELIVERY}::test_a_receiver_that_asks_for_time_gets_it",
    ),
    Mutant(
        "A webhook that refuses a message counts as having taken it",
        _CHANNELS,
        "        if not 200 <= answer.status < 300:\n",
        "        if answer.status >= 500:\n",
        f"{_OF_DELIVERY}::test_a_webhook_that_fails_loses_nothing_and_is_tried_again_later[404]",
    ),
    Mutant(
        "Alerts are resolved while nothing can be read",
        _STATE,
        "        elif alert and seen.complete:\n",
        "        elif alert:\n",
        f"{_OF_STATE}::test_what_cannot_be_read_is_raised_and_leaves_other_alerts_as_they_are",
    ),
    Mutant(
        "An alert is resolved as soon as its cause is away for a moment",
        _STATE,
        "            if seen.now - since >= settling(len(resolved.get(kind, ())), settings):\n",
        "            if seen.now >= since:\n",
        f"{_OF_STATE}::test_an_alert_is_resolved_when_its_cause_has_been_gone_for_a_while",
    ),
    Mutant(
        "A cause that comes and goes is reported each time",
        _STATE,
        "settling(len(resolved.get(kind, ())), settings)",
        "settling(0, settings)",
        f"{_OF_STATE}::test_a_cause_that_comes_and_goes_makes_few_messages",
    ),
    Mutant(
        "What was added to an alert is reported again and again",
        _STATE,
        "told=(*alert.told, *new), messages=number",
        "messages=number",
        f"{_OF_STATE}::test_an_alert_that_grows_is_told_again_after_waits_that_double",
    ),
    Mutant(
        "An alert that grows is reported at once each time",
        _STATE,
        "    if not new or now < alert.told_at + wait:\n",
        "    if not new:\n",
        f"{_OF_STATE}::test_an_alert_that_grows_is_told_again_after_waits_that_double",
    ),
    Mutant(
        "A report is made at each look",
        _STATE,
        "            reported[report.report_id] = seen.now\n",
        "",
        f"{_OF_STATE}::test_a_report_is_made_once_and_a_newer_digest_replaces_an_undelivered_one",
    ),
    Mutant(
        "A channel that is no longer set is waited for",
        _STATE,
        "tuple(name for name in each.pending if name in channels)",
        "each.pending",
        f"{_OF_STATE}::test_a_channel_that_is_no_longer_set_is_not_waited_for",
    ),
    Mutant(
        "Keys that are not read are forgotten by the next look of the same hour",
        _LOOK,
        "keys_looked_at=None if facts.unmatched else str(Hour.containing(now)),",
        "keys_looked_at=str(Hour.containing(now)),",
        f"{_OF_LOOK}::test_keys_that_are_not_read_stay_told_until_they_are_gone",
    ),
    Mutant(
        "A fault that passes is reported at once",
        _LOOK,
        "passing = isinstance(error, TransientError) and state.looked_at and now - state.looked_at < patience",
        "passing = False",
        f"{_OF_LOOK}::test_a_passing_fault_is_told_only_when_it_has_lasted",
    ),
    Mutant(
        "A fault that should pass is never reported, however long it lasts",
        _LOOK,
        "passing = isinstance(error, TransientError) and state.looked_at and now - state.looked_at < patience",
        "passing = isinstance(error, TransientError)",
        f"{_OF_LOOK}::test_a_passing_fault_is_told_only_when_it_has_lasted",
    ),
    Mutant(
        "What could not be read counts as a complete look",
        _LOOK,
        "[] if passing else [cannot_look(error)], complete=False)",
        "[] if passing else [cannot_look(error)], complete=True)",
        f"{_OF_LOOK}::test_what_cannot_be_read_is_told_and_the_sensor_goes_on",
    ),
    Mutant(
        "A run that is retried counts as failed for good",
        _FACTS,
        'is_retried = run.is_failure and run.tags.get(WILL_RETRY_TAG) == "true"',
        "is_retried = False",
        f"{_OF_LOOK}::test_a_run_that_dagster_starts_again_has_not_failed_for_good",
    ),
    Mutant(
        "A run that failed is forgotten although no later run of its hours succeeded",
        _FACTS,
        "        if has_failed and about:\n",
        "        if has_failed and len(about) > 1:\n",
        f"{_OF_LOOK}::test_a_run_that_failed_for_good_is_told_until_a_later_one_succeeds",
    ),
    Mutant(
        "A damaged commit record hides that it is damaged",
        _CONDITIONS,
        "        _damaged_commit_record(facts),\n",
        "",
        f"{_OF_CONDITIONS}::test_an_hour_whose_commit_record_cannot_be_read_is_named_with_the_file",
    ),
    Mutant(
        "Freshness is reported at the limit itself",
        _CONDITIONS,
        "    if facts.now - since <= limit:\n",
        "    if facts.now - since < limit:\n",
        f"{_OF_CONDITIONS}::test_the_limit_of_freshness_itself_is_still_fresh",
    ),
    Mutant(
        "Hours that wait to be built are fresh as long as something else is published",
        _CONDITIONS,
        "    if newest is None and not landed:\n",
        "    if not landed:\n",
        f"{_OF_CONDITIONS}::test_a_silent_producer_is_named_as_the_cause",
    ),
    Mutant(
        "Hours whose raw objects expired are reported as lost",
        _CONDITIONS,
        "if state is HourState.LOST_OBJECTS and facts.objects.get(hour)]",
        "if state is HourState.LOST_OBJECTS]",
        f"{_OF_CONDITIONS}::test_hours_that_lost_some_objects_are_found_and_expired_ones_are_not",
    ),
    Mutant(
        "A run that broke the law is reported twice",
        _CONDITIONS,
        "runs = [run for run in facts.failed_runs if not run.breaks_law]",
        "runs = list(facts.failed_runs)",
        f"{_OF_CONDITIONS}::test_a_run_that_failed_of_the_law_is_told_as_that_and_not_twice",
    ),
    Mutant(
        "An hour with too few objects is reported before its grace is over",
        _CONDITIONS,
        "if 0 < found < expected and hour.end + timedelta(minutes=settings.grace_minutes) <= facts.now:",
        "if 0 < found < expected:",
        f"{_OF_CONDITIONS}::test_a_closed_hour_with_too_few_objects_is_told_once_its_grace_is_over",
    ),
    Mutant(
        "Records that were sent again are reported in the hour that had them first",
        _CONDITIONS,
        "neighbours_sent_again(hour, accounts).items() if other < hour}",
        "neighbours_sent_again(hour, accounts).items() if other > hour}",
        f"{_OF_CONDITIONS}::test_records_that_were_sent_again_are_found_in_the_later_hour",
    ),
)
