"""Opens Dagster's storage in the data folder, creating and configuring it for this version."""

from __future__ import annotations

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from event_pipeline import shipped
from event_pipeline.dagster_instance import sqlite_storage
from event_pipeline.dagster_instance.concurrency import set_pool_limits
from event_pipeline.dagster_instance.run_hours import close_abandoned_runs
from event_pipeline.engines.open import remember_first_partition
from event_pipeline.errors import StorageError
from event_pipeline.settings import Settings
from event_pipeline.shipped import shipped_file

DAGSTER_YAML = shipped_file(shipped.DAGSTER_YAML)
"""Dagster's configuration; every data folder gets a copy."""

_NO_COMPUTE_LOGS = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
        "config": {},
    }
}
"""Steps in the command line's process write directly to its terminal. Dagster would redirect stdout and stderr to
files and start four processes per step to copy them back: no progress bar, and a traceback from each at Ctrl-C."""


def prepare_instance(settings: Settings) -> dg.DagsterInstance:
    """Open Dagster's storage in the data folder, creating and configuring it if needed; close it after use.

    Copies the shipped dagster.yaml there if it differs, sets the pool limits, and closes the runs of killed commands.
    Everything that uses Dagster comes through here, so the first partition is kept here too.

    Raises:
        StorageError: the folder or the configuration cannot be read or written.
    """
    home = settings.dagster_home
    remember_first_partition(settings)
    try:
        wanted = DAGSTER_YAML.read_text(encoding="utf-8")
        home.mkdir(parents=True, exist_ok=True)
        present = home / DAGSTER_YAML.name
        if not present.is_file() or present.read_text(encoding="utf-8") != wanted:
            present.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"Dagster's folder {home} cannot be prepared: {error}") from error
    kept = {"module": sqlite_storage.__name__, "class": "KeptSqliteStorage", "config": {"base_dir": str(home)}}
    overrides = {**_NO_COMPUTE_LOGS, "storage": {"custom": kept}}
    instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides))
    set_pool_limits(instance, settings)
    close_abandoned_runs(instance)
    return instance
