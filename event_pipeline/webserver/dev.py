"""`dagster dev` with a guarded web server, in its own folder.

Dagster imports modules from its working directory and reads its `.env`. So that is an empty folder that only this user
can write, and never the data folder, which others fill.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import dagster._cli.dev as dagster_dev

WEBSERVER = "dagster_webserver"
GUARDED_WEBSERVER = "event_pipeline.webserver"
DAEMON = "dagster._daemon"


def main(arguments: Sequence[str]) -> None:
    """Run web server and daemon until a signal ends them."""
    # Dagster ends its processes by SIGINT, which whatever a script starts in the background ignores, and they as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # If a later Dagster lacks the name, this fails with a KeyError instead of serving without the guard.
    names_in_dagster = vars(dagster_dev)
    start = names_in_dagster["open_ipc_subprocess"]

    def start_guarded(command: list[str], **options: Any) -> Any:
        return start(guarded(command), **options)

    names_in_dagster["open_ipc_subprocess"] = start_guarded
    with TemporaryDirectory(prefix="event-pipeline-dev-") as folder:
        os.chdir(folder)
        dagster_dev.dev_command(list(arguments), prog_name="dagster dev")


def guarded(command: list[str]) -> list[str]:
    """Return the command of one of Dagster's processes, with its web server replaced by the guarded one.

    Raises:
        RuntimeError: it is neither web server nor daemon, so this Dagster starts its web server in another way.
    """
    if command[1:3] == ["-m", WEBSERVER]:
        return [command[0], "-m", GUARDED_WEBSERVER, *command[3:]]
    if command[1:3] == ["-m", DAEMON]:
        return command
    raise RuntimeError(
        f"this Dagster starts {command[1:3]}, which is unknown: refusing to start a web server without the guard"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
