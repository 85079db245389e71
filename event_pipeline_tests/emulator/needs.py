"""Which permissions a call asks for: actions and resources, by the Service Authorization Reference.

https://docs.aws.amazon.com/service-authorization/latest/reference/ and, for what one call needs besides, the page named
at the function. A call that is not here is an error of the emulator: whoever adds it says what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from moto.athena.models import athena_backends
from moto.s3.models import s3_backends

from event_pipeline_tests.emulator.policies import Need
from event_pipeline_tests.emulator.wire import AwsError

Parameters = Mapping[str, Any]


def _unknown_workgroup(execution_id: str) -> str:
    raise AwsError("InvalidRequestException", f"QueryExecution {execution_id} was not found")


@dataclass
class Place:
    """The account, and what a call names only by an id."""

    account: str
    region: str
    workgroup_of: Callable[[str], str] = field(default=_unknown_workgroup)
    """Gives the workgroup of a query execution."""

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of something in the account's region."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def key_of_bucket(self, bucket: str) -> str | None:
        """Return the KMS key that a bucket encrypts with, where it has one."""
        found = s3_backends[self.account]["aws"].buckets.get(bucket)
        if found is None or not found.encryption:
            return None
        rule = found.encryption["Rule"]
        default = (rule[0] if isinstance(rule, list) else rule)["ApplyServerSideEncryptionByDefault"]
        key: str | None = default.get("KMSMasterKeyID")
        return key


def needs_of(place: Place, service: str, operation: str, parameters: Parameters) -> list[Need]:
    """Return what a call asks for, in the order in which it is judged.

    Raises:
        AwsError: the emulator does not know what such a call needs.
    """
    name = f"{service}.{operation}"
    if name in _NOTHING:
        return []
    if rule := _RULES.get(name):
        return rule(place, parameters)
    if service == "glue" and operation in _CATALOG_OPERATIONS:
        return _catalog(place, operation, parameters)
    if service in ("glue", "athena", "logs") and operation in _RESOURCES[service]:
        return [Need(f"{service}:{operation}", _RESOURCES[service][operation](place, parameters))]
    raise AwsError(
        "EmulatorError",
        f"{name}: event_pipeline_tests/emulator/needs.py does not say which permission this call of a role needs",
    )


_NOTHING = {"sts.GetCallerIdentity"}
"""Everybody may, whatever policies say."""


# -- S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html


def _bucket(action: str) -> Callable[[Place, Parameters], list[Need]]:
    def needs(place: Place, parameters: Parameters) -> list[Need]:
        context = frozenset({("s3:prefix", parameters["Prefix"])} if parameters.get("Prefix") else ())
        return [Need(action, f"arn:aws:s3:::{parameters['Bucket']}", context)]

    return needs


def _object(bucket: str, key: str) -> str:
    return f"arn:aws:s3:::{bucket}/{key}"


def _read_object(place: Place, parameters: Parameters) -> list[Need]:
    """A bucket with a KMS key decrypts as the caller."""
    versioned = "Version" if parameters.get("VersionId") else ""
    found = [Need(f"s3:GetObject{versioned}", _object(parameters["Bucket"], parameters["Key"]))]
    if key := place.key_of_bucket(parameters["Bucket"]):
        found.append(Need("kms:Decrypt", key))
    return found


def _write_object(place: Place, parameters: Parameters) -> list[Need]:
    """With If-Match the caller must be able to read the object, with If-None-Match not.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """
    resource = _object(parameters["Bucket"], parameters["Key"])
    found = [Need("s3:PutObject", resource)]
    if parameters.get("IfMatch"):
        found.append(Need("s3:GetObject", resource))
    if parameters.get("Tagging"):
        found.append(Need("s3:PutObjectTagging", resource))
    if key := place.key_of_bucket(parameters["Bucket"]):
        found.append(Need("kms:GenerateDataKey", key))
    return found


def _write_part(place: Place, parameters: Parameters) -> list[Need]:
    """Parts are written as objects are; the key is needed to encrypt each and to read them when they are joined.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
    """
    found = _write_object(place, parameters)
    if key := place.key_of_bucket(parameters["Bucket"]):
        found.append(Need("kms:Decrypt", key))
    return found


def _copy_object(place: Place, parameters: Parameters) -> list[Need]:
    source = parameters["CopySource"]
    if not isinstance(source, Mapping):
        bucket, _, key = unquote(str(source)).partition("?")[0].lstrip("/").partition("/")
        source = {"Bucket": bucket, "Key": key}
    return [*_read_object(place, source), *_write_object(place, parameters)]


def _delete(bucket: str, key: str, version: str | None) -> Need:
    return Need(f"s3:DeleteObject{'Version' if version else ''}", _object(bucket, key))


def _delete_object(place: Place, parameters: Parameters) -> list[Need]:
    found = [_delete(parameters["Bucket"], parameters["Key"], parameters.get("VersionId"))]
    if parameters.get("IfMatch"):
        found.append(Need("s3:GetObject", _object(parameters["Bucket"], parameters["Key"])))
    return found


def _object_action(action: str) -> Callable[[Place, Parameters], list[Need]]:
    return lambda place, parameters: [Need(action, _object(parameters["Bucket"], parameters["Key"]))]


# -- SQS, SNS and the small ones


def _queue(action: str) -> Callable[[Place, Parameters], list[Need]]:
    def needs(place: Place, parameters: Parameters) -> list[Need]:
        return [Need(action, place.arn("sqs", parameters["QueueUrl"].rpartition("/")[2]))]

    return needs


def _named(action: str, parameter: str) -> Callable[[Place, Parameters], list[Need]]:
    return lambda place, parameters: [Need(action, parameters[parameter])]


def _function(place: Place, parameters: Parameters) -> list[Need]:
    name = parameters["FunctionName"].rpartition(":")[2]
    return [Need("lambda:InvokeFunction", place.arn("lambda", f"function:{name}"))]


def _metric(place: Place, parameters: Parameters) -> list[Need]:
    return [Need("cloudwatch:PutMetricData", "*", frozenset({("cloudwatch:namespace", parameters["Namespace"])}))]


_RULES: dict[str, Callable[[Place, Parameters], list[Need]]] = {
    "s3.ListObjectsV2": _bucket("s3:ListBucket"),
    "s3.ListObjects": _bucket("s3:ListBucket"),
    "s3.HeadBucket": _bucket("s3:ListBucket"),
    "s3.ListObjectVersions": _bucket("s3:ListBucketVersions"),
    "s3.ListMultipartUploads": _bucket("s3:ListBucketMultipartUploads"),
    "s3.GetBucketLocation": _bucket("s3:GetBucketLocation"),
    "s3.GetBucketVersioning": _bucket("s3:GetBucketVersioning"),
    "s3.GetBucketNotificationConfiguration": _bucket("s3:GetBucketNotification"),
    "s3.GetBucketEncryption": _bucket("s3:GetEncryptionConfiguration"),
    "s3.GetBucketLifecycleConfiguration": _bucket("s3:GetLifecycleConfiguration"),
    "s3.DeleteBucket": _bucket("s3:DeleteBucket"),
    "s3.GetObject": _read_object,
    "s3.HeadObject": _read_object,
    "s3.PutObject": _write_object,
    "s3.CreateMultipartUpload": _write_part,
    "s3.UploadPart": _write_part,
    "s3.CompleteMultipartUpload": _write_part,
    "s3.AbortMultipartUpload": _object_action("s3:AbortMultipartUpload"),
    "s3.ListParts": _object_action("s3:ListMultipartUploadParts"),
    "s3.CopyObject": _copy_object,
    "s3.DeleteObject": _delete_object,
    "sqs.ReceiveMessage": _queue("sqs:ReceiveMessage"),
    "sqs.DeleteMessage": _queue("sqs:DeleteMessage"),
    "sqs.DeleteMessageBatch": _queue("sqs:DeleteMessage"),
    "sqs.ChangeMessageVisibility": _queue("sqs:ChangeMessageVisibility"),
    "sqs.ChangeMessageVisibilityBatch": _queue("sqs:ChangeMessageVisibility"),
    "sqs.SendMessage": _queue("sqs:SendMessage"),
    "sqs.SendMessageBatch": _queue("sqs:SendMessage"),
    "sqs.GetQueueAttributes": _queue("sqs:GetQueueAttributes"),
    "sns.Publish": _named("sns:Publish", "TopicArn"),
    "sns.GetTopicAttributes": _named("sns:GetTopicAttributes", "TopicArn"),
    "iam.SimulatePrincipalPolicy": _named("iam:SimulatePrincipalPolicy", "PolicySourceArn"),
    "sts.AssumeRole": _named("sts:AssumeRole", "RoleArn"),
    "cloudformation.DescribeStacks": _named("cloudformation:DescribeStacks", "StackName"),
    "lambda.Invoke": _function,
    "cloudwatch.PutMetricData": _metric,
}


# -- the Glue catalog: an action is needed on the thing and on all that it is in
# https://docs.aws.amazon.com/glue/latest/dg/glue-specifying-resource-arns.html


_CATALOG_OPERATIONS = {
    "GetDatabase", "GetDatabases", "CreateDatabase", "UpdateDatabase", "DeleteDatabase",
    "GetTable", "GetTables", "CreateTable", "UpdateTable", "DeleteTable",
    "GetPartition", "GetPartitions", "BatchGetPartition", "CreatePartition", "UpdatePartition", "DeletePartition",
    "BatchCreatePartition", "BatchUpdatePartition", "BatchDeletePartition",
}  # fmt: skip


def _catalog(place: Place, operation: str, parameters: Parameters) -> list[Need]:
    action, resources = f"glue:{operation}", ["catalog"]
    if operation.endswith("Database"):
        database = parameters.get("Name") or parameters["DatabaseInput"]["Name"]
    else:
        database = parameters.get("DatabaseName")
    if operation == "GetDatabases":
        # https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html
        database = "default"
    if database:
        resources.append(f"database/{database}")
    if operation.endswith(("Table", "Tables", "Partition", "Partitions")):
        table = parameters.get("TableName") or parameters.get("Name") or parameters.get("TableInput", {}).get("Name")
        resources.append(f"table/{database}/{table or '*'}")
    return [Need(action, place.arn("glue", resource)) for resource in resources]


# -- one resource per call: Glue jobs, Athena's workgroups and catalogs, logs


def _job(place: Place, parameters: Parameters) -> str:
    return place.arn("glue", f"job/{parameters.get('JobName') or parameters['Name']}")


def _workgroup(place: Place, parameters: Parameters) -> str:
    return place.arn("athena", f"workgroup/{parameters.get('WorkGroup') or 'primary'}")


def _workgroup_of_query(place: Place, parameters: Parameters) -> str:
    execution = parameters.get("QueryExecutionId") or parameters["QueryExecutionIds"][0]
    return place.arn("athena", f"workgroup/{place.workgroup_of(execution)}")


def _workgroup_of_named_query(place: Place, parameters: Parameters) -> str:
    query = parameters.get("NamedQueryId") or parameters["NamedQueryIds"][0]
    found = athena_backends[place.account][place.region].named_queries.get(query)
    if found is None:
        raise AwsError("InvalidRequestException", f"NamedQuery {query} was not found")
    return place.arn("athena", f"workgroup/{found.workgroup.name}")


def _data_catalog(place: Place, parameters: Parameters) -> str:
    return place.arn("athena", f"datacatalog/{parameters.get('CatalogName') or parameters['Name']}")


def _anything(place: Place, parameters: Parameters) -> str:
    return "*"


def _log_stream(place: Place, parameters: Parameters) -> str:
    group, stream = parameters["logGroupName"], parameters.get("logStreamName", "")
    return place.arn("logs", f"log-group:{group}:log-stream:{stream}")


_Resource = Callable[[Place, Parameters], str]
_RESOURCES: dict[str, dict[str, _Resource]] = {
    "glue": dict.fromkeys(("GetJob", "StartJobRun", "GetJobRun", "GetJobRuns", "BatchStopJobRun"), _job),
    "athena": {
        "GetWorkGroup": _workgroup,
        "StartQueryExecution": _workgroup,
        "ListQueryExecutions": _workgroup,
        "ListNamedQueries": _workgroup,
        **dict.fromkeys(
            (
                "GetQueryExecution",
                "BatchGetQueryExecution",
                "StopQueryExecution",
                "GetQueryResults",
                "GetQueryResultsStream",
                "GetQueryRuntimeStatistics",
            ),
            _workgroup_of_query,
        ),
        **dict.fromkeys(("GetNamedQuery", "BatchGetNamedQuery"), _workgroup_of_named_query),
        **dict.fromkeys(
            ("GetDataCatalog", "ListDatabases", "GetDatabase", "ListTableMetadata", "GetTableMetadata"), _data_catalog
        ),
        **dict.fromkeys(("ListWorkGroups", "ListDataCatalogs", "ListEngineVersions"), _anything),
    },
    "logs": dict.fromkeys(("CreateLogGroup", "CreateLogStream", "PutLogEvents", "FilterLogEvents"), _log_stream),
}
