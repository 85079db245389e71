"""Dagster's storage of a test need not survive a power cut."""

from event_pipeline_tests.instances import _no_waiting_for_the_disk

__all__ = ["_no_waiting_for_the_disk"]
