"""Glue runs that report to the Dagster run that started them, by the Dagster Pipes protocol over S3.

The engine starts, finds and stops the runs itself; this is only what travels between a run and Dagster: context
there, log lines back while it works. Both are deleted when the step ends. A run that another process started
reports to that one; its results count all the same.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from event_pipeline.engines.base import Engine
from event_pipeline.errors import PipelineError
from event_pipeline.rules.printable import printable
from event_pipeline.settings import Environment, Settings

if TYPE_CHECKING:
    from dagster import PipesMessageReader

    from event_pipeline.engines.aws import AwsEngine

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
            return sessions.enter_context(_pipes_arguments(context, engine, settings.artifacts_bucket))

        def started(run_id: str, logs: str) -> None:
            context.log.info(f"Glue run {run_id}, logs: {logs}")

        yield engine.followed_by(JobHooks(arguments, started))


@contextmanager
def _pipes_arguments(context: dg.AssetExecutionContext, engine: AwsEngine, bucket: str) -> Iterator[Mapping[str, str]]:
    """Open a Pipes session and give the arguments by which a job joins it; its objects are deleted at the end."""
    from dagster_aws.pipes import PipesS3ContextInjector

    s3, prefix = engine.s3_client(), f"{PREFIX}{uuid.uuid4().hex}/"
    injector = PipesS3ContextInjector(bucket=bucket, client=s3, key_prefix=prefix)
    reader = _message_reader(s3, bucket, f"{prefix}messages")
    with ExitStack() as opened:
        opened.callback(_delete_below, prefix, engine, context)
        with warnings.catch_warnings():
            # Dagster asks its own reader for a property that it calls a preview.
            warnings.simplefilter("ignore", dg.PreviewWarning)
            # The op's context: Pipes asks it for things that the asset's answers with a warning of deprecation.
            session = opened.enter_context(dg.open_pipes_session(context.op_execution_context, injector, reader))
        yield session.get_bootstrap_cli_arguments()


def _message_reader(s3: Any, bucket: str, prefix: str) -> PipesMessageReader:
    from dagster_aws.pipes import PipesS3MessageReader

    class PlacedMessageReader(PipesS3MessageReader):
        """Reads messages below a prefix of ours instead of somewhere in the bucket."""

        @contextmanager
        def get_params(self) -> Iterator[dict[str, Any]]:
            with super().get_params() as params:
                yield {**params, "key_prefix": prefix}

    return PlacedMessageReader(interval=SECONDS_BETWEEN_MESSAGES, bucket=bucket, client=s3)


def _delete_below(prefix: str, engine: AwsEngine, context: dg.AssetExecutionContext) -> None:
    try:
        engine.delete_artifacts(prefix)
    except PipelineError as error:
        # What was built is worth more than the tidying up, which a lifecycle rule does as well.
        context.log.warning(printable(f"the messages of the Glue run stay where they are: {error}"))
