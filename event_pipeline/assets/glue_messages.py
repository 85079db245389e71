"""Glue runs that report to the Dagster run that started them, by the Dagster Pipes protocol over S3.

The engine starts, finds and stops the runs itself; this module only passes the context to a run and its log lines back
while it works. Both are deleted when the step ends. A run that another process started reports to that process; its
results count just the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from event_pipeline.engines.base import Engine, JobFollower, MessageFolder
from event_pipeline.errors import PipelineError
from event_pipeline.rules.printable import printable

if TYPE_CHECKING:
    from dagster import PipesMessageReader

SECONDS_BETWEEN_MESSAGES = 3


@contextmanager
def glue_runs_followed(context: dg.AssetExecutionContext, engine: Engine) -> Iterator[Engine]:
    """Yield an engine whose Glue runs report to this step."""
    with ExitStack() as sessions:

        def arguments(folder: MessageFolder) -> Mapping[str, str]:
            return sessions.enter_context(_pipes_arguments(context, folder))

        def started(run_id: str, logs: str) -> None:
            context.log.info(f"Glue run {run_id}, logs: {logs}")

        yield engine.followed_by(JobFollower(arguments, started))


@contextmanager
def _pipes_arguments(context: dg.AssetExecutionContext, folder: MessageFolder) -> Iterator[Mapping[str, str]]:
    """Open a Pipes session and yield the arguments with which a job joins it; its objects are deleted at the end."""
    # Imported here: dagster-aws would double the load time of the code location.
    from dagster_aws.pipes import PipesS3ContextInjector

    injector = PipesS3ContextInjector(bucket=folder.bucket, client=folder.s3_client, key_prefix=folder.prefix)
    reader = _message_reader(folder.s3_client, folder.bucket, f"{folder.prefix}messages")
    with ExitStack() as opened:
        opened.callback(_delete, folder, context)
        with warnings.catch_warnings():
            # Dagster reads a property of its own reader that it marks as preview.
            warnings.simplefilter("ignore", dg.PreviewWarning)
            # The op's context: Pipes reads attributes for which the asset's context issues deprecation warnings.
            session = opened.enter_context(dg.open_pipes_session(context.op_execution_context, injector, reader))
        yield session.get_bootstrap_cli_arguments()


def _message_reader(s3: Any, bucket: str, prefix: str) -> PipesMessageReader:
    from dagster_aws.pipes import PipesS3MessageReader

    class PlacedMessageReader(PipesS3MessageReader):
        """Reads messages under the given prefix instead of a random one."""

        @contextmanager
        def get_params(self) -> Iterator[dict[str, Any]]:
            with super().get_params() as params:
                yield {**params, "key_prefix": prefix}

    return PlacedMessageReader(interval=SECONDS_BETWEEN_MESSAGES, bucket=bucket, client=s3)


def _delete(folder: MessageFolder, context: dg.AssetExecutionContext) -> None:
    try:
        folder.delete()
    except PipelineError as error:
        # A failed cleanup must not fail the build; a lifecycle rule removes the messages as well.
        context.log.warning(printable(f"the messages of the Glue run were not deleted: {error}"))
