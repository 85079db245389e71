"""What starts runs by itself: sensors, schedules, and the jobs besides the hourly one.

Not here: what a run does (`assets/`), whether an hour is due for its data (`engines/state.py`), and what people start
(`operations/`).
"""
