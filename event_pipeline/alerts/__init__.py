"""Alerts: pure conditions over facts, what was raised before, and the channels that carry messages to people.

Not here: how the facts are gathered from Dagster (`automation/alerting.py`), and tables of alerts (`reporting/`).
"""
