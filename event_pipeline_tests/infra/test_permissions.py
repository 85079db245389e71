"""The orchestrator's role lets the code make every call that it makes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import event_pipeline
from event_pipeline.engines.aws.clients import PERMITTED_AS
from event_pipeline.infrastructure.role_needs import needs_of_analysts, needs_of_the_job, needs_of_the_orchestrator
from event_pipeline.settings import Settings
from event_pipeline_tests.infra.checks import statements
from event_pipeline_tests.infra.template import ACCOUNT, REGION, TEMPLATE, Template

PACKAGE = Path(event_pipeline.__file__).parent
SOURCES = sorted([*(PACKAGE / "engines" / "aws").glob("*.py"), *(PACKAGE / "reporting").glob("*.py")])
NEEDS_NOTHING = {"glue:CreateDatabase", "sts:GetCallerIdentity"}
"""What the code does in an account without the stack only, and what everybody may do."""


def calls(source: str) -> Iterator[str]:
    """Yield `service:Operation` of every call of AWS that a source makes through `clients.Aws`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        said = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        if node.func.attr in ("call", "pages") and len(said) >= 2:
            yield f"{said[0]}:{_operation(said[1])}"
        elif node.func.attr == "_call_on_table" and said:
            yield f"glue:{_operation(said[0])}"


def _operation(method: str) -> str:
    return "".join(part.capitalize() for part in method.split("_"))


def test_the_orchestrator_may_make_every_call_that_the_code_makes() -> None:
    made = {call for path in SOURCES for call in calls(path.read_text(encoding="utf-8"))}
    assert {"glue:StartJobRun", "glue:BatchCreatePartition", "athena:StartQueryExecution", "s3:PutObject"} <= made
    needed = {PERMITTED_AS.get(call, call) for call in made} - NEEDS_NOTHING
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    allowed = {
        action for each in statements(template) if each.resource == "OrchestratorRole" for action in each.actions
    }
    assert needed - allowed == set()


@pytest.mark.parametrize("role", ["OrchestratorRole", "AnalystRole"])
def test_whoever_asks_athena_may_do_what_athena_does_for_its_caller(role: str) -> None:
    """Athena's guide: the database `default` is asked for with every query; results are uploaded in parts."""
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    granted = [
        (action, str(resource).rpartition(":")[2])
        for each in statements(template)
        if each.resource == role
        for action in each.actions
        for resource in each.resources
    ]
    assert ("glue:GetDatabase", "database/default") in granted
    on_artifacts = {(action, place.partition("/")[2]) for action, place in granted if "artifacts" in place}
    for action in ("s3:ListBucketMultipartUploads", "s3:GetBucketLocation", "s3:ListBucket"):
        assert (action, "") in on_artifacts
    results = "athena-results/*" if role == "OrchestratorRole" else "analyst-results/*"
    for action in ("s3:PutObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"):
        assert (action, results) in on_artifacts


SETTINGS = Settings(
    aws_region=REGION,
    raw_bucket="<rawbucket>",
    lake_bucket="<lakebucket>",
    artifacts_bucket="<artifactsbucket>",
    metric_namespace="event-pipeline",
    raw_queue_url=f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/<RawQueue>",
).model_copy(update={"alert_topic_arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:<AlertTopic>"})
NEEDS = {
    "GlueJobRole": needs_of_the_job,
    "OrchestratorRole": needs_of_the_orchestrator,
    "AnalystRole": needs_of_analysts,
}
NOT_ASKED = {
    # Of Glue's own metrics and of a log group that somebody deleted.
    "GlueJobRole": {"cloudwatch:PutMetricData", "logs:CreateLogGroup"},
    # The doctor itself calls these and says when it may not; and what consumers of queues have besides.
    "OrchestratorRole": {
        *("athena:GetWorkGroup", "cloudformation:DescribeStacks", "iam:SimulatePrincipalPolicy"),
        *("sns:GetTopicAttributes", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"),
    },
    # What the console and drivers look around with; a question needs none of it.
    "AnalystRole": {
        *("athena:BatchGetNamedQuery", "athena:BatchGetQueryExecution", "athena:GetDataCatalog", "athena:GetDatabase"),
        *("athena:GetNamedQuery", "athena:GetQueryResultsStream", "athena:GetTableMetadata"),
        *("athena:ListDataCatalogs", "athena:ListDatabases", "athena:ListEngineVersions", "athena:ListNamedQueries"),
        *("athena:ListQueryExecutions", "athena:ListTableMetadata", "athena:ListWorkGroups"),
        *("glue:GetDatabases", "glue:GetTables"),
    },
}
"""Granted by the template, and not asked for by the doctor."""


def lacking(template: Template, role: str) -> list[str]:
    """Return what the doctor would ask for and the template's role of that kind does not have."""
    granted = [
        (action, resource)
        for each in statements(template)
        if each.resource == role and each.effect == "Allow"
        for action in each.actions
        for resource in each.resources
    ]
    return [
        f"{action} on {resource}"
        for actions, resource in NEEDS[role](SETTINGS, "aws", ACCOUNT)
        for action in actions
        if not any(action == given and fnmatchcase(resource, place) for given, place in granted)
    ]


@pytest.mark.parametrize("role", NEEDS)
def test_the_doctor_asks_of_a_role_that_exists_what_the_template_gives_its_own(role: str) -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    assert lacking(Template(text), role) == []
    asked = {action for actions, _ in NEEDS[role](SETTINGS, "aws", ACCOUNT) for action in actions}
    granted = {
        action
        for each in statements(Template(text))
        if each.resource == role and each.effect == "Allow" and each.resources
        for action in each.actions
    }
    assert granted - asked == NOT_ASKED[role]


def test_what_a_role_lacks_is_named() -> None:
    text = TEMPLATE.read_text(encoding="utf-8").replace("s3:PutObject, s3:DeleteObject, ", "s3:PutObject, ")
    assert "s3:DeleteObject on arn:aws:s3:::<lakebucket>/runs/hours/x" in lacking(Template(text), "GlueJobRole")


def test_a_call_on_a_table_or_of_pages_is_found() -> None:
    source = (
        'self._aws.call("s3", "get_object", url)\n'
        'aws.pages("glue", "get_partitions", name)\n'
        'self._call_on_table("batch_get_partition", table)\n'
        'client.call("s3", operation)'
    )
    assert sorted(calls(source)) == ["glue:BatchGetPartition", "glue:GetPartitions", "s3:GetObject"]
