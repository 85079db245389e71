"""Which builder makes Silver in a run: that of the settings, unless a tag of the run names another one."""

from __future__ import annotations

from collections.abc import Mapping

from event_pipeline.engines.base import Engine
from event_pipeline.errors import NotBuildableError
from event_pipeline.settings import SilverBuilderKind

BUILDER_TAG = "event_pipeline/builder"
"""Tag of a run or a backfill: `glue` or `pool`. A tag and not config of the run: Dagster copies it to each run of a
backfill and to each retry, whichever assets these are about, and the dialog of the UI takes it as well."""


def builder_of_tags(tags: Mapping[str, str]) -> SilverBuilderKind | None:
    """Return the builder that a run or a backfill with these tags asks for; None for that of the settings.

    Raises:
        NotBuildableError: the tag names no builder.
    """
    wanted = tags.get(BUILDER_TAG)
    if wanted is None:
        return None
    if wanted not in set(SilverBuilderKind):
        allowed = ", ".join(SilverBuilderKind)
        raise NotBuildableError(f"the tag {BUILDER_TAG} of this run is {wanted!r}: it may be one of {allowed}")
    return SilverBuilderKind(wanted)


def engine_of_run(engine: Engine, tags: Mapping[str, str]) -> Engine:
    """Return an engine with the builder that a run asks for.

    Raises:
        NotBuildableError: the tag names no builder, or the engine has only one.
    """
    builder = builder_of_tags(tags)
    return engine.with_builder(builder) if builder else engine
