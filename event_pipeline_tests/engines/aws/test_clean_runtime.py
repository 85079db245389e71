"""The Glue job with nothing but what Glue has and what is shipped to it, its executors in processes of their own.

A run that lacks something fails here: a package that only the tests' environment has, a module that reaches the driver
and no executor, a wheel that pip does not install by the job's own options, a call that an older boto3 does not know.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow
import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.infrastructure.packaging import GLUE_PYTHON, wheel_artifacts
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws, resources
from event_pipeline_tests.emulator.glue_runtime import EXECUTORS, GlueRuntime, make_runtime
from event_pipeline_tests.engines.aws.pipeline import land
from event_pipeline_tests.materializing import materialize
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, event, purchase

pytestmark = [
    pytest.mark.slow,
    pytest.mark.spark,
    pytest.mark.skipif(
        f"{sys.version_info[0]}.{sys.version_info[1]}" != GLUE_PYTHON,
        reason=f"the wheels that are shipped are for Python {GLUE_PYTHON}, which Glue has",
    ),
]


@pytest.fixture
def runtime(tmp_path: Path) -> GlueRuntime:
    """A runtime in which nothing is installed yet."""
    return make_runtime(tmp_path / "runtime")


@pytest.fixture
def aws(runtime: GlueRuntime, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedAws]:
    """An empty account whose Glue runs have that runtime."""
    with EmulatedAws(job_runtime=runtime) as account:
        for name, value in account.environment().items():
            monkeypatch.setenv(name, value)
        yield account


def run_without_wheels(aws: EmulatedAws, settings: Settings) -> str:
    """Start the deployed job without its wheels and return the error of its run."""
    glue = aws.client("glue")
    deployed = glue.get_job(JobName=settings.glue_job)["Job"]
    fixed = {name: text for name, text in deployed["NonOverridableArguments"].items() if "modules" not in name}
    wanted = ("Role", "Command", "GlueVersion", "DefaultArguments")
    copy = {name: deployed[name] for name in wanted}
    glue.create_job(Name="without-wheels", NonOverridableArguments=fixed, **copy)
    arguments = {"--plan": f"s3://{settings.artifacts_bucket}/plans/none.json", "--token": "none"}
    run = aws.wait_for_job(glue.start_job_run(JobName="without-wheels", Arguments=arguments)["JobRunId"])
    assert run.state == "FAILED"
    return run.error_message


def test_what_is_shipped_is_all_that_the_job_needs(
    aws: EmulatedAws, settings: Settings, runtime: GlueRuntime, tmp_path: Path
) -> None:
    """One Spark for all of it: the hours are built from Dagster, told to Dagster, and agree with the oracle."""
    resources.create_resources(settings, aws.client, wheel_artifacts(tmp_path / "wheels"))
    error = run_without_wheels(aws, settings)
    assert error == (
        "SilverJobError: pyarrow 17.0.0 is too old, 21 is the minimum: ship its wheel with --additional-python-modules"
    )
    hours = HourRange(HOUR, HOUR.plus(2))
    last = HOUR.plus(1)
    repeated = [purchase(hour=HOUR, second=second) for second in range(40)]
    land(aws, settings, HOUR, 0, [*repeated, b"not JSON", event(HOUR, 50, event_type="unknown")])
    key = land(aws, settings, HOUR, 5, [*repeated[:20], event(HOUR, 301, search_query="café")])
    land(aws, settings, last, 0, [event(last, 1), event(HOUR, 3599)])
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(settings, instance, hours, engine=AwsEngine(settings))
        log = instance.all_logs(result.run_id)
    failures = [entry.dagster_event.message for entry in log if entry.dagster_event and entry.dagster_event.is_failure]
    assert result.success, failures
    told = [entry.user_message for entry in log]
    assert f"Python {GLUE_PYTHON}." in "".join(line for line in told if f"pyarrow {pyarrow.__version__}, Spark" in line)
    assert any(line.startswith(f"{HOUR}: object ") and key in line for line in told)
    assert len(runtime.executor_folders()) == EXECUTORS
    assert_agrees_with_oracle(AwsEngine(settings), settings.root)
