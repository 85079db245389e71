"""A Dagster instance in memory for every test of assets."""

from event_pipeline_tests.instances import instance

__all__ = ["instance"]
