"""What moto's queues are kinder about than SQS: a call that does not wait may come back empty."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from event_pipeline_tests.emulator.inside import Inside
from event_pipeline_tests.emulator.wire import Call


class Queues:
    """Messages taken from the queues of one account."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._short_polls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def receive_message(self, call: Call) -> dict[str, Any]:
        """Take messages; every second call on a queue that does not wait finds nothing.

        SQS developer guide, short and long polling: a short poll asks a sample of the servers, so it may be empty
        although there are messages; a long poll asks all of them. A long poll does not last here: all is there.
        """
        url = call.parameters["QueueUrl"]
        if not call.parameters.get("WaitTimeSeconds"):
            with self._lock:
                self._short_polls[url] += 1
                if self._short_polls[url] % 2:
                    return {}
        answer = self._inside.sqs.receive_message(**{**call.parameters, "WaitTimeSeconds": 0})
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
