"""Where data is read and written: one algorithm over ports, and one assembly of ports per place it runs.

`base.py` is the protocol that the assets speak, `engine.py` has each of its calls once. The ports are `store.py`
(objects of the lake), `raw.py` (what producers write), `catalog.py` (what queries see), `builder.py` (Silver) and
`sql.py` (Gold); `local/` and `aws/` speak them, with what `host/` has. Not here: what data means (`rules/`), and
Dagster.
"""
