"""Reading and writing data: one algorithm over ports, and one assembly of ports per place.

`base.py` is the protocol that the assets use, `engine.py` implements each of its calls once. The ports are `store.py`
(objects of the lake), `raw.py` (what producers write), `catalog.py` (what queries see), `builder.py` (Silver) and
`sql.py` (Gold); `local/` and `aws/` implement them, with the help of `host/`. Not here: the meaning of data (`rules/`),
and Dagster.
"""
