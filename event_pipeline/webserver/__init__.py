"""Dagster's web server behind a guard: it obeys its own pages and programs, and no page of another site.

`python -m event_pipeline.webserver` is `dagster-webserver` with the guard; `event_pipeline.webserver.dev` is
`dagster dev` with it. Dagster itself is imported by those two alone: they are processes of their own.
Not here: pages of our own; Dagster has them all.
"""
