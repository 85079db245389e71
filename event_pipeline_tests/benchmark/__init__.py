"""Measures the pipeline beside rulers, and writes the performance pages: `make bench`, `make bench-quick`.

`measurements.py` is the table of what is measured, and of the goals. Each measurement runs in processes of its own, in
rounds that alternate, because seconds depend on the machine and on what else it does: what counts are ratios within a
round. `pages.py` renders the pages from `docs/performance.json`, where the measured values are kept.
Not here: tests of behaviour, which are beside what they test.
"""
