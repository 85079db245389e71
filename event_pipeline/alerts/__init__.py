"""Alerts: facts of the engine and of Dagster's runs, pure conditions over them, what was raised before, the channels.

Not here: when to look (`automation/alert_sensor.py`), and tables of alerts (`reporting/`).
"""
