"""Glue jobs: the script really runs, as Glue would run it, and runs go through Glue's states."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from event_pipeline_tests.emulator import EmulatedAws, Fault, LeftLoopbackError
from event_pipeline_tests.emulator.conftest import BUCKET, Account

WAIT_FOR_RELEASE = """
import time, boto3
s3 = boto3.client("s3")
s3.put_object(Bucket="lake", Key="{name}/begun", Body=b"")
while not s3.list_objects_v2(Bucket="lake", Prefix="{name}/release")["KeyCount"]:
    time.sleep(0.01)
"""


def make_job(account: Account, name: str, script: str, **definition: Any) -> None:
    key = f"scripts/{name}.py"
    account.s3.put_object(Bucket=BUCKET, Key=key, Body=script.encode())
    command = {"Name": "glueetl", "ScriptLocation": f"s3://{BUCKET}/{key}"}
    account.glue.create_job(Name=name, Role="role", Command=command, **definition)


def start(account: Account, name: str, **request: Any) -> str:
    return str(account.glue.start_job_run(JobName=name, **request)["JobRunId"])


def run_to_end(aws: EmulatedAws, account: Account, name: str, **request: Any) -> dict[str, Any]:
    run_id = start(account, name, **request)
    aws.wait_for_job(run_id)
    found: dict[str, Any] = account.glue.get_job_run(JobName=name, RunId=run_id)["JobRun"]
    return found


def log_lines(aws: EmulatedAws, stream: str, run_id: str) -> list[str]:
    events = aws.client("logs").get_log_events(logGroupName=f"/aws-glue/jobs/{stream}", logStreamName=run_id)
    return [event["message"] for event in events["events"]]


def test_glue_5_puts_all_that_a_driver_prints_into_one_stream_below_the_prefix_of_the_job(
    aws: EmulatedAws, account: Account
) -> None:
    script = "import sys; print('said', flush=True); print('warned', file=sys.stderr)"
    prefix = {"--custom-logGroup-prefix": "/own/prefix"}
    make_job(account, "logs", script, GlueVersion="5.1", DefaultArguments=prefix)
    run = run_to_end(aws, account, "logs")
    events = aws.client("logs").get_log_events(logGroupName="/own/prefix/output", logStreamName=f"{run['Id']}-driver")[
        "events"
    ]
    assert sorted(event["message"] for event in events) == ["said", "warned"]


def test_a_job_runs_its_script_with_glues_arguments_and_modules(aws: EmulatedAws, account: Account) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("shipped_package/__init__.py", "ANSWER = 42\n")
    account.s3.put_object(Bucket=BUCKET, Key="artifacts/package.zip", Body=archive.getvalue())
    script = """
import argparse, sys
import boto3, shipped_package
parser = argparse.ArgumentParser()
parser.add_argument("--plan")
parser.add_argument("--token")
known, unknown = parser.parse_known_args()
print(known.plan, known.token, shipped_package.ANSWER)
print(*unknown)
print("a warning", file=sys.stderr)
boto3.client("s3").put_object(Bucket="lake", Key="out/" + known.token, Body=b"1")
"""
    defaults = {"--extra-py-files": f"s3://{BUCKET}/artifacts/package.zip", "--token": "default"}
    make_job(account, "whole", script, DefaultArguments=defaults, GlueVersion="4.0", Timeout=300)
    run = run_to_end(aws, account, "whole", Arguments={"--plan": "s3://a/b", "--token": "mine"})
    assert run["JobRunState"] == "SUCCEEDED", run
    assert run["Arguments"] == {"--plan": "s3://a/b", "--token": "mine"}
    assert (run["GlueVersion"], run["Timeout"], run["LogGroupName"]) == ("4.0", 300, "/aws-glue/jobs")
    assert run["ExecutionTime"] >= 1
    assert run["StartedOn"] <= run["CompletedOn"]
    output = log_lines(aws, "output", run["Id"])
    assert output[0] == "s3://a/b mine 42"
    assert output[1].startswith(f"--JOB_ID j_emulated true --JOB_RUN_ID {run['Id']} --JOB_NAME whole --extra-py-files")
    assert log_lines(aws, "error", run["Id"]) == ["a warning"]
    assert account.keys("out/") == ["out/mine"]
    assert [request.name for request in aws.requests.all() if request.caller == run["Id"]] == ["s3.PutObject"]


def test_a_failed_script_gives_its_last_error_as_the_runs_error(aws: EmulatedAws, account: Account) -> None:
    make_job(account, "raises", "raise ValueError('object a was replaced while read')")
    run = run_to_end(aws, account, "raises")
    assert (run["JobRunState"], run["ErrorMessage"]) == ("FAILED", "ValueError: object a was replaced while read")
    make_job(account, "exits", "import sys; sys.exit(3)")
    run = run_to_end(aws, account, "exits")
    assert (run["JobRunState"], run["ErrorMessage"]) == ("FAILED", "Command failed with exit code 3")


def test_a_missing_script_or_an_index_package_fails_the_run_before_it_starts(
    aws: EmulatedAws, account: Account
) -> None:
    command = {"Name": "glueetl", "ScriptLocation": f"s3://{BUCKET}/scripts/missing.py"}
    account.glue.create_job(Name="missing", Role="role", Command=command)
    run = run_to_end(aws, account, "missing")
    assert run["JobRunState"] == "FAILED"
    assert f"s3://{BUCKET}/scripts/missing.py cannot be read" in run["ErrorMessage"]
    make_job(account, "fetches", "pass", DefaultArguments={"--additional-python-modules": "pyarrow==17.0.0"})
    run = run_to_end(aws, account, "fetches")
    assert run["JobRunState"] == "FAILED"
    assert "from a package index" in run["ErrorMessage"]
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        start(account, "no-such-job")


def test_a_run_is_starting_then_running_then_ended(aws: EmulatedAws, account: Account) -> None:
    make_job(account, "states", WAIT_FOR_RELEASE.format(name="states"))
    held = aws.hold_next_run()
    run_id = start(account, "states")
    begun = aws.hold_next("s3.PutObject", containing="states/begun")

    def state() -> str:
        return str(account.glue.get_job_run(JobName="states", RunId=run_id)["JobRun"]["JobRunState"])

    held.wait_until_reached()
    assert state() == "STARTING"
    held.release()
    begun.wait_until_reached()
    assert state() == "RUNNING"
    with pytest.raises(ClientError, match="ConcurrentRunsExceededException"):
        start(account, "states")
    account.s3.put_object(Bucket=BUCKET, Key="states/release", Body=b"")
    begun.release()
    aws.wait_for_job(run_id)
    assert state() == "SUCCEEDED"
    assert [run["Id"] for run in account.glue.get_job_runs(JobName="states")["JobRuns"]] == [run_id]


def test_a_queued_run_waits_and_then_starts(aws: EmulatedAws, account: Account) -> None:
    make_job(account, "queued", "print('done')", JobRunQueuingEnabled=True)
    held = aws.hold_next_run()
    first = start(account, "queued")
    # What the job says does not hold for a run that says nothing.
    with pytest.raises(account.glue.exceptions.ConcurrentRunsExceededException):
        start(account, "queued")
    second = start(account, "queued", JobRunQueuingEnabled=True)
    held.wait_until_reached()
    runs = account.glue.get_job_runs(JobName="queued")["JobRuns"]
    assert [(run["Id"], run["JobRunState"]) for run in runs] == [(second, "WAITING"), (first, "STARTING")]
    held.release()
    assert aws.wait_for_job(second).state == "SUCCEEDED"
    assert aws.wait_for_job(first).state == "SUCCEEDED"


def test_flex_and_queuing_exclude_each_other(account: Account) -> None:
    refused = account.glue.exceptions.InvalidInputException
    with pytest.raises(refused, match="FLEX"):
        make_job(account, "both", "print('done')", JobRunQueuingEnabled=True, ExecutionClass="FLEX")
    make_job(account, "flex", "print('done')", ExecutionClass="FLEX")
    with pytest.raises(refused, match="FLEX"):
        start(account, "flex", JobRunQueuingEnabled=True)


def test_a_run_is_unknown_for_a_while_after_its_start(aws: EmulatedAws, account: Account) -> None:
    make_job(account, "unseen", "print('done')")
    aws.unseen_for(60)
    run_id = start(account, "unseen")
    aws.unseen_for(0)
    with pytest.raises(account.glue.exceptions.EntityNotFoundException):
        account.glue.get_job_run(JobName="unseen", RunId=run_id)
    assert account.glue.get_job_runs(JobName="unseen")["JobRuns"] == []
    assert aws.wait_for_job(run_id).state == "SUCCEEDED"


def test_stopping_a_run_kills_its_script_once(aws: EmulatedAws, account: Account) -> None:
    make_job(account, "stopped", WAIT_FOR_RELEASE.format(name="stopped"))
    begun = aws.hold_next("s3.PutObject", containing="stopped/begun")
    run_id = start(account, "stopped")
    begun.wait_until_reached()
    begun.release()
    stop = {"JobName": "stopped", "JobRunIds": [run_id, "jr_unknown"]}
    answer = account.glue.batch_stop_job_run(**stop)
    assert answer["SuccessfulSubmissions"] == [{"JobName": "stopped", "JobRunId": run_id}]
    assert [error["ErrorDetail"]["ErrorCode"] for error in answer["Errors"]] == ["EntityNotFoundException"]
    assert aws.wait_for_job(run_id).state == "STOPPED"
    answer = account.glue.batch_stop_job_run(JobName="stopped", JobRunIds=[run_id])
    assert answer["SuccessfulSubmissions"] == []
    assert answer["Errors"][0]["ErrorDetail"]["ErrorCode"] == "InvalidJobRunStateTransitionException"


def test_a_run_that_takes_too_long_times_out(aws: EmulatedAws, account: Account) -> None:
    make_job(account, "slow", "import time; time.sleep(60)", Timeout=480)
    # A minute of this account lasts a second.
    run = run_to_end(aws, account, "slow", Timeout=1)
    assert (run["JobRunState"], run["Timeout"]) == ("TIMEOUT", 1)


def test_only_flex_runs_tell_their_dpu_seconds(aws: EmulatedAws, account: Account) -> None:
    make_job(account, "flex", "pass", WorkerType="G.2X", NumberOfWorkers=3)
    run = run_to_end(aws, account, "flex", ExecutionClass="FLEX")
    assert run["MaxCapacity"] == 6
    assert run["DPUSeconds"] > 0
    assert "DPUSeconds" not in run_to_end(aws, account, "flex")


@pytest.mark.parametrize("state", ["FAILED", "ERROR", "EXPIRED", "TIMEOUT"])
def test_a_run_can_be_made_to_end_in_any_bad_state(aws: EmulatedAws, account: Account, state: str) -> None:
    name = f"planned-{state}"
    make_job(account, name, "print('never')")
    aws.fail_next_run(state, "Resource unavailable")
    run = run_to_end(aws, account, name)
    assert (run["JobRunState"], run["ErrorMessage"]) == (state, "Resource unavailable")
    assert run_to_end(aws, account, name)["JobRunState"] == "SUCCEEDED"


@pytest.mark.parametrize(("after_effect", "left"), [(False, ["killed/1"]), (True, ["killed/1", "killed/2"])])
def test_a_run_can_be_killed_at_a_request_of_its_script(
    aws: EmulatedAws, account: Account, after_effect: bool, left: list[str]
) -> None:
    script = """
import boto3
for number in ("1", "2", "3"):
    boto3.client("s3").put_object(Bucket="lake", Key="killed/" + number, Body=b"")
"""
    name = f"killed-{after_effect}"
    make_job(account, name, script)
    fault = aws.kill_job_at("s3.PutObject", containing="killed/2", after_effect=after_effect)
    run = run_to_end(aws, account, name)
    assert (run["JobRunState"], run["ErrorMessage"]) == ("FAILED", "Command failed with exit code 137")
    assert fault.struck == 1
    assert account.keys("killed/") == left
    for key in left:
        account.s3.delete_object(Bucket=BUCKET, Key=key)


def test_faults_can_strike_jobs_only(aws: EmulatedAws, account: Account) -> None:
    make_job(account, "denied", "import boto3; boto3.client('s3').get_object(Bucket='lake', Key='denied/a')")
    account.s3.put_object(Bucket=BUCKET, Key="denied/a", Body=b"1")
    aws.fail_next("s3.GetObject", Fault.ACCESS_DENIED, caller="job")
    assert account.s3.get_object(Bucket=BUCKET, Key="denied/a")["Body"].read() == b"1"
    run = run_to_end(aws, account, "denied")
    assert run["JobRunState"] == "FAILED"
    assert "AccessDenied" in run["ErrorMessage"]


def test_a_job_that_leaves_loopback_fails_and_so_does_its_test() -> None:
    script = """
import urllib.request
try:
    urllib.request.urlopen("http://192.0.2.1/")
except RuntimeError as error:
    print(error)
"""
    with pytest.raises(LeftLoopbackError, match="192.0.2.1"):
        _run_alone(script)


def _run_alone(script: str) -> None:
    # In a process of its own, because this one emulates an account already.
    import subprocess
    import sys

    program = f"""
from event_pipeline_tests.emulator import EmulatedAws, LeftLoopbackError
try:
    with EmulatedAws() as aws:
        s3, glue = aws.client("s3"), aws.client("glue")
        s3.create_bucket(Bucket="scripts", CreateBucketConfiguration={{"LocationConstraint": aws.region}})
        s3.put_object(Bucket="scripts", Key="s.py", Body={script!r}.encode())
        glue.create_job(Name="j", Role="r", Command={{"Name": "glueetl", "ScriptLocation": "s3://scripts/s.py"}})
        run = aws.wait_for_job(glue.start_job_run(JobName="j")["JobRunId"])
        print(run.state)
except LeftLoopbackError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    state, message = done.stdout.splitlines()
    assert state == "SUCCEEDED"
    raise LeftLoopbackError(message)


@pytest.mark.spark
def test_a_spark_job_runs_on_the_jvm_of_pypi_and_its_tasks_reach_s3(aws: EmulatedAws, account: Account) -> None:
    script = """
from pyspark.sql import SparkSession

def put(number):
    import boto3
    boto3.client("s3").put_object(Bucket="lake", Key=f"spark/{number}", Body=b"")
    return number

spark = SparkSession.builder.getOrCreate()
print(spark.version, sum(spark.sparkContext.parallelize(range(4), 2).map(put).collect()))
spark.stop()
"""
    make_job(account, "spark", script)
    run = run_to_end(aws, account, "spark", Timeout=480)
    assert run["JobRunState"] == "SUCCEEDED", run
    version, total = log_lines(aws, "output", run["Id"])[-1].split()
    assert version.startswith("3.5.")
    assert total == "6"
    assert account.keys("spark/") == ["spark/0", "spark/1", "spark/2", "spark/3"]
