"""Dagster's own side: its storage in the data folder, its pools, history and processes of runs, what a run is handed.

Not here: assets and checks (`assets/`), and what starts runs (`automation/`, `operations/`).
"""
