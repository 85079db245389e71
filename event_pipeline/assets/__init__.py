"""Dagster's assets: what is built for each landing hour, and what is checked about it.

Not here: SQL, files and calls to AWS (an engine has them), and what starts runs (`automation/`, `operations/`).
"""
