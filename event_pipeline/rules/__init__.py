"""The meaning of the data. Standard library only (validation adds pyarrow); no engine, no Dagster.

Not here: where data is, how it is read and written, and any setting except the limits that determine verdicts.
"""
