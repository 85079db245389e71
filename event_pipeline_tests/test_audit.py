"""The audit says what is known, and never that nothing is wrong when nobody was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from event_pipeline_tests.audit import CLEAN, CONSTRAINTS, FOUND, NOT_ASKED, main, pins
from event_pipeline_tests.dev_process import free_port

KNOWN = {("setuptools", "65.5.0"): ["PYSEC-2022-43012"], ("jinja2", "3.1.0"): ["GHSA-2", "GHSA-1"]}


@contextmanager
def source(short: int = 0, body: bytes | None = None) -> Iterator[str]:
    """A source on loopback that speaks OSV's protocol; `short` leaves out so many answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            assert {each["package"]["ecosystem"] for each in asked} == {"PyPI"}
            results: list[dict[str, Any]] = []
            for each in asked[short:]:
                ids = KNOWN.get((each["package"]["name"], each["version"]), [])
                results.append({"vulns": [{"id": known} for known in ids]} if ids else {})
            answer = body if body is not None else json.dumps({"results": results}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    """Two pins, one with advisories; pip and setuptools pinned, so that those of this machine are not asked about."""
    path = tmp_path / "constraints.txt"
    path.write_text("# a comment\njinja2==3.1.0\npip==26.3  # why\n\nsetuptools==99.0 ; python_version > '3'\n")
    return path


def test_known_advisories_are_named(pinned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with source() as address:
        assert main(["--source", address, "--constraints", str(pinned)]) == FOUND
    said = capsys.readouterr().out
    assert "jinja2 3.1.0: https://osv.dev/vulnerability/GHSA-1, https://osv.dev/vulnerability/GHSA-2" in said
    assert "3 packages asked about" in said
    pinned.write_text("pip==26.3\nsetuptools==99.0\n")
    with source() as address:
        assert main(["--source", address, "--constraints", str(pinned)]) == CLEAN


@pytest.mark.parametrize("answer", [{"short": 1}, {"body": b"<html>"}, {"body": b"{}"}, {"body": b"[]"}])
def test_half_an_answer_is_none(pinned: Path, capsys: pytest.CaptureFixture[str], answer: dict[str, Any]) -> None:
    with source(**answer) as address:
        assert main(["--source", address, "--constraints", str(pinned)]) == NOT_ASKED
    assert capsys.readouterr().err.startswith("NOT AUDITED: ")


def test_without_a_source_nothing_is_known(pinned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--source", f"http://127.0.0.1:{free_port()}", "--constraints", str(pinned)]) == NOT_ASKED
    said = capsys.readouterr()
    assert "NOT AUDITED" in said.err
    assert said.out == ""


def test_every_line_of_the_constraints_is_a_pin() -> None:
    found = pins(CONSTRAINTS.read_text(encoding="utf-8"))
    assert {"dagster", "duckdb", "pyarrow"} <= found.keys()
    with pytest.raises(ValueError, match="is no pin"):
        pins("dagster>=1\n")
