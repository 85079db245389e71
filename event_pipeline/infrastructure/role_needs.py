"""Permissions that the roles of job, orchestrator and analysts need, as granted by the stack's template.

The doctor checks them with IAM, because roles that existed before the stack may lack some.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from event_pipeline.rules.hour import RAW_ROOT
from event_pipeline.settings import Settings, SilverBuilderKind

Need = tuple[Sequence[str], str]
"""Actions, and the ARN on which all of them are needed."""

_WRITE = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
_SEE = ("s3:ListBucket", "s3:GetBucketLocation")
_UPLOAD = ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
"""Actions with which Athena writes results on behalf of its caller."""


def needs_of_the_job(settings: Settings, partition: str, account: str) -> Iterator[Need]:
    """Yield what a run of the Glue job needs."""
    s3 = f"arn:{partition}:s3:::"
    for bucket in (settings.raw_bucket, settings.lake_bucket, settings.artifacts_bucket):
        yield _SEE, s3 + bucket
    yield ("s3:GetObject",), f"{s3}{settings.raw_bucket}/{settings.raw_prefix}{RAW_ROOT}x"
    for prefix in ("artifacts/", "plans/"):
        yield ("s3:GetObject",), f"{s3}{settings.artifacts_bucket}/{prefix}x"
    yield ("s3:GetObject", "s3:PutObject"), f"{s3}{settings.artifacts_bucket}/pipes/x"
    for prefix in ("runs/hours/", "decoded/"):
        yield _WRITE, f"{s3}{settings.lake_bucket}/{prefix}x"
    group = f"arn:{partition}:logs:{settings.aws_region}:{account}:log-group:/aws-glue/jobs/{settings.glue_job}/output"
    yield ("logs:CreateLogStream", "logs:PutLogEvents"), f"{group}:log-stream:x"


def needs_of_the_orchestrator(settings: Settings, partition: str, account: str) -> Iterator[Need]:
    """Yield what every step needs, as listed in docs/aws.md, and what Athena and Glue do on behalf of the caller.

    `partition` is the partition of the account's ARNs: aws, aws-cn, aws-us-gov.
    """
    here = f"{settings.aws_region}:{account}"
    s3, glue = f"arn:{partition}:s3::", f"arn:{partition}:glue:{here}"
    for bucket in (settings.raw_bucket, settings.lake_bucket, settings.artifacts_bucket):
        yield _SEE, f"{s3}:{bucket}"
    yield ("s3:GetObject",), f"{s3}:{settings.raw_bucket}/{settings.raw_prefix}{RAW_ROOT}x"
    for prefix in ("runs/", "commits/", "costs/", "decoded/"):
        yield (*_UPLOAD, "s3:DeleteObject"), f"{s3}:{settings.lake_bucket}/{prefix}x"
    yield ("s3:GetObject", "s3:PutObject"), f"{s3}:{settings.lake_bucket}/alerts.json"
    for prefix in ("plans/", "pipes/", "athena-results/"):
        yield (*_UPLOAD, "s3:DeleteObject"), f"{s3}:{settings.artifacts_bucket}/{prefix}x"
    for bucket in (settings.lake_bucket, settings.artifacts_bucket):
        yield ("s3:ListBucketMultipartUploads",), f"{s3}:{bucket}"
    runs = ("glue:GetJob", "glue:StartJobRun", "glue:GetJobRun", "glue:GetJobRuns", "glue:BatchStopJobRun")
    if settings.builder is SilverBuilderKind.GLUE:
        yield runs, f"{glue}:job/{settings.glue_job}"
    # Athena requires it for every query, whatever databases the query uses.
    yield ("glue:GetDatabase",), f"{glue}:database/default"
    reads = ("glue:GetTable", "glue:GetPartition", "glue:GetPartitions")
    tables = (*reads, "glue:CreateTable", "glue:UpdateTable", "glue:BatchGetPartition")
    partitions = ("glue:BatchCreatePartition", "glue:BatchUpdatePartition", "glue:BatchDeletePartition")
    for database in ("silver", "gold", "gold_partials", "ops"):
        name = f"{settings.database_prefix}{database}"
        yield ("glue:GetDatabase",), f"{glue}:database/{name}"
        yield (*tables, *partitions), f"{glue}:table/{name}/x"
    yield ("glue:GetDatabase",), f"{glue}:database/{settings.database_prefix}bronze"
    yield reads, f"{glue}:table/{settings.database_prefix}bronze/events"
    queries = (
        "athena:StartQueryExecution",
        "athena:GetQueryExecution",
        "athena:GetQueryResults",
        "athena:StopQueryExecution",
    )
    yield queries, f"arn:{partition}:athena:{here}:workgroup/{settings.athena_workgroup}"
    if settings.metric_namespace:
        yield ("cloudwatch:PutMetricData",), "*"
    if settings.raw_queue_url:
        account_and_name = ":".join(urlsplit(settings.raw_queue_url).path.strip("/").split("/"))
        messages = ("sqs:ReceiveMessage", "sqs:DeleteMessage")
        yield messages, f"arn:{partition}:sqs:{settings.aws_region}:{account_and_name}"
    if settings.alert_topic_arn:
        yield ("sns:Publish",), settings.alert_topic_arn


def needs_of_analysts(settings: Settings, partition: str, account: str) -> Iterator[Need]:
    """Yield what queries over Silver, Gold or the ledger need, and what Athena does on behalf of the caller."""
    here, s3 = f"{settings.aws_region}:{account}", f"arn:{partition}:s3:::"
    for bucket in (settings.lake_bucket, settings.artifacts_bucket):
        yield _SEE, s3 + bucket
    for prefix in ("runs/hours/", "runs/days/"):
        yield ("s3:GetObject",), f"{s3}{settings.lake_bucket}/{prefix}x"
    yield ("s3:ListBucketMultipartUploads",), s3 + settings.artifacts_bucket
    yield _UPLOAD, f"{s3}{settings.artifacts_bucket}/analyst-results/x"
    glue = f"arn:{partition}:glue:{here}"
    yield ("glue:GetDatabase",), f"{glue}:database/default"
    for database in ("silver", "gold", "ops"):
        name = f"{settings.database_prefix}{database}"
        yield ("glue:GetDatabase",), f"{glue}:database/{name}"
        reads = ("glue:GetTable", "glue:GetPartition", "glue:GetPartitions", "glue:BatchGetPartition")
        yield reads, f"{glue}:table/{name}/x"
    queries = (
        "athena:GetWorkGroup",
        "athena:StartQueryExecution",
        "athena:GetQueryExecution",
        "athena:GetQueryResults",
        "athena:StopQueryExecution",
    )
    yield queries, f"arn:{partition}:athena:{here}:workgroup/{settings.athena_workgroup}-analysts"
