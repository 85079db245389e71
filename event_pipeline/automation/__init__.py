"""What starts runs and for which hours: jobs, schedule, sensor, and runs inside the process of the command line.

Not here: what a run does (`assets/`), and whether an hour is due for its data (`engines/state.py`).
"""
