"""The executor of all jobs."""

import dagster as dg


@dg.executor(name="in_process", config_schema=dg.in_process_executor.config_schema.as_field())
def in_process_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Execute a run as Dagster's executor of this name does, with kept connections to the event log."""
    # The storage's libraries take a while to load, and a code location is loaded without running anything.
    from event_pipeline.dagster_instance.sqlite_storage import keep_connections

    keep_connections(context.instance)
    create = dg.in_process_executor.executor_creation_fn
    assert create
    return create(context)
