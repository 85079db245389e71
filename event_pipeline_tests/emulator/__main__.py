"""Emulated AWS to try by hand: the stack and sample objects in it, and a command that works in it, until Ctrl-C.

    python -m event_pipeline_tests.emulator -- event-pipeline dev

Nothing of it outlives the process, so Dagster's storage is made anew each time, in `data-aws-local/`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from event_pipeline.generator import GeneratorOptions, Shape
from event_pipeline.rules.hour import Hour
from event_pipeline_tests.emulator.deployed import deploy_template
from event_pipeline_tests.emulator.feed import feed_hours, feed_live
from event_pipeline_tests.emulator.server import EmulatedAws

ROOT = Path("data-aws-local")
ENVIRONMENT_FILE = ROOT / "environment"


def main() -> int:
    """Run until the command ends or Ctrl-C; return the command's exit code."""
    options = _options()
    # From here on AWS is what this process says it is, also for the command it starts.
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[variable]
    if ROOT.exists():
        if not ENVIRONMENT_FILE.exists():
            print(f"{ROOT.absolute()} was not made by this command: move it away", file=sys.stderr)
            return 1
        shutil.rmtree(ROOT)
    with EmulatedAws(port=options.port, job_start_seconds=2, query_queue_seconds=0.2) as aws:
        ROOT.mkdir()
        # Marks the folder as this command's, whatever happens next.
        ENVIRONMENT_FILE.touch()
        os.environ.update(aws.environment())
        print("Deploying infra/cloudformation/event_pipeline.yaml ...", flush=True)
        deployed = deploy_template(aws.region, ROOT / "wheels")
        options.start = options.start or Hour.containing(datetime.now(UTC)).plus(-max(options.hours, 1))
        environment = aws.environment() | deployed
        environment |= {
            "EVENT_PIPELINE_ROOT": str(ROOT.absolute()),
            # Else the UI shows a year of missing partitions before the sample hours.
            "EVENT_PIPELINE_FIRST_PARTITION": str(options.start),
        }
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        ENVIRONMENT_FILE.write_text(f"unset AWS_PROFILE\n{exports}", encoding="utf-8")
        _feed(aws, deployed["EVENT_PIPELINE_RAW_BUCKET"], options)
        print(f"\n{exports}\nIn another terminal, for any other command:  source {ENVIRONMENT_FILE}\n", flush=True)
        try:
            return _run(options.command, environment)
        except KeyboardInterrupt:
            return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m event_pipeline_tests.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=5566, help="port of the endpoint on 127.0.0.1 (5566)")
    parser.add_argument("--start", type=Hour.parse, help="first sample hour (the last one is then the last closed)")
    parser.add_argument("--hours", type=int, default=6, help="sample hours; 0 for none (6)")
    parser.add_argument("--events-per-file", type=int, default=5000, help="mean events of an object (5000)")
    parser.add_argument("--live", type=int, default=300, help="seconds between two new objects; 0 for none (300)")
    parser.add_argument("command", nargs="*", help="what to run in it, after `--`")
    return parser.parse_args()


def _feed(aws: EmulatedAws, bucket: str, options: argparse.Namespace) -> None:
    # The same kind as the Makefile's `run`.
    kind = GeneratorOptions(
        events_per_file=options.events_per_file,
        seed=7,
        shape=Shape.REALISTIC,
        bad_share=0.004,
        duplicate_share=0.003,
        late_share=0.01,
    )
    totals = feed_hours(aws.client("s3"), bucket, [options.start.plus(hour) for hour in range(options.hours)], kind)
    print(f"Emulated AWS at {aws.endpoint}, region {aws.region}: nothing in it outlives this process.")
    print(f"s3://{bucket}/events/ holds {totals.objects} objects with {totals.records:,} records.")
    if options.live:
        print(f"Every {options.live} s another object lands.")
        live = (aws.client("s3"), bucket, options.live, kind)
        threading.Thread(target=feed_live, args=live, name="feed", daemon=True).start()


def _run(command: list[str], environment: dict[str, str]) -> int:
    if not command:
        print("Ctrl-C ends it.", flush=True)
        signal.pause()
        return 0
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal sends Ctrl-C to the command as well: it ends by itself, in good order.
                continue


if __name__ == "__main__":
    sys.exit(main())
