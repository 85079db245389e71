"""Names and data locations of the places to run, derived from the settings alone.

Not here: anything that opens an engine. Dagster's code location loads this module and must not import its libraries.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from event_pipeline.rules.hour import RAW_ROOT
from event_pipeline.settings import Environment, Settings, SilverBuilderKind, SqlKind

DATABASES = ("bronze", "silver", "gold", "ops")
"""Databases that a user's query may read."""


@dataclass(frozen=True, slots=True)
class AssetKinds:
    """Tags that Dagster shows on the assets, by what builds them."""

    raw: frozenset[str]
    silver: frozenset[str]
    partitions: frozenset[str]
    gold: frozenset[str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine keeps its data and what it runs on."""

    name: str
    """Short name."""
    stores: str
    """Where the lake is, as the object of a sentence: `Reads and writes ...`."""
    raw: str
    """Folder or address that contains `events/` with the raw objects."""
    parts: tuple[tuple[str, str], ...]
    """Each part of the data, with what it holds."""
    folder: Path
    """The local data folder."""
    folder_name: str
    upload: str
    """Command that uploads the local raw folder to where raw objects are read; empty if it is read directly."""
    deployed: bool
    """Whether a CloudFormation stack creates its parts, so that they can differ from what this checkout expects."""
    kinds: AssetKinds


def place_of(settings: Settings) -> Place:
    """Return the place of EVENT_PIPELINE_ENV."""
    match settings.env:
        case Environment.LOCAL:
            return local_place(settings)
        case Environment.AWS:
            return aws_place(settings)


def local_place(settings: Settings) -> Place:
    """Return this machine's data folder as a place."""
    root = settings.root.absolute()
    return Place(
        name=str(root),
        stores=f"the data folder {root}",
        raw=str(settings.raw_folder),
        parts=(
            (str(root / "raw"), "what landed, never changed"),
            (str(root / "lake"), "Parquet files and commit records"),
            (str(root / "dagster"), "runs"),
        ),
        folder=settings.root,
        folder_name="data folder",
        upload="",
        deployed=False,
        kinds=AssetKinds(
            raw=frozenset({"json"}),
            silver=frozenset({"python", "parquet"}),
            partitions=frozenset({"table"}),
            gold=frozenset({"duckdb", "parquet"}),
        ),
    )


def aws_place(settings: Settings) -> Place:
    """Return the buckets, catalog and workgroup of the settings as a place."""
    raw = f"s3://{settings.raw_bucket}/{settings.raw_prefix}"
    databases = ", ".join(f"{settings.database_prefix}{name}" for name in DATABASES)
    silver = "glue" if settings.builder is SilverBuilderKind.GLUE else "python"
    gold = "athena" if settings.sql is SqlKind.ATHENA else "duckdb"
    return Place(
        name=f"S3 and Glue, region {settings.aws_region}",
        stores=f"s3://{settings.lake_bucket}, in region {settings.aws_region}",
        raw=raw,
        parts=(
            (f"{raw}{RAW_ROOT}", "what landed, never changed"),
            (f"s3://{settings.lake_bucket}/", "Parquet files and commit records"),
            (f"s3://{settings.artifacts_bucket}/", "the Glue job's code and plans, results of queries"),
            (f"Athena workgroup {settings.athena_workgroup}", f"queries the databases {databases}"),
            (str(settings.dagster_home), "runs of Dagster, on this machine"),
        ),
        # Raw objects, lake and catalog are elsewhere.
        folder=settings.dagster_home,
        folder_name="folder of Dagster's runs",
        upload=f"aws s3 sync {shlex.quote(str(settings.raw_folder))} {raw}",
        deployed=True,
        kinds=AssetKinds(
            raw=frozenset({"json", "s3"}),
            silver=frozenset({silver, "parquet"}),
            partitions=frozenset({"table", "glue"}),
            gold=frozenset({gold, "parquet"}),
        ),
    )
