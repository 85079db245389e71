"""The ground: what the data means. Standard library only (the judge adds pyarrow); no engine, no Dagster.

Not here: where data lies, how it is read and written, and any setting but the limits that verdicts follow from.
"""
