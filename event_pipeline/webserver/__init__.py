"""Dagster's web server behind a guard that accepts its own pages and programs, but no page of another site.

`python -m event_pipeline.webserver` is `dagster-webserver` with the guard; `event_pipeline.webserver.dev` is `dagster
dev` with it. Only these two, which run as separate processes, import Dagster.
Not here: own pages; all pages are Dagster's.
"""
