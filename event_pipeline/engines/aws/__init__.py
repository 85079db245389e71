"""The AWS engine: raw objects and Parquet files in S3, Silver by a Glue job, Gold by Athena, partitions in Glue."""

from event_pipeline.engines.aws.engine import AwsEngine

__all__ = ["AwsEngine"]
