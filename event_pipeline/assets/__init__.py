"""Dagster's assets: what is built for each landing hour, and how it is checked.

Not here: SQL, files and AWS calls (`engines/`), and what starts runs (`automation/`, `operations/`).
"""
