"""`event-pipeline dev`: the Dagster UI and daemon."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from event_pipeline import shipped
from event_pipeline.reporting.terminal import WARNING, messages
from event_pipeline.settings import load_settings
from event_pipeline.shipped import shipped_file

WORKSPACE = shipped_file(shipped.WORKSPACE_YAML)
"""The code location, the same however the UI is started."""


def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address that the Dagster UI listens at.")] = "127.0.0.1",
) -> None:
    """Start the Dagster UI and daemon over the same data; Ctrl-C ends both.

    Examples:
      event-pipeline dev

      event-pipeline dev --port 3001
    """
    from event_pipeline.dagster_instance.prepare import prepare_instance
    from event_pipeline.dagster_instance.storage import storage_faults
    from event_pipeline.engines.place import place_of
    from event_pipeline.webserver.guard import exposure_warning, is_loopback

    loaded = load_settings()
    with storage_faults(loaded.dagster_home):
        prepare_instance(loaded).dispose()
        # Export an absolute data folder: Dagster starts its own processes in other folders.
    environment = os.environ | {
        "DAGSTER_HOME": str(loaded.dagster_home),
        "EVENT_PIPELINE_ROOT": str(loaded.root.absolute()),
    }
    # Dagster would advertise the successor of its own command. -P, for its processes too: no module is imported from
    # the current folder.
    environment["PYTHONSAFEPATH"] = "1"
    if python_path := os.environ.get("PYTHONPATH"):
        # Dagster assumes that the first entry of sys.path is the script's folder and drops it while it imports the
        # code location. With -P that would be the first entry of PYTHONPATH, perhaps the project itself: an empty
        # folder goes first.
        environment["PYTHONPATH"] = os.pathsep.join([os.devnull, python_path])
    command = [sys.executable, "-P", "-W", "ignore:Function `dev_command`", "-m", "event_pipeline.webserver.dev"]
    command += ["-w", str(WORKSPACE), "-h", host, "-p", str(port)]
    console = messages()
    console.print(f"Dagster UI: http://{f'[{host}]' if ':' in host else host}:{port} over {place_of(loaded).stores}")
    if not is_loopback(host):
        console.print(exposure_warning(host), style=WARNING)
        # exec instead of a child process: signals reach Dagster itself, which stops its processes in order.
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is wanted
