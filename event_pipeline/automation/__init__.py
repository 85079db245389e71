"""Automation: sensors, schedules, and all jobs but the hourly one.

Not here: what a run does (`assets/`), whether an hour's data makes it due (`engines/state.py`), and operations started
by users (`operations/`).
"""
