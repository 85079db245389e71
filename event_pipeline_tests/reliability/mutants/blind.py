"""Mutants of the tests' own tools: a proof that passes for the wrong reason must fail a test as well."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_STEPS = "event_pipeline_tests/reliability/steps.py"
_ORACLE = "event_pipeline_tests/oracle.py"
_OF_STEPS = "event_pipeline_tests/reliability/test_steps.py"
_INTERLEAVING = "event_pipeline_tests/engines/test_local_interleaving.py"
_FAULT = f"{_OF_STEPS}::test_a_step_may_fail_lose_its_reply_or_be_the_last_one"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "No step of a sweep of faults ever fails",
        _STEPS,
        "        fault = self.asked(step)\n",
        "        fault = self.asked(step) and None\n",
        _FAULT,
    ),
    Mutant(
        "A step that is to fail before it acts acts all the same",
        _STEPS,
        "            raise error_of(step)\n        if fault is Fault.HALF_DONE",
        "            act()\n            raise error_of(step)\n        if fault is Fault.HALF_DONE",
        _FAULT,
    ),
    Mutant(
        "A process that has ended goes on taking steps",
        _STEPS,
        "            if self.ended:\n                raise Killed\n            step = Step(",
        "            step = Step(",
        f"{_OF_STEPS}::test_nothing_acts_in_a_process_that_has_ended",
    ),
    Mutant(
        "A call of a port that changes what is stored is no step",
        _STEPS,
        'Store: ("write", "take", "replace", "delete"),',
        'Store: ("write", "take", "delete"),',
        f"{_OF_STEPS}::test_every_call_of_a_port_is_a_step_unless_it_reaches_nothing_outside",
    ),
    Mutant(
        "The two sides of a race never run at the same time",
        _INTERLEAVING,
        "                assert self.go_on.wait(60)\n",
        "                self.go_on.set()\n",
        f"{_INTERLEAVING}::test_a_slow_registration_never_shows_an_older_build[slow]",
    ),
)
