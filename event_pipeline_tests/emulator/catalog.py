"""What moto's catalog lacks: partitions in pages and segments, and statistics of columns, which nobody made here."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from event_pipeline_tests.emulator.inside import Inside
from event_pipeline_tests.emulator.wire import AwsError, Call


def paged_partitions(inside: Inside, page_size: int) -> Callable[[Call], Any]:
    """Return GetPartitions in pages, as AWS gives them; moto gives everything at once."""

    def get_partitions(call: Call) -> Any:
        parameters = call.parameters
        segment = parameters.pop("Segment", {"SegmentNumber": 0, "TotalSegments": 1})
        start = int(base64.b64decode(parameters.pop("NextToken", "") or b"MA=="))
        size = min(parameters.pop("MaxResults", None) or page_size, page_size)
        try:
            found = inside.glue.get_partitions(**parameters)["Partitions"]
        except inside.glue.exceptions.ClientError as error:
            said = error.response["Error"]
            raise AwsError(said["Code"], said["Message"]) from error
        found = found[segment["SegmentNumber"] :: segment["TotalSegments"]]
        end = start + size
        answer: dict[str, Any] = {"Partitions": found[start:end]}
        if end < len(found):
            answer["NextToken"] = base64.b64encode(str(end).encode()).decode()
        return answer

    return get_partitions


def no_column_statistics(call: Call) -> dict[str, Any]:
    """Delete the statistics of columns that have none, as engines that write a table begin with."""
    return {}
