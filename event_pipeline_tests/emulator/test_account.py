"""The account itself: who may call, faults on purpose, and where moto alone would be kinder than AWS."""

from __future__ import annotations

import gzip
import socket
import threading
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from event_pipeline_tests.emulator import AwsError, EmulatedAws, Fault, LeftLoopbackError, only_loopback
from event_pipeline_tests.emulator.conftest import BUCKET, DATABASE, Account
from event_pipeline_tests.emulator.front import CLIENT_KEY


def client(aws: EmulatedAws, service: str, key: str = CLIENT_KEY, region: str = "", attempts: int = 1) -> Any:
    session = boto3.Session(key, "secret", region_name=region or aws.region)
    config = Config(retries={"mode": "standard", "total_max_attempts": attempts})
    return session.client(service, endpoint_url=aws.endpoint, config=config)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def put(account: Account, key: str, **options: Any) -> Any:
    return account.s3.put_object(Bucket=BUCKET, Key=key, Body=b"1", **options)


def test_stored_bytes_come_back_undecoded(account: Account) -> None:
    stored = gzip.compress(b'{"a": 1}\n')
    account.s3.put_object(Bucket=BUCKET, Key="raw.gz", Body=stored, ContentEncoding="gzip")
    answer = account.s3.get_object(Bucket=BUCKET, Key="raw.gz")
    assert answer["ContentEncoding"] == "gzip"
    assert answer["Body"].read() == stored
    assert account.s3.get_object(Bucket=BUCKET, Key="raw.gz", Range="bytes=0-1")["Body"].read() == b"\x1f\x8b"


def test_conditional_puts_are_a_compare_and_swap(account: Account) -> None:
    etag = put(account, "swap", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as twice:
        put(account, "swap", IfNoneMatch="*")
    assert code_of(twice) == "PreconditionFailed"
    account.s3.put_object(Bucket=BUCKET, Key="swap", Body=b"2", IfMatch=etag)
    with pytest.raises(ClientError) as stale:
        put(account, "swap", IfMatch=etag)
    assert code_of(stale) == "PreconditionFailed"
    assert account.s3.get_object(Bucket=BUCKET, Key="swap")["Body"].read() == b"2"
    with pytest.raises(ClientError) as missing:
        put(account, "not-there", IfMatch=etag)
    assert code_of(missing) in ("NoSuchKey", "PreconditionFailed")


def test_listings_come_in_pages(account: Account) -> None:
    keys = [f"many/{number:03}" for number in range(150)]
    for key in keys:
        put(account, key)
    first = account.s3.list_objects_v2(Bucket=BUCKET, Prefix="many/")
    assert (first["KeyCount"], first["IsTruncated"]) == (100, True)
    assert account.keys("many/") == keys


def partitions(first: int, last: int) -> list[dict[str, Any]]:
    return [{"Values": [f"{number:04}"], "StorageDescriptor": {"Location": "s3://b/"}} for number in range(first, last)]


def test_batches_of_partitions_are_limited_and_tell_errors_one_by_one(account: Account) -> None:
    account.make_table("batches", {"a": "string"}, {"day": "string"})
    where = {"DatabaseName": DATABASE, "TableName": "batches"}
    with pytest.raises(ClientError, match="less than or equal to 100") as refused:
        account.glue.batch_create_partition(**where, PartitionInputList=partitions(0, 101))
    assert code_of(refused) == "ValidationException"
    assert not account.glue.batch_create_partition(**where, PartitionInputList=partitions(0, 100)).get("Errors")
    answer = account.glue.batch_create_partition(**where, PartitionInputList=partitions(99, 150))
    assert [(error["PartitionValues"], error["ErrorDetail"]["ErrorCode"]) for error in answer["Errors"]] == [
        (["0099"], "AlreadyExistsException")
    ]
    first = account.glue.get_partitions(**where)
    assert len(first["Partitions"]) == 100
    pages = account.glue.get_paginator("get_partitions").paginate(**where)
    assert len([found for page in pages for found in page["Partitions"]]) == 150
    some = account.glue.get_partitions(**where, Expression="day >= '0148'")
    assert [found["Values"] for found in some["Partitions"]] == [["0148"], ["0149"]]
    entries = [{"PartitionValueList": ["9999"], "PartitionInput": partitions(9999, 10000)[0]}]
    answer = account.glue.batch_update_partition(**where, Entries=entries)
    assert answer["Errors"][0]["ErrorDetail"]["ErrorCode"] == "EntityNotFoundException"
    with pytest.raises(ClientError, match="less than or equal to 25"):
        account.glue.batch_delete_partition(
            **where, PartitionsToDelete=[{"Values": [f"{number:04}"]} for number in range(26)]
        )


@pytest.mark.parametrize(
    ("fault", "operation", "code", "status"),
    [
        (Fault.THROTTLED, "s3.PutObject", "SlowDown", 503),
        (Fault.SERVER_ERROR, "s3.PutObject", "InternalError", 500),
        (Fault.ACCESS_DENIED, "s3.PutObject", "AccessDenied", 403),
        (Fault.EXPIRED_CREDENTIALS, "s3.PutObject", "ExpiredToken", 400),
        (Fault.THROTTLED, "glue.GetDatabases", "ThrottlingException", 400),
        (Fault.SERVER_ERROR, "glue.GetDatabases", "InternalServiceException", 500),
        (Fault.ACCESS_DENIED, "glue.GetDatabases", "AccessDeniedException", 400),
        (Fault.EXPIRED_CREDENTIALS, "glue.GetDatabases", "ExpiredTokenException", 400),
        (Fault.THROTTLED, "athena.StartQueryExecution", "TooManyRequestsException", 400),
        (Fault.SERVER_ERROR, "sns.ListTopics", "InternalFailure", 500),
        (Fault.ACCESS_DENIED, "sns.ListTopics", "AccessDenied", 403),
        (AwsError("OperationTimeoutException", "The operation timed out."), "glue.GetDatabases", "", 400),
    ],
)
def test_a_fault_is_worded_as_its_service_words_it(
    aws: EmulatedAws, account: Account, fault: Fault | AwsError, operation: str, code: str, status: int
) -> None:
    calls = {
        "s3.PutObject": lambda: put(account, "faulty"),
        "glue.GetDatabases": account.glue.get_databases,
        "athena.StartQueryExecution": lambda: account.start("SELECT 1 AS one"),
        "sns.ListTopics": aws.client("sns").list_topics,
    }
    planned = aws.fail_next(operation, fault)
    with pytest.raises(ClientError) as error:
        calls[operation]()
    assert code_of(error) == (fault.code if isinstance(fault, AwsError) else code)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert planned.struck == 1
    calls[operation]()


def test_a_fault_strikes_before_or_after_the_effect(aws: EmulatedAws, account: Account) -> None:
    aws.fail_next("s3.PutObject", Fault.NO_ANSWER, containing="effect/before")
    aws.fail_next("s3.PutObject", Fault.NO_ANSWER, containing="effect/after", after_effect=True)
    put(account, "effect/other")
    for key in ("effect/before", "effect/after"):
        with pytest.raises(ConnectionClosedError):
            put(account, key)
    assert account.keys("effect/") == ["effect/after", "effect/other"]


def test_a_fault_strikes_as_often_as_planned_and_clients_get_past_it(aws: EmulatedAws) -> None:
    s3 = client(aws, "s3", attempts=3)
    planned = aws.fail_next("s3.PutObject", Fault.SERVER_ERROR, 2, containing="retried")
    aws.requests.clear()
    s3.put_object(Bucket=BUCKET, Key="retried", Body=b"x" * 100_000)
    assert planned.struck == 2
    assert [request.status for request in aws.requests.of("s3.PutObject")] == [500, 500, 200]
    for_ever = aws.fail_next("s3.PutObject", Fault.SERVER_ERROR, None)
    with pytest.raises(ClientError):
        s3.put_object(Bucket=BUCKET, Key="given-up", Body=b"")
    assert for_ever.struck == 3
    aws.faults.clear()
    s3.put_object(Bucket=BUCKET, Key="given-up", Body=b"")


def test_a_fault_of_an_operation_without_service_is_refused(aws: EmulatedAws) -> None:
    with pytest.raises(ValueError, match="write <service>.<Operation>"):
        aws.fail_next("PutObject", Fault.THROTTLED)


def test_a_request_can_be_held_half_way(aws: EmulatedAws, account: Account) -> None:
    held = aws.hold_next("s3.PutObject", containing="held/a", after_effect=True)
    thread = threading.Thread(target=put, args=(account, "held/a"))
    thread.start()
    held.wait_until_reached()
    assert thread.is_alive()
    assert account.keys("held/") == ["held/a"]
    held.release()
    thread.join()


def test_every_request_is_logged_and_counted(aws: EmulatedAws, account: Account) -> None:
    aws.requests.clear()
    put(account, "logged")
    account.s3.copy_object(Bucket=BUCKET, Key="copied", CopySource=f"{BUCKET}/logged")
    account.s3.head_object(Bucket=BUCKET, Key="copied")
    account.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "copied"}]})
    upload = account.s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    account.s3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=1, Body=b"1")
    account.s3.abort_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload)
    account.s3.list_objects_v2(Bucket=BUCKET, Prefix="logged")
    account.s3.list_buckets()
    account.glue.get_database(Name=DATABASE)
    aws.client("sts").get_caller_identity()
    with pytest.raises(ClientError):
        account.s3.get_object(Bucket=BUCKET, Key="missing")
    assert aws.requests.counts() == {
        "glue.GetDatabase": 1,
        "s3.AbortMultipartUpload": 1,
        "s3.CopyObject": 1,
        "s3.CreateMultipartUpload": 1,
        "s3.DeleteObjects": 1,
        "s3.GetObject": 1,
        "s3.HeadObject": 1,
        "s3.ListBuckets": 1,
        "s3.ListObjectsV2": 1,
        "s3.PutObject": 1,
        "s3.UploadPart": 1,
        "sts.GetCallerIdentity": 1,
    }
    (missing,) = aws.requests.of("s3.GetObject", "/missing")
    assert (missing.status, missing.caller, missing.resource) == (404, "client", "/lake/missing")


def test_other_credentials_and_no_credentials_are_refused(aws: EmulatedAws) -> None:
    with pytest.raises(ClientError) as stranger:
        client(aws, "s3", key="AKIAREALCREDENTIALS0").list_buckets()
    assert code_of(stranger) == "InvalidAccessKeyId"
    with pytest.raises(ClientError) as stranger:
        client(aws, "glue", key="AKIAREALCREDENTIALS0").get_databases()
    assert code_of(stranger) == "UnrecognizedClientException"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{aws.endpoint}/{BUCKET}/key")


def test_another_region_holds_nothing(aws: EmulatedAws) -> None:
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        client(aws, "glue", region="us-west-2").get_database(Name=DATABASE)
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        client(aws, "glue", region="us-west-2").get_job_runs(JobName="any")
    with pytest.raises(ClientError, match="InvalidRequestException"):
        client(aws, "athena", region="us-west-2").start_query_execution(QueryString="SELECT 1", WorkGroup="analysts")


def test_one_process_emulates_one_account_at_a_time(aws: EmulatedAws) -> None:
    with pytest.raises(RuntimeError, match="emulates AWS already"), EmulatedAws():
        pass


@pytest.mark.parametrize("host", ["192.0.2.1", "8.8.8.8", "2001:db8::1"])
def test_the_guard_refuses_other_machines_and_fails_the_block(host: str) -> None:
    def leave() -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection, pytest.raises(LeftLoopbackError):
            connection.connect((host, 80))

    with pytest.raises(LeftLoopbackError, match=f"was left for {host}"), only_loopback():
        leave()


def test_the_guard_refuses_to_look_up_names_and_lets_loopback_through() -> None:
    def look_up(port: int) -> None:
        socket.create_connection(("localhost", port)).close()
        with pytest.raises(LeftLoopbackError):
            socket.create_connection(("s3.eu-central-1.amazonaws.com", 443))

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LeftLoopbackError, match="for s3.eu-central-1.amazonaws.com"), only_loopback():
            look_up(port)


def test_clients_without_the_endpoint_cannot_leave_this_machine() -> None:
    s3 = boto3.Session(CLIENT_KEY, "emulated", region_name="eu-central-1").client("s3")

    def leave() -> None:
        with pytest.raises(Exception, match="is not this machine"):
            s3.list_buckets()

    with pytest.raises(LeftLoopbackError), only_loopback():
        leave()


def test_a_short_poll_may_find_nothing_where_a_long_one_finds_the_message(aws: EmulatedAws) -> None:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName="polled")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="here")
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    (found,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)["Messages"]
    assert found["Body"] == "here"
