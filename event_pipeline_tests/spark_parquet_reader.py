"""Reads Parquet files with Spark's own reader, in one session: a process told by JSON, which answers by pickle.

    python spark_parquet_reader.py answer.pickle < wanted.json

Wanted are sets of files: name -> files, the schema of the catalog, and predicates to count rows by. Each is read by the
vectorised reader and by the row reader, with the types of the files and with those of the catalog; rows are counted by
the types of the files.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession


def main() -> None:
    """Read everything."""
    wanted = json.load(sys.stdin)
    spark = (
        SparkSession.builder.config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    answers = {}
    for vectorised in (True, False):
        spark.conf.set("spark.sql.parquet.enableVectorizedReader", str(vectorised).lower())
        for name, files in wanted.items():
            answers[name, vectorised, "files"] = read(spark.read.parquet(*files["files"]), files["predicates"])
            declared = spark.read.schema(files["schema"]).parquet(*files["files"])
            answers[name, vectorised, "catalog"] = read(declared, [])
    Path(sys.argv[1]).write_bytes(pickle.dumps(answers))
    spark.stop()


def read(frame: DataFrame, predicates: list[str]) -> dict[str, Any]:
    """Return types, rows, rows by predicate, and whether columns came in batches, of which Spark alone decides."""
    java = frame.sparkSession._jvm
    assert java
    plan = frame._jdf.queryExecution().explainString(
        java.org.apache.spark.sql.execution.ExplainMode.fromString("formatted")
    )
    return {
        "types": dict(frame.dtypes),
        "rows": [tuple(row) for row in frame.collect()],
        "counts": [frame.where(predicate).count() for predicate in predicates],
        "batched": "Batched: true" in plan,
    }


if __name__ == "__main__":
    main()
