"""Where data is read and written: one protocol that the assets speak, and one engine per place it runs.

`base.py` is the protocol, `builder.py` and `aws/sql.py` are the ports that can be mixed on AWS. Not here: what data
means (`rules/`), and Dagster.
"""
