"""The ground: what the data means. Standard library only (the judge adds pyarrow); no engine, no Dagster."""
