"""The report: one HTML page with the five answers and the health of the pipeline, which needs no server.

`answers.py` and `health.py` read what the page shows, by the questions in `sql/`; `page.py` writes it from the markup,
style and script in `web/`.

Not here: what Dagster does with it (`automation/report_asset.py`), and text for terminals (`reporting/`).
"""
