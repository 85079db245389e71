"""Operations that users start from the command line: builds in this process, backfills, replays, housekeeping.

Not here: automatic runs (`automation/`), and options and output of commands (`commands/`, `reporting/`).
"""
