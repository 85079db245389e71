"""From a deployed stack to the environment that the pipeline works with in it: `RawBucket` is `raw_bucket`'s value."""

from __future__ import annotations

from event_pipeline.infrastructure.stack import StackState
from event_pipeline.settings import Environment, variable_names


def stack_name_of(field: str) -> str:
    """Return the parameter or output that belongs to a setting: `raw_bucket` -> `RawBucket`."""
    return "".join(part.capitalize() for part in field.split("_"))


def environment(state: StackState, region: str) -> dict[str, str]:
    """Return every variable that the stack decides, in the order of the settings."""
    said = {**state.parameters, **state.outputs, "AwsRegion": region, "Env": Environment.AWS.value}
    # What the stack made is its own account's, and every ARN of it names that.
    said["AwsAccount"] = next((text.split(":")[4] for text in [state.outputs.get("AlertTopicArn", "")] if text), "")
    named = {variable: said.get(stack_name_of(field), "") for variable, field in variable_names().items()}
    return {variable: value for variable, value in named.items() if value}
