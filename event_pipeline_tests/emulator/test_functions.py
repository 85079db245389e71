"""Functions have what Lambda gives them: the standard library, boto3, and their memory."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from event_pipeline_tests.emulator import EmulatedAws

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
CODE = """
import importlib

def load(event, context):
    return importlib.import_module(event["module"]).__name__

def take(event, context):
    return len(b"x" * (event["megabytes"] << 20))
"""


@pytest.fixture(scope="module", autouse=True)
def functions(aws: EmulatedAws) -> Any:
    """A function of each handler, with 128 MB."""
    role = aws.client("iam").create_role(RoleName="functions", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("code_of_functions.py", CODE)
    client = aws.client("lambda")
    for name in ("load", "take"):
        client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=role["Arn"],
            Handler=f"code_of_functions.{name}",
            Code={"ZipFile": archive.getvalue()},
            MemorySize=128,
        )
    return client


def invoke(functions: Any, name: str, **event: Any) -> Any:
    answer = functions.invoke(FunctionName=name, Payload=json.dumps(event))
    return answer.get("FunctionError"), json.loads(answer["Payload"].read())


def test_a_function_has_boto3_and_nothing_else_that_is_installed_here(functions: Any) -> None:
    assert invoke(functions, "load", module="boto3.s3.transfer") == (None, "boto3.s3.transfer")
    for name in ("pyarrow", "pydantic", "event_pipeline"):
        failed, said = invoke(functions, "load", module=name)
        assert (failed, said["errorMessage"]) == ("Unhandled", f"ModuleNotFoundError: No module named '{name}'")


def test_a_function_that_takes_more_than_its_memory_is_killed(functions: Any) -> None:
    assert invoke(functions, "take", megabytes=64) == (None, 64 << 20)
    failed, said = invoke(functions, "take", megabytes=128)
    assert (failed, said["errorType"]) == ("Unhandled", "Runtime.OutOfMemory")
