"""What people start from the command line: builds in this process, backfills, replays of quarantine, housekeeping.

Not here: what starts by itself (`automation/`), and options and output of commands (`commands/`, `reporting/`).
"""
