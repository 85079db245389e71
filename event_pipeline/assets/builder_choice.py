"""Chooses the builder of Silver for a run: the one in the settings, unless a tag of the run names another."""

from __future__ import annotations

from collections.abc import Mapping

from event_pipeline.engines.base import Engine
from event_pipeline.errors import NotBuildableError
from event_pipeline.settings import SilverBuilderKind

BUILDER_TAG = "event_pipeline/builder"
"""Tag of a run or a backfill: `glue` or `pool`. A tag and not run config, because Dagster copies it to each run of a
backfill and to each retry, whichever assets they materialize, and the UI's dialog accepts it as well."""


def builder_of_tags(tags: Mapping[str, str]) -> SilverBuilderKind | None:
    """Return the builder requested by the tags of a run or a backfill; None for the one in the settings.

    Raises:
        NotBuildableError: the tag does not name a builder.
    """
    wanted = tags.get(BUILDER_TAG)
    if wanted is None:
        return None
    if wanted not in set(SilverBuilderKind):
        allowed = ", ".join(SilverBuilderKind)
        raise NotBuildableError(f"the tag {BUILDER_TAG} of this run is {wanted!r}: it must be one of {allowed}")
    return SilverBuilderKind(wanted)


def engine_of_run(engine: Engine, tags: Mapping[str, str]) -> Engine:
    """Return the engine with the builder that a run requests.

    Raises:
        NotBuildableError: the tag does not name a builder, or the engine has only one.
    """
    builder = builder_of_tags(tags)
    return engine.with_builder(builder) if builder else engine
