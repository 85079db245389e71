"""The Dagster instance: its storage in the data folder, pools, run history, run processes, and resources of runs.

Not here: assets and checks (`assets/`), and what starts runs (`automation/`, `operations/`).
"""
