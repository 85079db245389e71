"""Operations that CloudFormation needs and moto lacks, on moto's own state."""

from __future__ import annotations

from typing import Any

from moto.athena.models import athena_backends
from moto.core.models import DEFAULT_ACCOUNT_ID

from event_pipeline_tests.emulator.inside import Inside
from event_pipeline_tests.emulator.wire import AwsError, Call


class MotoGaps:
    """Updates of Glue jobs and of Athena's workgroups, and the end of named queries."""

    def __init__(self, inside: Inside, region: str) -> None:
        self._inside = inside
        self._region = region

    def update_job(self, call: Call) -> dict[str, Any]:
        """Give a Glue job another definition; what the update does not say is unset, as in AWS."""
        name, update = call.parameters["JobName"], call.parameters["JobUpdate"]
        glue = self._inside.glue
        try:
            arn = f"arn:aws:glue:{self._region}:{DEFAULT_ACCOUNT_ID}:job/{name}"
            tags = glue.get_tags(ResourceArn=arn)["Tags"]
            glue.get_job(JobName=name)
        except glue.exceptions.EntityNotFoundException as error:
            raise AwsError("EntityNotFoundException", f"Job {name} not found.") from error
        glue.delete_job(JobName=name)
        glue.create_job(Name=name, Tags=tags, **update)
        return {"JobName": name}

    def update_work_group(self, call: Call) -> dict[str, Any]:
        """Change a workgroup's configuration; what the update does not say stays."""
        group = self._athena.work_groups.get(call.parameters["WorkGroup"])
        if group is None:
            raise AwsError("InvalidRequestException", f"WorkGroup {call.parameters['WorkGroup']} is not found.")
        updates = dict(call.parameters.get("ConfigurationUpdates", {}))
        if "ResultConfigurationUpdates" in updates:
            updates["ResultConfiguration"] = {
                **group.configuration.get("ResultConfiguration", {}),
                **updates.pop("ResultConfigurationUpdates"),
            }
        group.configuration = {**group.configuration, **updates}
        group.description = call.parameters.get("Description", group.description)
        return {}

    def delete_named_query(self, call: Call) -> dict[str, Any]:
        """Forget a named query."""
        query = call.parameters["NamedQueryId"]
        if self._athena.named_queries.pop(query, None) is None:
            raise AwsError("InvalidRequestException", f"NamedQuery {query} was not found")
        return {}

    @property
    def _athena(self) -> Any:
        return athena_backends[DEFAULT_ACCOUNT_ID][self._region]
