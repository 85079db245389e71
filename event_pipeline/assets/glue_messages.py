"""Glue runs that report to the Dagster run that started them, by the Dagster Pipes protocol over S3.

The engine starts, finds and stops the runs itself; this is only what travels between a run and Dagster: context
there, log lines back while it works. Both are deleted when the step ends. A run that another process started
reports to that one; its results count all the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from event_pipeline.engines.base import Engine
from event_pipeline.settings import Environment, Settings

if TYPE_CHECKING:
    from dagster import PipesMessageReader

PREFIX = "pipes/"
SECONDS_BETWEEN_MESSAGES = 3


@contextmanager
def glue_runs_followed(context: dg.AssetExecutionContext, engine: Engine, settings: Settings) -> Iterator[Engine]:
    """Give an engine whose Glue runs report to this step; an engine without Glue as it is."""
    if settings.env is not Environment.AWS:
        yield engine
        return
    # Imported in the run: boto3 and dagster-aws would double the time the code location takes to load.
    from event_pipeline.engines.aws import AwsEngine
    from event_pipeline.engines.aws.glue_job import JobHooks

    if not isinstance(engine, AwsEngine):
        yield engine
        return
    with ExitStack() as sessions:

        def arguments() -> Mapping[str, str]:
            return sessions.enter_context(_pipes_arguments(context, settings))

        def started(run_id: str, logs: str) -> None:
            context.log.info(f"Glue run {run_id}, logs: {logs}")

        yield engine.followed_by(JobHooks(arguments, started))


@contextmanager
def _pipes_arguments(context: dg.AssetExecutionContext, settings: Settings) -> Iterator[Mapping[str, str]]:
    """Open a Pipes session and give the arguments by which a job joins it."""
    import boto3
    from dagster_aws.pipes import PipesS3ContextInjector

    s3 = boto3.Session(region_name=settings.aws_region).client("s3")
    injector = PipesS3ContextInjector(bucket=settings.artifacts_bucket, client=s3, key_prefix=PREFIX)
    reader = _message_reader(s3, settings.artifacts_bucket)
    with ExitStack() as opened:
        with warnings.catch_warnings():
            # Dagster asks its own reader for a property that it calls a preview.
            warnings.simplefilter("ignore", dg.PreviewWarning)
            # The op's context: Pipes asks it for things that the asset's answers with a warning of deprecation.
            session = opened.enter_context(dg.open_pipes_session(context.op_execution_context, injector, reader))
        yield session.get_bootstrap_cli_arguments()


def _message_reader(s3: Any, bucket: str) -> PipesMessageReader:
    from dagster_aws.pipes import PipesS3MessageReader

    class TidyMessageReader(PipesS3MessageReader):
        """Reads messages below a prefix of ours and deletes them when the session is over."""

        @contextmanager
        def get_params(self) -> Iterator[dict[str, Any]]:
            with super().get_params() as params:
                prefix = f"{PREFIX}{params['key_prefix']}"
                try:
                    yield {**params, "key_prefix": prefix}
                finally:
                    _delete_below(s3, bucket, f"{prefix}/")

    return TidyMessageReader(interval=SECONDS_BETWEEN_MESSAGES, bucket=bucket, client=s3)


def _delete_below(s3: Any, bucket: str, prefix: str) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        if keys := [{"Key": each["Key"]} for each in page.get("Contents", [])]:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
