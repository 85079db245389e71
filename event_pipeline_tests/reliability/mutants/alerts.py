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
