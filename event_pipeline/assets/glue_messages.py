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

from event_pipeline.engines.base import Engine, JobFollower, MessageFolder
from event_pipeline.errors import PipelineError
from event_pipeline.rules.printable import printable

if TYPE_CHECKING:
    from dagster import PipesMessageReader

SECONDS_BETWEEN_MESSAGES = 3


@contextmanager
def glue_runs_followed(context: dg.AssetExecutionContext, engine: Engine) -> Iterator[Engine]:
    """Give an engine whose Glue runs report to this step."""
    with ExitStack() as sessions:

        def arguments(folder: MessageFolder) -> Mapping[str, str]:
            return sessions.enter_context(_pipes_arguments(context, folder))

        def started(run_id: str, logs: str) -> None:
            context.log.info(f"Glue run {run_id}, logs: {logs}")

        yield engine.followed_by(JobFollower(arguments, started))


@contextmanager
def _pipes_arguments(context: dg.AssetExecutionContext, folder: MessageFolder) -> Iterator[Mapping[str, str]]:
    """Open a Pipes session and give the arguments by which a job joins it; its objects are deleted at the end."""
    # Imported in the run: dagster-aws would double the time the code location takes to load.
    from dagster_aws.pipes import PipesS3ContextInjector

    injector = PipesS3ContextInjector(bucket=folder.bucket, client=folder.s3_client, key_prefix=folder.prefix)
    reader = _message_reader(folder.s3_client, folder.bucket, f"{folder.prefix}messages")
    with ExitStack() as opened:
        opened.callback(_delete, folder, context)
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


def _delete(folder: MessageFolder, context: dg.AssetExecutionContext) -> None:
    try:
        folder.delete()
    except PipelineError as error:
        # What was built is worth more than the tidying up, which a lifecycle rule does as well.
        context.log.warning(printable(f"the messages of the Glue run stay where they are: {error}"))
