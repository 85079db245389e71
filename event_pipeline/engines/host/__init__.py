"""What runs on this machine wherever the lake is: folders for scratch files and locks, the Silver pool, DuckDB.

Not here: a lake or a catalog. The local ones are in `local/`, those of an AWS account in `aws/`.
"""
