"""An emulated AWS account for every test, and the engine over it; the Glue job runs without Spark where it may."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.query import GOLD_FOLDER, load_gold_tables
from event_pipeline.settings import Settings, SilverBuilderKind, SqlKind, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.warm_python import WarmPython
from event_pipeline_tests.engines.aws import plain_job
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.engines.memory_engine import MemoryEngine

AWS = "aws"
AWS_WITH_TWO_TABLES = "aws with two tables"
"""For tests to which the other three Gold tables add nothing: a table costs four emulated queries an hour."""
MEMORY = "in memory"
AWS_BY_HOST = "aws by its host"
AWS_BY_HOST_WITH_TWO_TABLES = "aws by its host with two tables"
BY_HOST = {"builder": SilverBuilderKind.POOL, "sql": SqlKind.DUCKDB, "workers": 1}
"""Settings with which the host of Dagster builds Silver and Gold; S3 and the Glue catalog stay what they are."""
AWS_WITH_SPARK = pytest.param("aws with spark", marks=pytest.mark.spark)

everywhere = pytest.mark.parametrize(
    "world", ["local", MEMORY, AWS_WITH_TWO_TABLES, AWS_BY_HOST_WITH_TWO_TABLES], indirect=True
)
every_lake = pytest.mark.parametrize("world", ["local", MEMORY, AWS_BY_HOST_WITH_TWO_TABLES], indirect=True)
"""For tests of what only stores and catalogs can make different: who builds Silver and Gold does not matter."""
without_locks = pytest.mark.parametrize("world", [MEMORY, AWS_BY_HOST_WITH_TWO_TABLES], indirect=True)
"""For tests in which another process does in the middle of a step what locks would make it wait for."""


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    """What jobs without Spark are forked from."""
    warm = WarmPython([plain_job.__name__])
    yield warm
    warm.close()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[EmulatedAws]:
    """An account with all resources, whose job is the real script only for tests marked `spark`."""
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    plain = request.node.get_closest_marker("spark") is None
    with EmulatedAws(warm_python=request.getfixturevalue("warm_python") if plain else None) as account:
        for name, value in account.environment().items():
            monkeypatch.setenv(name, value)
        account.create_resources()
        if plain:
            run_plain_job(account, account.settings())
        yield account


def run_plain_job(account: EmulatedAws, settings: Settings) -> None:
    """Put the job without Spark in place of the deployed script."""
    location = account.client("glue").get_job(JobName=settings.glue_job)["Job"]["Command"]["ScriptLocation"]
    bucket, _, key = location.removeprefix("s3://").partition("/")
    account.client("s3").put_object(Bucket=bucket, Key=key, Body=Path(plain_job.__file__).read_bytes())


@pytest.fixture
def settings(aws: EmulatedAws, root: Path) -> Settings:
    """Settings for that account."""
    return aws.settings(root=root, glue_wait_minutes=1, glue_timeout_minutes=5)


@pytest.fixture
def engine(settings: Settings) -> AwsEngine:
    """The AWS engine over that account."""
    return AwsEngine(settings)


@pytest.fixture(params=["local", MEMORY, AWS_WITH_TWO_TABLES, AWS_BY_HOST])
def world(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """One engine with its raw objects, so that one test body runs over all of them."""
    if request.param == "local":
        return World(LocalEngine(load_settings(root=root, workers=1)), root, None)
    if request.param == MEMORY:
        return World(MemoryEngine(load_settings(root=root, workers=1)), root, None)
    settings: Settings = request.getfixturevalue("settings")
    if request.param in (AWS_BY_HOST, AWS_BY_HOST_WITH_TWO_TABLES):
        settings = settings.model_copy(update=BY_HOST)
    bucket = (request.getfixturevalue("aws"), settings.raw_bucket)
    if request.param not in (AWS_WITH_TWO_TABLES, AWS_BY_HOST_WITH_TWO_TABLES):
        return World(AwsEngine(settings), root, bucket)
    folder = tmp_path_factory.mktemp("gold")
    for name in ("hourly_revenue", "user_activity"):
        shutil.copy(GOLD_FOLDER / f"{name}.sql", folder)
    return World(AwsEngine(settings, folder), root, bucket, load_gold_tables(folder))
