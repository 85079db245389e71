"""Alerts: facts from the engine and Dagster's runs, pure conditions over them, the state of alerts, the channels.

Not here: when to evaluate (`automation/alert_sensor.py`), and tables of alerts (`reporting/`).
"""
