"""An AWS account on loopback for tests and for trying by hand, in which Glue jobs and Athena queries really run.

    with EmulatedAws() as aws:
        aws.create_resources()
        aws.fail_next("athena.StartQueryExecution", Fault.THROTTLED)

What it does not emulate is in docs/aws.md.
"""

from __future__ import annotations

from event_pipeline_tests.emulator.faults import Fault, Held, PlannedFault, Request
from event_pipeline_tests.emulator.loopback import LeftLoopbackError, only_loopback
from event_pipeline_tests.emulator.server import EmulatedAws
from event_pipeline_tests.emulator.wire import AwsError

__all__ = [
    "AwsError",
    "EmulatedAws",
    "Fault",
    "Held",
    "LeftLoopbackError",
    "PlannedFault",
    "Request",
    "only_loopback",
]
