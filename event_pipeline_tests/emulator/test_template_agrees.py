"""The template and `resources.py` come to the same account, and the function that empties buckets works over S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from event_pipeline.engines.aws.catalog import table_input
from event_pipeline.infrastructure.packaging import WHEELS, Artifact, package_artifact, script_artifact
from event_pipeline.rules.contract import HOUR_TABLES
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.resources import DATABASES, bronze_table_input, job, work_group
from event_pipeline_tests.infra.template import TEMPLATE, Template

JOB_EXTRAS = {"JobRunQueuingEnabled", "ExecutionClass", "Description", "Tags"}
LOG_ARGUMENTS = {"--enable-metrics", "--enable-observability-metrics", "--custom-logGroup-prefix"}
"""What the template adds for people and alarms; a run is the same without."""

STACK = "arn:aws:cloudformation:eu-central-1:123456789012:stack/stack/1"


@pytest.fixture
def settings(aws: EmulatedAws) -> Settings:
    """The settings of the emulated account."""
    return aws.settings()


@pytest.fixture
def wheels() -> list[Artifact]:
    """As many wheels as are shipped; their bytes do not matter here."""
    return [Artifact(f"artifacts/{number:064}/{name}.whl", b"") for number, name in enumerate(WHEELS)]


@pytest.fixture
def deployed(settings: Settings, wheels: list[Artifact]) -> dict[str, dict[str, Any]]:
    """What the template makes over the buckets of the emulated account."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).with_parameters(
        ExistingRawBucket=settings.raw_bucket,
        ExistingLakeBucket=settings.lake_bucket,
        ExistingArtifactsBucket=settings.artifacts_bucket,
        GlueScriptKey=script_artifact().key,
        GluePackageKey=package_artifact().key,
        GlueWheelKeys=",".join(wheel.key for wheel in wheels),
    )


def test_buckets_that_exist_are_not_made_again(deployed: dict[str, dict[str, Any]]) -> None:
    assert not {"RawBucket", "LakeBucket", "ArtifactsBucket", "RawBucketPolicy"} & deployed.keys()


def test_tables_and_databases_are_the_same(settings: Settings, deployed: dict[str, dict[str, Any]]) -> None:
    tables = {
        each["DatabaseName"] + "." + each["TableInput"]["Name"]: each["TableInput"]
        for each in deployed.values()
        if "TableInput" in each
    }
    expected = {
        table.full_name: table_input(table, f"s3://{settings.lake_bucket}/tables/{table.database}/{table.name}/")
        for table in HOUR_TABLES
    }
    assert tables == {**expected, "bronze.events": bronze_table_input(settings.raw_bucket, settings.raw_prefix)}
    databases = {each["DatabaseInput"]["Name"] for each in deployed.values() if "DatabaseInput" in each}
    assert databases == set(DATABASES)


def test_the_job_is_the_same(
    settings: Settings, deployed: dict[str, dict[str, Any]], wheels: list[Artifact], aws: EmulatedAws
) -> None:
    made = {name: value for name, value in deployed["SilverJob"].items() if name not in JOB_EXTRAS}
    made["DefaultArguments"] = {
        name: value for name, value in made["DefaultArguments"].items() if name not in LOG_ARGUMENTS
    }
    made["DefaultArguments"]["--region"] = aws.region
    assert made == job(settings, made["Role"], script_artifact(), package_artifact(), wheels)


def test_the_workgroup_is_the_same_and_encrypts_besides(
    settings: Settings, deployed: dict[str, dict[str, Any]]
) -> None:
    made = deployed["Workgroup"]["WorkGroupConfiguration"]
    assert made["ResultConfiguration"].pop("EncryptionConfiguration") == {"EncryptionOption": "SSE_S3"}
    assert made == work_group(settings)
    assert deployed["Workgroup"]["Name"] == settings.athena_workgroup


class Cleaner:
    """The function that empties buckets, as the template ships it, and where its answers arrive."""

    def __init__(self, aws: EmulatedAws, status: str, url: str) -> None:
        code = Template(TEMPLATE.read_text(encoding="utf-8")).deployed["BucketCleanerFunction"]["Code"]["ZipFile"]
        self._space: dict[str, Any] = {}
        exec(compile(code, "index.py", "exec"), self._space)  # noqa: S102 - the template's own code
        self._space["is_deleted"] = lambda stack: stack == STACK and status == "DELETE_IN_PROGRESS"
        self._url = url

    def invoke(self, request: str, bucket: str, seconds: float = 900) -> None:
        """Invoke it as CloudFormation does."""

        class Context:
            def get_remaining_time_in_millis(self) -> float:
                return seconds * 1000

        self._space["handler"](
            {
                "RequestType": request,
                "StackId": STACK,
                "RequestId": "1",
                "LogicalResourceId": "BucketCleaner",
                "ResponseURL": self._url,
                "ResourceProperties": {"Buckets": [bucket]},
            },
            Context(),
        )


@pytest.fixture
def answers() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes what custom resources answer: its address and the answers."""
    received: list[dict[str, Any]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:  # noqa: N802 - http.server's name
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Taker) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()
        thread.join()


@pytest.fixture
def versioned(aws: EmulatedAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A versioned bucket with more versions and delete markers than one page lists."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="doomed", CreateBucketConfiguration={"LocationConstraint": aws.region})
    s3.put_bucket_versioning(Bucket="doomed", VersioningConfiguration={"Status": "Enabled"})
    for number in range(60):
        for _ in range(2):
            s3.put_object(Bucket="doomed", Key=f"runs/{number}", Body=b"x")
        s3.delete_object(Bucket="doomed", Key=f"runs/{number}")
    yield "doomed"
    if "doomed" in buckets(aws):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket="doomed"):
            for each in page.get("Versions", []) + page.get("DeleteMarkers", []):
                s3.delete_object(Bucket="doomed", Key=each["Key"], VersionId=each["VersionId"])
        s3.delete_bucket(Bucket="doomed")


def buckets(aws: EmulatedAws) -> list[str]:
    """Return the buckets of the account."""
    return [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]]


def test_a_bucket_goes_with_every_version_while_the_stack_is_deleted(
    aws: EmulatedAws, answers: tuple[str, list[dict[str, Any]]], versioned: str
) -> None:
    url, received = answers
    cleaner = Cleaner(aws, "DELETE_IN_PROGRESS", url)
    cleaner.invoke("Delete", versioned)
    assert versioned not in buckets(aws)
    cleaner.invoke("Delete", versioned)  # told again, it is no fault that nothing is left
    assert [each["Status"] for each in received] == ["SUCCESS", "SUCCESS"]


def test_a_bucket_that_is_written_to_just_before_it_is_deleted_is_emptied_again(
    aws: EmulatedAws, answers: tuple[str, list[dict[str, Any]]], versioned: str
) -> None:
    url, received = answers
    held = aws.hold_next("s3.DeleteBucket")
    with ThreadPoolExecutor(1) as pool:
        cleaning = pool.submit(Cleaner(aws, "DELETE_IN_PROGRESS", url).invoke, "Delete", versioned)
        held.wait_until_reached()
        aws.client("s3").put_object(Bucket=versioned, Key="runs/late", Body=b"x")
        held.release()
        cleaning.result(60)
    assert versioned not in buckets(aws)
    assert [each["Status"] for each in received] == ["SUCCESS"]


@pytest.mark.parametrize(
    ("request_type", "status"), [("Delete", "UPDATE_IN_PROGRESS"), ("Create", "DELETE_IN_PROGRESS")]
)
def test_a_bucket_stays_at_any_other_time(
    aws: EmulatedAws, answers: tuple[str, list[dict[str, Any]]], versioned: str, request_type: str, status: str
) -> None:
    url, received = answers
    Cleaner(aws, status, url).invoke(request_type, versioned)
    assert len(aws.client("s3").list_object_versions(Bucket=versioned)["Versions"]) > 0
    assert (received[0]["Status"], received[0]["PhysicalResourceId"]) == ("SUCCESS", "bucket-cleaner")


def test_without_time_left_it_stops_says_so_and_goes_on_when_deleted_again(
    aws: EmulatedAws, answers: tuple[str, list[dict[str, Any]]], versioned: str
) -> None:
    url, received = answers
    cleaner = Cleaner(aws, "DELETE_IN_PROGRESS", url)
    cleaner.invoke("Delete", versioned, seconds=10)
    assert versioned in buckets(aws)
    assert received[0]["Status"] == "FAILED"
    assert "delete the stack again to go on" in received[0]["Reason"]
    cleaner.invoke("Delete", versioned)
    assert versioned not in buckets(aws)
