"""A real Trino, the engine inside Athena, judges the SQL and the files: over the emulated Glue catalog and S3."""
