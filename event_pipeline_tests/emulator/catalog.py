"""Where moto's Glue catalog is kinder than AWS: how long a batch may be, and partitions in pages."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from event_pipeline_tests.emulator.inside import Inside
from event_pipeline_tests.emulator.wire import AwsError, Call

MOST_PER_CALL = {
    "glue.BatchCreatePartition": ("PartitionInputList", 100),
    "glue.BatchUpdatePartition": ("Entries", 100),
    "glue.BatchDeletePartition": ("PartitionsToDelete", 25),
    "glue.BatchGetPartition": ("PartitionsToGet", 1000),
    "glue.BatchDeleteTable": ("TablesToDelete", 100),
}
"""Operation -> its list and how long AWS lets it be. moto takes any length."""


def limit_checks() -> dict[str, Callable[[Call], None]]:
    """Return what to check of a request before moto gets it, by operation."""
    return dict.fromkeys(MOST_PER_CALL, _check_length)


def _check_length(call: Call) -> None:
    name, most = MOST_PER_CALL[call.name]
    given = len(call.parameters.get(name, ()))
    if given > most:
        member = name[0].lower() + name[1:]
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value of {given} members at '{member}' failed to satisfy constraint: "
            f"Member must have length less than or equal to {most}",
        )


def paged_partitions(inside: Inside, page_size: int) -> Callable[[Call], Any]:
    """Return GetPartitions in pages, as AWS gives them; moto gives everything at once."""

    def get_partitions(call: Call) -> Any:
        parameters = call.parameters
        if "Segment" in parameters:
            raise AwsError("EmulatorError", "GetPartitions with a Segment is not emulated")
        start = int(base64.b64decode(parameters.pop("NextToken", "") or b"MA=="))
        size = min(parameters.pop("MaxResults", None) or page_size, page_size)
        try:
            found = inside.glue.get_partitions(**parameters)["Partitions"]
        except inside.glue.exceptions.ClientError as error:
            said = error.response["Error"]
            raise AwsError(said["Code"], said["Message"]) from error
        end = start + size
        answer: dict[str, Any] = {"Partitions": found[start:end]}
        if end < len(found):
            answer["NextToken"] = base64.b64encode(str(end).encode()).decode()
        return answer

    return get_partitions
