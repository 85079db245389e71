"""What the code expects an AWS account to hold, created by public API calls: buckets, catalog, workgroup, job.

The CloudFormation template must come to the same; each definition here is a plain function to compare it with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from event_pipeline.engines.aws.catalog import table_input
from event_pipeline.infrastructure.packaging import Artifact, package_artifact, script_artifact
from event_pipeline.rules.contract import EVENT_FIELDS, HOUR_TABLES
from event_pipeline.rules.hour import RAW_ROOT
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator.permissions import UNJUDGED_PATH

Client = Callable[[str], Any]
"""Returns boto3's client of a service."""

JOB_ROLE = "event-pipeline-glue"
BYTES_SCANNED_CUTOFF = 1_000_000_000_000
DATABASES = ("bronze", "silver", "gold", "gold_partials", "ops")

_TRUST_GLUE = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "glue.amazonaws.com"}, '
    '"Action": "sts:AssumeRole"}]}'
)


def create_resources(settings: Settings, client: Client, wheels: Sequence[Artifact] = ()) -> None:
    """Create everything that the settings name, in an account that holds none of it yet.

    The job gets the wheels; without any it works with the packages of the runtime.
    """
    s3, glue = client("s3"), client("glue")
    for bucket in (settings.raw_bucket, settings.lake_bucket, settings.artifacts_bucket):
        s3.create_bucket(Bucket=bucket, **_location(settings.aws_region))
    for database in DATABASES:
        glue.create_database(DatabaseInput={"Name": f"{settings.database_prefix}{database}"})
    for table in HOUR_TABLES:
        location = f"s3://{settings.lake_bucket}/tables/{table.database}/{table.name}/"
        glue.create_table(
            DatabaseName=f"{settings.database_prefix}{table.database}", TableInput=table_input(table, location)
        )
    glue.create_table(
        DatabaseName=f"{settings.database_prefix}bronze",
        TableInput=bronze_table_input(settings.raw_bucket, settings.raw_prefix),
    )
    client("athena").create_work_group(Name=settings.athena_workgroup, Configuration=work_group(settings))
    role = client("iam").create_role(Path=UNJUDGED_PATH, RoleName=JOB_ROLE, AssumeRolePolicyDocument=_TRUST_GLUE)[
        "Role"
    ]["Arn"]
    script, package = script_artifact(), package_artifact()
    for artifact in (script, package, *wheels):
        s3.put_object(Bucket=settings.artifacts_bucket, Key=artifact.key, Body=artifact.content)
    glue.create_job(**job(settings, role, script, package, wheels))


def work_group(settings: Settings) -> dict[str, Any]:
    """Return the configuration of the Athena workgroup: results go where it says, whatever a query asks for."""
    return {
        "EnforceWorkGroupConfiguration": True,
        "PublishCloudWatchMetricsEnabled": True,
        "BytesScannedCutoffPerQuery": BYTES_SCANNED_CUTOFF,
        "ResultConfiguration": {"OutputLocation": f"s3://{settings.artifacts_bucket}/athena-results/"},
        "EngineVersion": {"SelectedEngineVersion": "Athena engine version 3"},
    }


def job(
    settings: Settings, role: str, script: Artifact, package: Artifact, wheels: Sequence[Artifact]
) -> dict[str, Any]:
    """Return the definition of the Glue job."""
    return {
        "Name": settings.glue_job,
        "Role": role,
        "Command": {
            "Name": "glueetl",
            "PythonVersion": "3",
            "ScriptLocation": f"s3://{settings.artifacts_bucket}/{script.key}",
        },
        "GlueVersion": "5.1",
        "WorkerType": settings.glue_worker_type.value,
        "NumberOfWorkers": settings.glue_workers,
        "Timeout": settings.glue_timeout_minutes,
        "MaxRetries": 0,
        "ExecutionProperty": {"MaxConcurrentRuns": 1},
        "DefaultArguments": {"--region": settings.aws_region},
        "NonOverridableArguments": {
            "--job-bookmark-option": "job-bookmark-disable",
            "--extra-py-files": f"s3://{settings.artifacts_bucket}/{package.key}",
            **_additional_modules(settings, wheels),
        },
    }


def _additional_modules(settings: Settings, wheels: Sequence[Artifact]) -> dict[str, str]:
    """Return the arguments by which Glue installs wheels from the bucket, and nothing from a package index."""
    if not wheels:
        return {}
    return {
        "--additional-python-modules": ",".join(f"s3://{settings.artifacts_bucket}/{each.key}" for each in wheels),
        "--python-modules-installer-option": "--no-index --no-deps",
    }


def bronze_table_input(raw_bucket: str, raw_prefix: str = "") -> dict[str, Any]:
    """Return the Glue table of the raw objects: every field as text, partitions by projection instead of repair.

    `timestamp` is a reserved word of Athena's DDL, so the column is called `event_timestamp`.
    """
    columns = {"event_timestamp" if field == "timestamp" else field: field for field in EVENT_FIELDS}
    ranges = {"year": "2020,2099", "month": "1,12", "day": "1,31", "hour": "0,23", "minute": "0,59"}
    projection = {"projection.enabled": "true"}
    for key, values in ranges.items():
        projection[f"projection.{key}.type"] = "integer"
        projection[f"projection.{key}.range"] = values
        projection[f"projection.{key}.digits"] = "4" if key == "year" else "2"
    return {
        "Name": "events",
        "Description": "One row per line of the raw objects, as it came. Always filter by year, month and day.",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"EXTERNAL": "TRUE", "classification": "json", **projection},
        "PartitionKeys": [{"Name": key, "Type": "string"} for key in ranges],
        "StorageDescriptor": {
            "Columns": [{"Name": column, "Type": "string"} for column in columns],
            "Location": f"s3://{raw_bucket}/{raw_prefix}{RAW_ROOT}",
            "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
            "SerdeInfo": {
                "SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe",
                "Parameters": {
                    # A line that is no JSON is a row of nulls; without this it fails the whole query.
                    "ignore.malformed.json": "true",
                    **{f"mapping.{column}": field for column, field in columns.items() if column != field},
                },
            },
        },
    }


def _location(region: str) -> dict[str, Any]:
    return {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
