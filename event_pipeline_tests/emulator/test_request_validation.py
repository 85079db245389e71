"""Requests that AWS refuses are refused here, in its words; boto3 lets all of these out."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from event_pipeline.engines.aws.catalog import table_input
from event_pipeline.rules.contract import EVENT_DATE, Column, Table
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.conftest import BUCKET, DATABASE, PARQUET_FORMAT, Account
from event_pipeline_tests.emulator.front import CLIENT_KEY
from event_pipeline_tests.emulator.request_validation import validate
from event_pipeline_tests.emulator.wire import AwsError, Call

Ask = Callable[[EmulatedAws], Any]


def table(**changes: Any) -> dict[str, Any]:
    """A table of one column."""
    columns = [{"Name": "price", "Type": "int", "Comment": changes.pop("comment", "")}]
    return {"Name": "t", "StorageDescriptor": {"Columns": columns, **PARQUET_FORMAT}, **changes}


def ask_glue(operation: str, **parameters: Any) -> Ask:
    return lambda aws: getattr(aws.client("glue"), operation)(**parameters)


def ask_athena(operation: str, **parameters: Any) -> Ask:
    return lambda aws: getattr(aws.client("athena"), operation)(**parameters)


def lifecycle(aws: EmulatedAws) -> None:
    rules = [{"ID": "r", "Status": "On", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
    aws.client("s3").put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": rules})


def batch(aws: EmulatedAws) -> None:
    queue = aws.client("sqs").create_queue(QueueName="eleven")["QueueUrl"]
    entries = [{"Id": str(number), "ReceiptHandle": "x"} for number in range(11)]
    aws.client("sqs").delete_message_batch(QueueUrl=queue, Entries=entries)


def message(aws: EmulatedAws, **parameters: str) -> None:
    topic = aws.client("sns").create_topic(Name="told")["TopicArn"]
    aws.client("sns").publish(TopicArn=topic, **parameters)


REFUSED: dict[str, tuple[Ask, str, str]] = {
    "a comment of 256 characters": (
        ask_glue("create_table", DatabaseName=DATABASE, TableInput=table(comment="x" * 256)),
        "ValidationException",
        r"1 validation error detected: Value 'x+' at 'tableInput.storageDescriptor.columns.1.member.comment' failed to "
        "satisfy constraint: Member must have length less than or equal to 255",
    ),
    "a comment of 128 characters that Java counts twice": (
        ask_glue("create_table", DatabaseName=DATABASE, TableInput=table(comment="\U0001f600" * 128)),
        "ValidationException",
        "length less than or equal to 255",
    ),
    "a comment of two lines": (
        ask_glue("create_table", DatabaseName=DATABASE, TableInput=table(comment="one\ntwo")),
        "ValidationException",
        "columns.1.member.comment' failed to satisfy constraint: Member must satisfy regular expression pattern: ",
    ),
    "a worker that there is not": (
        ask_glue("start_job_run", JobName="j", WorkerType="G.3X"),
        "ValidationException",
        "Value 'G.3X' at 'workerType' failed to satisfy constraint: Member must satisfy enum value set: ",
    ),
    "101 partitions": (
        ask_glue(
            "batch_create_partition",
            DatabaseName=DATABASE,
            TableName="t",
            PartitionInputList=[{"Values": [str(number)]} for number in range(101)],
        ),
        "ValidationException",
        "at 'partitionInputList' failed to satisfy constraint: Member must have length less than or equal to 100",
    ),
    "26 partitions to remove": (
        ask_glue(
            "batch_delete_partition",
            DatabaseName=DATABASE,
            TableName="t",
            PartitionsToDelete=[{"Values": [str(number)]} for number in range(26)],
        ),
        "ValidationException",
        "less than or equal to 25",
    ),
    "an expression that is too long": (
        ask_glue("get_partitions", DatabaseName=DATABASE, TableName="t", Expression="x" * 2049),
        "ValidationException",
        "at 'expression' failed to satisfy constraint: Member must have length less than or equal to 2048",
    ),
    "arguments of more than 260 kB": (
        ask_glue("start_job_run", JobName="j", Arguments={"--plan": "x" * 260_000}),
        "InvalidInputException",
        "The arguments have 260006 bytes, 260000 are the most",
    ),
    "a statement that is too long": (
        ask_athena("start_query_execution", QueryString="x" * 262_145, WorkGroup="analysts"),
        "InvalidRequestException",
        "at 'queryString' failed to satisfy constraint: Member must have length less than or equal to 262144",
    ),
    "a token that is too long": (
        ask_athena("start_query_execution", QueryString="SELECT 1", ClientRequestToken="x" * 129),
        "InvalidRequestException",
        "at 'clientRequestToken'",
    ),
    "a workgroup of another name": (
        ask_athena("start_query_execution", QueryString="SELECT 1", WorkGroup="my group"),
        "InvalidRequestException",
        "Value 'my group' at 'workGroup' failed to satisfy constraint: Member must satisfy regular expression pattern",
    ),
    "two faults at once": (
        ask_athena("start_query_execution", QueryString="SELECT 1", WorkGroup="a b", ClientRequestToken="x" * 129),
        "InvalidRequestException",
        "2 validation errors detected: Value",
    ),
    "a stack whose name begins with a digit": (
        lambda aws: aws.client("cloudformation").create_change_set(StackName="1-stack", ChangeSetName="c"),
        "ValidationError",
        "Value '1-stack' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression pattern",
    ),
    "a capability that is none": (
        lambda aws: aws.client("cloudformation").create_change_set(
            StackName="s", ChangeSetName="c", Capabilities=["CAPABILITY_ALL"]
        ),
        "ValidationError",
        "Value 'CAPABILITY_ALL' at 'capabilities.1.member' failed to satisfy constraint: Member must satisfy enum",
    ),
    "a rule that is neither on nor off": (
        lifecycle,
        "InvalidArgument",
        "Value 'On' at 'lifecycleConfiguration.rules.1.member.status' failed to satisfy constraint: Member must",
    ),
    "a storage class that is none": (
        lambda aws: aws.client("s3").put_object(Bucket=BUCKET, Key="k", Body=b"", StorageClass="COLD"),
        "InvalidArgument",
        "Value 'COLD' at 'storageClass'",
    ),
    "a key of 1,025 bytes": (
        lambda aws: aws.client("s3").put_object(Bucket=BUCKET, Key="ä" * 512 + "k", Body=b""),
        "KeyTooLongError",
        "Your key is too long",
    ),
    "1,001 keys to delete": (
        lambda aws: aws.client("s3").delete_objects(
            Bucket=BUCKET, Delete={"Objects": [{"Key": str(number)} for number in range(1_001)]}
        ),
        "MalformedXML",
        "did not validate against our published schema",
    ),
    "a schedule without a target's role": (
        lambda aws: aws.client("scheduler").create_schedule(
            Name="s",
            ScheduleExpression="rate(1 hour)",
            FlexibleTimeWindow={"Mode": "SOMETIMES"},
            Target={"Arn": "arn", "RoleArn": "nobody"},
        ),
        "ValidationException",
        "2 validation errors detected: ",
    ),
    "eleven messages to delete": (
        batch,
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        "Maximum number of entries per request are 10. You have sent 11.",
    ),
    "a subject of two lines": (
        lambda aws: message(aws, Subject="one\ntwo", Message="text"),
        "InvalidParameter",
        "Invalid parameter: Subject",
    ),
    "a message that is too long": (
        lambda aws: message(aws, Message="ä" * 131_073),
        "InvalidParameter",
        "Invalid parameter: Message too long",
    ),
    "a metric without a namespace's name": (
        lambda aws: aws.client("cloudwatch").put_metric_data(Namespace=":own", MetricData=[{"MetricName": "m"}]),
        "ValidationError",
        "Value ':own' at 'namespace'",
    ),
    "a log group of another name": (
        lambda aws: aws.client("logs").create_log_group(logGroupName="a b"),
        "InvalidParameterException",
        "Value 'a b' at 'logGroupName'",
    ),
}


@pytest.mark.parametrize(("ask", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_service_refuses_is_refused(aws: EmulatedAws, ask: Ask, code: str, message: str) -> None:
    with pytest.raises(ClientError, match=message.replace("(", r"\(").replace("[", r"\[")) as refused:
        ask(aws)
    assert refused.value.response["Error"]["Code"] == code


def test_the_longest_and_the_fullest_that_the_service_takes_are_taken(account: Account, aws: EmulatedAws) -> None:
    account.glue.create_table(DatabaseName=DATABASE, TableInput=table(Name="full", comment="ü" * 255))
    values = [{"Values": [str(number)]} for number in range(100)]
    answer = account.glue.batch_create_partition(DatabaseName=DATABASE, TableName="full", PartitionInputList=values)
    assert not answer.get("Errors")
    padded = "SELECT 1" + " " * (262_144 - 8)
    assert account.start(padded, ClientRequestToken="x" * 128)
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        account.glue.start_job_run(JobName="none", Arguments={"--plan": "x" * (260_000 - 6)})
    message(aws, Subject="[raised] " + "x" * 91, Message="x" * 262_144)
    keys = [{"Key": str(number)} for number in range(1_000)]
    account.s3.put_object(Bucket=BUCKET, Key="ä" * 512, Body=b"")
    assert len(account.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})["Deleted"]) == 1_000


# -- what boto3 never sends, so that requests are made by hand


def call(service: str, operation: str, protocol: str, body: object) -> Call:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(service, operation, protocol, "eu-central-1", CLIENT_KEY, "POST", "/", text)


BY_HAND = {
    "a member that there is not": (
        call("glue", "GetTable", "json", {"DatabaseName": "a", "Name": "b", "Nmae": "c"}),
        "1 validation error detected: Value at 'nmae' failed to satisfy constraint: There is no such member",
    ),
    "a member of a member that there is not": (
        call("glue", "CreateDatabase", "json", {"DatabaseInput": {"Name": "a", "Place": "b"}}),
        "Value at 'databaseInput.place' failed to satisfy constraint: There is no such member",
    ),
    "a member that must be there": (
        call("glue", "GetTable", "json", {"DatabaseName": "a"}),
        "Value null at 'name' failed to satisfy constraint: Member must not be null",
    ),
    "a member that is null": (
        call("glue", "GetTable", "json", {"DatabaseName": "a", "Name": None}),
        "Value null at 'name'",
    ),
    "a member of a list that must be there": (
        call("sqs", "DeleteMessageBatch", "json", {"QueueUrl": "u", "Entries": [{"Id": "1"}]}),
        "Value null at 'entries.1.member.receiptHandle'",
    ),
    "an empty name": (
        call("glue", "GetTable", "json", {"DatabaseName": "a", "Name": ""}),
        "at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1",
    ),
    "text that is a number": (
        call("glue", "GetTable", "json", {"DatabaseName": "a", "Name": 1}),
        "Value '1' at 'name' failed to satisfy constraint: Member must be a string",
    ),
    "a number that is text": (
        call("glue", "GetJobRuns", "json", {"JobName": "a", "MaxResults": "10"}),
        "at 'maxResults' failed to satisfy constraint: Member must be a whole number",
    ),
    "a number that is too large": (
        call("glue", "GetPartitions", "json", {"DatabaseName": "a", "TableName": "b", "MaxResults": 1001}),
        "at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 1000",
    ),
    "a truth that is a number": (
        call("glue", "StartJobRun", "json", {"JobName": "a", "JobRunQueuingEnabled": 1}),
        "at 'jobRunQueuingEnabled' failed to satisfy constraint: Member must be true or false",
    ),
    "a list that is text": (
        call("glue", "BatchStopJobRun", "json", {"JobName": "a", "JobRunIds": "b"}),
        "at 'jobRunIds' failed to satisfy constraint: Member must be a list",
    ),
    "a member of a form that there is not": (
        call("sns", "Publish", "query", b"Action=Publish&Version=1&TopicArn=t&Message=m&Mesage=n"),
        "Value at 'Mesage' failed to satisfy constraint: There is no such member",
    ),
    "a member deep in a form that there is not": (
        call("cloudformation", "CreateStack", "query", b"StackName=s&Parameters.member.1.Key=n"),
        "Value at 'Parameters.member.1.Key' failed to satisfy constraint: There is no such member",
    ),
    "a number in a form that is text": (
        call("iam", "CreateRole", "query", b"RoleName=r&AssumeRolePolicyDocument=d&MaxSessionDuration=long"),
        "at 'maxSessionDuration' failed to satisfy constraint: Member must be a whole number",
    ),
    "an operation that there is not": (call("glue", "GetTabel", "json", {}), "glue has no operation GetTabel"),
}


@pytest.mark.parametrize(("asked", "message"), BY_HAND.values(), ids=BY_HAND)
def test_requests_of_other_clients_are_held_to_the_model(asked: Call, message: str) -> None:
    with pytest.raises(AwsError) as refused:
        validate(asked, {"wsgi.input": io.BytesIO(), "QUERY_STRING": ""})
    assert message in str(refused.value)


def test_a_path_that_is_no_operation_of_s3_is_refused(aws: EmulatedAws) -> None:
    credential = f"AWS4-HMAC-SHA256 Credential={CLIENT_KEY}/20251207/eu-central-1/s3/aws4_request"
    request = urllib.request.Request(f"{aws.endpoint}/{BUCKET}", method="PATCH", headers={"Authorization": credential})
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(request)


def test_whatever_a_gold_file_says_of_its_columns_can_be_registered(account: Account) -> None:
    said = "What people\tsearched\x07 for " + "\U0001f50d" * 3_000
    wanted = Table("gold", "search_terms", said, (Column("searches", "bigint", said),), (EVENT_DATE,))
    account.glue.create_table(DatabaseName=DATABASE, TableInput=table_input(wanted, f"s3://{BUCKET}/tables/"))
    made = account.glue.get_table(DatabaseName=DATABASE, Name="search_terms")["Table"]
    (column,) = made["StorageDescriptor"]["Columns"]
    assert column["Comment"] == "What people searched  for " + "\U0001f50d" * 114
    assert made["Description"] == "What people searched  for " + "\U0001f50d" * 1_011
