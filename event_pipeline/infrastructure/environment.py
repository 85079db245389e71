"""Derives the pipeline's environment from a deployed stack: output `RawBucket` is the value of `raw_bucket`."""

from __future__ import annotations

from event_pipeline.infrastructure.stack import StackState
from event_pipeline.settings import Environment, variable_names


def stack_name_of(field: str) -> str:
    """Return the parameter or output for a setting: `raw_bucket` -> `RawBucket`."""
    return "".join(part.capitalize() for part in field.split("_"))


def environment(state: StackState, region: str) -> dict[str, str]:
    """Return every variable that the stack determines, in the order of the settings."""
    said = {**state.parameters, **state.outputs, "AwsRegion": region, "Env": Environment.AWS.value}
    # The stack's resources are in its own account, which every ARN contains.
    said["AwsAccount"] = next((text.split(":")[4] for text in [state.outputs.get("AlertTopicArn", "")] if text), "")
    named = {variable: said.get(stack_name_of(field), "") for variable, field in variable_names().items()}
    return {variable: value for variable, value in named.items() if value}
