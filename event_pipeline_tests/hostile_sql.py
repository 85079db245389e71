"""Statements that try to write, to reach files, the network, settings or the environment, or to end the process.

`{root}` is the data folder under attack, `{file}` one of its data files, `{commit}` one of its commit records and
`{outside}` a file beside it.
"""

from __future__ import annotations

STATEMENTS = """
COPY (SELECT 1) TO '{commit}'
COPY silver.events TO '{outside}' (FORMAT csv)
COPY ops.hour_ledger FROM '{outside}'
COPY FROM DATABASE memory TO other
WITH x AS (COPY (SELECT 1) TO '{commit}') SELECT 1
WITH x AS (COPY (SELECT 1) TO '{commit}') SELECT * FROM x
WITH x AS MATERIALIZED (COPY (SELECT 'x' AS a) TO '{file}' (FORMAT parquet)) SELECT * FROM x
WITH y AS (WITH x AS (COPY (SELECT 1) TO '{outside}') SELECT 1) SELECT * FROM y
SELECT (WITH x AS (COPY (SELECT 1) TO '{outside}') SELECT count(*) FROM x)
SELECT * FROM (WITH x AS (COPY (SELECT 1) TO '{outside}') SELECT 1) AS inner_query
SELECT 1 WHERE EXISTS (WITH x AS (COPY (SELECT 1) TO '{outside}') SELECT 1)
SELECT 1 UNION ALL (WITH x AS (COPY (SELECT 1) TO '{outside}') SELECT 2)
WITH RECURSIVE x AS (COPY (SELECT 1) TO '{outside}') SELECT * FROM x
EXPLAIN ANALYZE COPY (SELECT 1) TO '{commit}'
EXPLAIN COPY (SELECT 1) TO '{commit}'
EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{commit}') SELECT 1
/* a */ EXPLAIN -- b
 ANALYZE /* c */ COPY (SELECT 1) TO '{commit}'
EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO '{commit}'
EXPLAIN ANALYZE DELETE FROM silver.events
EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1
EXPLAIN ANALYZE EXPLAIN ANALYZE COPY (SELECT 1) TO '{commit}'
WITH x AS (INSERT INTO silver.events SELECT * FROM silver.events RETURNING 1) SELECT * FROM x
WITH x AS (DELETE FROM silver.events RETURNING 1) SELECT * FROM x
WITH x AS (UPDATE silver.events SET user_id = 'u' RETURNING 1) SELECT * FROM x
WITH x AS (MERGE INTO silver.events USING silver.events e ON true WHEN MATCHED THEN DELETE) SELECT 1
WITH x AS (CREATE TABLE t AS SELECT 1) SELECT 1
WITH x AS (ATTACH '{outside}') SELECT 1
INSERT INTO silver.events SELECT * FROM silver.events
UPDATE silver.events SET user_id = 'u'
DELETE FROM silver.events
TRUNCATE silver.events
MERGE INTO silver.events USING silver.events e ON true WHEN MATCHED THEN DELETE
CREATE TABLE t AS SELECT 1
CREATE OR REPLACE VIEW silver.events AS SELECT 1
CREATE TEMPORARY MACRO f(x) AS TABLE SELECT * FROM read_text(x)
CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')
CREATE PERSISTENT SECRET s (TYPE http)
DROP SECRET s
CREATE TYPE mood AS ENUM ('a')
CREATE SEQUENCE s
CREATE SCHEMA evil
DROP VIEW silver.events
ALTER VIEW silver.events RENAME TO other
COMMENT ON VIEW silver.events IS 'x'
ATTACH '{outside}' AS other
ATTACH '{root}/catalog.sqlite' AS other (TYPE sqlite)
DETACH memory
USE silver
SET threads = 1
SET enable_external_access = true
SET allowed_directories = ['{root}']
SET temp_directory = '{root}/lake'
SET log_query_path = '{outside}'
SET profiling_output = '{outside}'
SET enable_profiling = 'json'
SET lock_configuration = false
SET GLOBAL memory_limit = '100GB'
SET VARIABLE x = 1
RESET enable_external_access
PRAGMA database_list
PRAGMA enable_profiling
PRAGMA import_database('{outside}')
CALL enable_logging(storage = 'file', storage_path = '{outside}')
CALL enable_profiling()
CALL truncate_duckdb_logs()
CALL pragma_version()
EXPORT DATABASE '{outside}'
IMPORT DATABASE '{outside}'
INSTALL httpfs
FORCE INSTALL httpfs FROM core_nightly
LOAD httpfs
LOAD '{outside}'
UPDATE EXTENSIONS
CHECKPOINT
FORCE CHECKPOINT
VACUUM
ANALYZE
BEGIN TRANSACTION
COMMIT
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
SELECT 1; COPY (SELECT 1) TO '{commit}'
SELECT * FROM read_csv('{outside}')
SELECT * FROM "read_csv"('{outside}')
SELECT * FROM main.read_csv('{outside}')
SELECT * FROM system.main.read_csv_auto('{outside}')
SELECT * FROM READ_TEXT('{commit}')
SELECT * FROM read_blob('{commit}')
SELECT * FROM read_json('{commit}')
SELECT * FROM read_json_objects('{commit}')
SELECT * FROM read_ndjson_auto('{commit}')
SELECT * FROM read_parquet('{file}')
SELECT * FROM parquet_scan('{file}')
SELECT * FROM parquet_metadata('{file}')
SELECT * FROM parquet_schema('{file}')
SELECT * FROM parquet_kv_metadata('{file}')
SELECT * FROM parquet_file_metadata('{file}')
SELECT * FROM parquet_bloom_probe('{file}', 'user_id', 'u_1')
SELECT * FROM read_duckdb('{outside}')
SELECT * FROM sniff_csv('{outside}')
SELECT * FROM glob('{root}/**')
SELECT * FROM '{outside}'
SELECT * FROM '{file}'
SELECT * FROM "{commit}"
SELECT * FROM 'https://127.0.0.1:1/x.csv'
SELECT * FROM 's3://bucket/x.parquet'
SELECT * FROM read_csv('/proc/self/environ')
SELECT * FROM read_csv('/dev/stdin')
SELECT * FROM silver.events, LATERAL (SELECT * FROM read_text(source_object))
SELECT (SELECT content FROM read_text('{commit}'))
SELECT * FROM query('COPY (SELECT 1) TO ''{commit}''')
SELECT * FROM query('SELECT * FROM read_text(''{commit}'')')
SELECT * FROM query_table('{outside}')
SELECT * FROM query_table(['silver.events', '{outside}'])
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM read_text(''{commit}'')'))
PRAGMA json_execute_serialized_sql('x')
SELECT * FROM arrow_scan(1, 2, 3)
SELECT * FROM arrow_scan_dumb(1::UBIGINT, 2::UBIGINT, 3::UBIGINT)
SELECT * FROM python_arrow_scan(1, 2, 3)
SELECT * FROM pandas_scan(140000000)
SELECT * FROM python_map_function(1, 2)
SELECT * FROM seq_scan()
SELECT * FROM sqlite_scan('{root}/catalog.sqlite', 'partition')
SELECT * FROM postgres_scan('host=127.0.0.1', 'a', 'b')
SELECT * FROM mysql_scan('a', 'b', 'c')
SELECT * FROM st_read('{outside}')
SELECT * FROM delta_scan('{root}')
SELECT * FROM iceberg_scan('{root}')
SELECT * FROM http_get('http://127.0.0.1:1')
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_secrets()
SELECT * FROM which_secret('s3://x', 's3')
SELECT * FROM duckdb_logs()
SELECT * FROM duckdb_extensions()
SELECT * FROM duckdb_temporary_files()
SELECT * FROM duckdb_external_file_cache()
SELECT * FROM checkpoint()
SELECT * FROM force_checkpoint()
SELECT * FROM register_external_resource('x', 'y')
SELECT * FROM copy_database('a', 'b')
SELECT * FROM sql_auto_complete('SEL')
SELECT * FROM add_parquet_key('a', 'b')
SELECT getenv('HOME')
SELECT read_text('{commit}')
SELECT nextval('s')
SELECT setval('s', 1)
SELECT * FROM settings
SELECT * FROM statement
SELECT * FROM connection
SELECT * FROM files
SELECT 1 INTO OUTFILE '{outside}'
SELECT 1 INTO t
VALUES (COPY (SELECT 1) TO '{outside}')
FROM (COPY (SELECT 1) TO '{outside}')
FROM (INSERT INTO silver.events VALUES (1) RETURNING *)
SELECT * FROM (PRAGMA database_list)
SELECT * FROM (CALL pragma_version())
DESCRIBE '{outside}'
SUMMARIZE '{outside}'
SHOW TABLES FROM '{outside}'
PIVOT '{outside}' ON a
SELECT * FROM lake
SELECT * FROM 'lake://00.parquet'
SELECT * FROM read_parquet('lake://{address}.parquet')
.shell touch {outside}
"""
"""One statement a line; a line that begins with a blank continues the previous one."""


def statements() -> list[str]:
    """Return the statements, with their placeholders still unfilled."""
    return STATEMENTS.strip().replace("\n ", "\v ").split("\n")
