"""What this machine does wherever the lake is: folders for scratch and locks, processes that build Silver, DuckDB.

Not here: a lake or a catalog. Those of one machine are in `local/`, those of an account in `aws/`.
"""
