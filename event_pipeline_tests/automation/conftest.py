"""A Dagster instance in memory for every test of automation, and quick ones on disk."""

from event_pipeline_tests.instances import _no_waiting_for_the_disk, instance

__all__ = ["_no_waiting_for_the_disk", "instance"]
