"""No page of another site commands the Dagster UI, and its own pages do: a real server, asked over real connections."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import event_pipeline
from event_pipeline.webserver.dev import guarded
from event_pipeline.webserver.guard import is_loopback
from event_pipeline_tests.dev_process import dev_running, free_port

MUTATION = "mutation($key: String!) { setConcurrencyLimit(concurrencyKey: $key, limit: 1) }"
LIMITS = "{ instance { concurrencyLimits { concurrencyKey } } }"
JSON = {"Content-Type": "application/json"}


class Server:
    """The guarded web server as a process."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.port = free_port()
        home.mkdir()
        self.log = home / "log"
        outside = {name: value for name, value in os.environ.items() if not name.startswith("EVENT_PIPELINE_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "event_pipeline.webserver", "--empty-workspace", "--port", str(self.port)]
                + list(arguments),
                env=outside | {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1"} | environment,
                cwd=home,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def ask(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, str]:
        """Send one request; a header `Host` replaces the client's own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Host": f"127.0.0.1:{self.port}"} | headers
            connection.request(
                method, path, body, {name: each.format(port=self.port) for name, each in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def command(self, key: str, **headers: str) -> int:
        """Send a mutation as the UI does, and return the status."""
        body = json.dumps({"query": MUTATION, "variables": {"key": key}})
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", "/graphql", JSON | named, body)[0]

    def limits(self) -> set[str]:
        """Return what the mutations have really set."""
        status, answer = self.ask("POST", "/graphql", JSON, json.dumps({"query": LIMITS}))
        assert status == 200, answer
        return {each["concurrencyKey"] for each in json.loads(answer)["data"]["instance"]["concurrencyLimits"]}

    def shake_hands(self, **headers: str) -> str:
        """Ask for a web socket and return the status line."""
        named = {"Host": f"127.0.0.1:{self.port}"} | {name.replace("_", "-"): each for name, each in headers.items()}
        lines = [f"{name}: {each.format(port=self.port)}" for name, each in named.items()]
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: graphql-ws"]
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall("\r\n".join(["GET /graphql HTTP/1.1", *lines, "", ""]).encode())
            return connection.recv(4096).decode().split("\r\n")[0]

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One guarded server for the tests of this module."""
    made = Server(tmp_path_factory.mktemp("ui") / "home", EVENT_PIPELINE_UI_HOSTS="dagster.example, proxy.example:8443")
    yield made
    made.stop()


def test_the_page_and_its_commands_work(server: Server) -> None:
    status, page = server.ask("GET", "/", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"})
    assert (status, "<html" in page.lower()) == (200, True)
    assert server.ask("GET", "/server_info", {})[0] == 200
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec_Fetch_Site": "same-origin"}
    assert server.command("by its own page", **own) == 200
    assert server.command("by a program") == 200
    assert {"by its own page", "by a program"} <= server.limits()
    assert server.shake_hands(Origin="http://localhost:{port}", Sec_Fetch_Site="same-origin").split()[1] == "101"
    assert server.shake_hands().split()[1] == "101"


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}", "dagster.example", "proxy.example:8443"]
)
def test_names_of_the_server_are_taken(server: Server, host: str) -> None:
    scheme = "https" if "example" in host else "http"
    assert server.command(f"at {host}", Host=host, Origin=f"{scheme}://{host}") == 200
    assert f"at {host}" in server.limits()


def test_a_link_to_a_page_may_be_on_another_site(server: Server) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert server.ask("GET", "/runs", link)[0] == 200
    for changed in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors"}):
        assert server.ask("GET", "/runs", link | changed)[0] == 403
    assert server.ask("GET", "/graphql", link)[0] == 403
    assert server.ask("POST", "/graphql", link | JSON, "{}")[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Origin": "http://127.0.0.1.evil.example:{port}"},
        {"Origin": "http://localhost:{port}@evil.example"},
        {"Origin": "file://localhost:{port}"},
        {"Host": "evil.example:{port}"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.nip.io:{port}"},
        {"Host": "localhost:{port}.evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Host": "sub.dagster.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
    ],
    ids=str,
)
def test_strangers_neither_command_nor_ask(server: Server, headers: dict[str, str]) -> None:
    assert server.command("by a stranger", **headers) in (403, 421)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    assert server.ask("GET", f"/graphql?query={quote(LIMITS)}", named)[0] in (403, 421)
    assert server.ask("POST", "/report_asset_materialization/a?data_version=1", named)[0] in (403, 421)
    assert server.shake_hands(**headers).split()[1] in ("403", "421")
    assert "by a stranger" not in server.limits()


@pytest.mark.parametrize(
    "query",
    [
        'mutation { setConcurrencyLimit(concurrencyKey: "by GET", limit: 1) }',
        'query A { version } mutation B { setConcurrencyLimit(concurrencyKey: "by GET", limit: 1) }',
        '# query\nmutation { setConcurrencyLimit(concurrencyKey: "by GET", limit: 1) }',
        '\ufeff,mutation{setConcurrencyLimit(concurrencyKey:"by GET",limit:1)}',
        "subscription { pipelineRunLogs(runId: 1) { __typename } }",
        "{" * 30_000,
    ],
)
def test_get_reads_and_never_commands(server: Server, query: str) -> None:
    for path in ("/graphql", "/graphql/"):
        for asked in (f"query={quote(query)}", f"query=%7Bversion%7D&query={quote(query)}&operationName=B"):
            for method in ("GET", "HEAD"):
                status, _ = server.ask(method, f"{path}?{asked}", {})
                assert status in (400, 405), (status, asked[:80])
    assert "by GET" not in server.limits()
    assert server.ask("GET", f"/graphql?query={quote('{ version }')}", {})[0] == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain; application/json",
        "text/plain;charset=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        None,
    ],
)
def test_what_a_form_can_send_is_no_command(server: Server, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    body = json.dumps({"query": MUTATION, "variables": {"key": "by a form"}})
    asked = f"query={quote(MUTATION)}&variables={quote(json.dumps({'key': 'by a form'}))}"
    for path in ("/graphql", f"/graphql?{asked}"):
        assert server.ask("POST", path, headers, body)[0] == 415
        assert server.ask("POST", path, headers)[0] == 415
    assert "by a form" not in server.limits()
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert server.ask(method, f"/graphql?{asked}", JSON, body)[0] == 405


def test_no_frame_of_another_site_shows_the_page(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/")
    assert connection.getresponse().getheader("X-Frame-Options") == "SAMEORIGIN"
    connection.close()


@pytest.mark.long
def test_it_says_when_it_listens_beyond_this_machine(tmp_path: Path) -> None:
    made = Server(tmp_path / "home", "--host", "0.0.0.0")  # noqa: S104 - what it says then is the test
    try:
        assert "listens at 0.0.0.0, reachable from other machines" in made.log.read_text()
        assert made.command("rebound", Host="evil.example") == 421
        assert made.command("here", Host="127.0.0.1:{port}") == 200
    finally:
        made.stop()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True)]
    + [("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("dagster.example", False), ("", False)],  # noqa: S104 - judged only
)
def test_what_is_reached_from_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_process_of_dagster_that_is_not_known_is_not_started() -> None:
    assert guarded(["python", "-m", "dagster_webserver", "--port", "1"]) == [
        "python", "-m", "event_pipeline.webserver", "--port", "1",
    ]  # fmt: skip
    assert guarded(["python", "-m", "dagster._daemon", "run"]) == ["python", "-m", "dagster._daemon", "run"]
    with pytest.raises(RuntimeError, match="refusing to start a web server without the guard"):
        guarded(["python", "-m", "dagster_ui"])


@pytest.mark.long
def test_dev_is_guarded_and_runs_nothing_that_lies_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, ran = tmp_path / "data", tmp_path / "ran"
    for folder in (root, root / "dagster"):
        folder.mkdir()
        # Modules that Dagster imports by these names, and settings that it reads from where it starts.
        for module in ("dagster", "event_pipeline", "yaml", "grpc", "sitecustomize", "statistics"):
            (folder / f"{module}.py").write_text(
                f"open({str(ran)!r}, 'a').write(__file__ + '\\n')\nraise SystemExit(9)\n"
            )
        (folder / ".env").write_text("EVENT_PIPELINE_WORKERS=not a number\nEVENT_PIPELINE_NO_SUCH=1\n")
        (folder / "dagster.toml").write_text("no toml")
    (tmp_path / ".env").write_text("EVENT_PIPELINE_NO_SUCH=1")
    monkeypatch.chdir(tmp_path)
    # From a checkout that is not installed, the pipeline itself comes from there.
    monkeypatch.setenv("PYTHONPATH", str(Path(event_pipeline.__file__).parents[1]))
    with dev_running(root, {"EVENT_PIPELINE_WORKERS": "1"}, tmp_path / "log") as dev:
        for headers, status in (({"Origin": "https://evil.example"}, 403), ({"Host": "evil.example"}, 421)):
            connection = http.client.HTTPConnection("127.0.0.1", dev.port, timeout=30)
            connection.request("GET", "/server_info", headers=headers)
            assert connection.getresponse().status == status
            connection.close()
        assert sorted(set(dev.processes().values())) == ["code server", "daemon", "webserver"]
        # Also where a script started it in the background, as it was here: such programs ignore SIGINT.
        dev.end(signal.SIGTERM)
    assert not ran.exists(), ran.read_text()
