"""One Trino for all tests, and for every test an emulated account whose Athena runs on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.conftest import AWS, AWS_BY_HOST, BY_HOST, run_plain_job
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.trino.server import TrinoServer
from event_pipeline_tests.trino.statements import TrinoStatements


@pytest.fixture(scope="session")
def trino(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrinoServer]:
    """The server."""
    with TrinoServer(tmp_path_factory.mktemp("trino")) as server:
        yield server


@pytest.fixture
def aws(trino: TrinoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedAws]:
    """An account with all resources, whose queries Trino runs."""
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    with EmulatedAws(port=trino.aws_port, statements=partial(TrinoStatements, server=trino)) as account:
        for name, value in account.environment().items():
            monkeypatch.setenv(name, value)
        account.create_resources()
        run_plain_job(account, account.settings())
        yield account


@pytest.fixture
def settings(aws: EmulatedAws, root: Path) -> Settings:
    """Settings for that account."""
    return aws.settings(root=root, glue_wait_minutes=1, glue_timeout_minutes=5)


@pytest.fixture
def engine(settings: Settings) -> AwsEngine:
    """The AWS engine over that account."""
    return AwsEngine(settings)


@pytest.fixture(params=[AWS])
def world(request: pytest.FixtureRequest, root: Path, aws: EmulatedAws, settings: Settings) -> World:
    """The engine with its raw objects; Trino answers its queries, whoever wrote the files."""
    if request.param == AWS_BY_HOST:
        settings = settings.model_copy(update=BY_HOST)
    return World(AwsEngine(settings), root, (aws, settings.raw_bucket))
