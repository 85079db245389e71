"""Dagster's assets: what is built for each landing hour, and what is checked about it."""
