"""What a watched process becomes: `event-pipeline ARGUMENTS` or `dagster ARGUMENTS`, run by a fork of a warm process.

The only differences from the real program: the pauses between retries are short, and where a watcher has an address,
its system calls below the data folder ask there first (`calls.c`).
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys

from event_pipeline.assets import faults

SHORT_PAUSE_SECONDS = 0.05
WATCHER, WATCHED, LEFT_OUT, READS = "WATCHER", "WATCHED", "LEFT_OUT", "WATCHED_READS"
"""Environment variables: address of the watcher, folder that is watched, folder in it that is not, and whether files
opened to be read are watched too."""
PLANTED = "WATCHED_PLANTED"
"""Environment variable with Python statements to run first."""


def main() -> None:
    """Become the program that the first argument names."""
    program, *arguments = sys.argv[1:]
    # What the warm process has may be a file, in which a stream believes to have a position.
    sys.stdout, sys.stderr = (open(handle, "w", buffering=1, closefd=False) for handle in (1, 2))  # noqa: SIM115
    faults.BACKOFF = faults.BACKOFF._replace(delay=SHORT_PAUSE_SECONDS)
    exec(os.environ.pop(PLANTED, ""), {})  # noqa: S102 - a defect that a test plants, to see that it is found
    address = os.environ.pop(WATCHER, "")
    if address:
        watcher = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        watcher.connect(f"\0{address}")
        folder, left_out = (os.environ.pop(name).encode() for name in (WATCHED, LEFT_OUT))
        ctypes.CDLL(None).watch_calls(watcher.detach(), folder, left_out, int(os.environ.pop(READS)))
    if program == "dagster":
        from dagster._cli import main as dagster

        sys.argv = ["dagster", *arguments]
        dagster()  # type: ignore[no-untyped-call]
    else:
        from event_pipeline.cli import main as event_pipeline

        event_pipeline(arguments)


if __name__ == "__main__":
    main()
