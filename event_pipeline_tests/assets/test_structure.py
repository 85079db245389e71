"""What must hold for every asset, and what a further Gold table needs: one file."""

from __future__ import annotations

import shutil
from base64 import b64decode
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import pytest
from sqlglot import exp
from sqlglot.lineage import lineage

from event_pipeline.assets.pictures import COLOURS, MOST_BARS, bar_chart
from event_pipeline.assets.pipeline import pipeline_assets
from event_pipeline.assets.presentation import bars
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.contract import BRONZE_EVENTS, HOUR_LEDGER, SILVER_EVENTS
from event_pipeline.rules.query import GOLD_FOLDER, GoldFileError, load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import ASSETS, GOLD, evaluation, materialize, one
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, write_object

SESSION_LENGTHS = """\
-- description: How many events the sessions of a day have.
-- grain: session_id
-- columns:
--   session_id   string   The session
--   events       bigint   Its events

-- section: partial
SELECT event_date, session_id, CAST(COUNT(*) AS BIGINT) AS events FROM silver_events GROUP BY event_date, session_id

-- section: fold
SELECT session_id, CAST(SUM(events) AS BIGINT) AS events FROM partials GROUP BY session_id ORDER BY session_id

-- section: reconcile
SELECT 'events' AS measure, (SELECT COALESCE(SUM(events), 0) FROM gold_day) AS gold, events AS silver
FROM silver_totals
"""


@pytest.fixture
def specs(settings: Settings) -> dict[str, dg.AssetSpec]:
    """Every asset's specification by name."""
    return {asset.key.to_user_string(): next(iter(asset.specs)) for asset in pipeline_assets(settings)}


def test_the_path_of_an_hour(specs: dict[str, dg.AssetSpec]) -> None:
    assert tuple(specs) == ASSETS
    parents = {name: [dep.asset_key.to_user_string() for dep in spec.deps] for name, spec in specs.items()}
    assert parents == {
        "raw_events": [],
        "silver_events": ["raw_events"],
        "silver_partitions": ["silver_events"],
        **{table.name: ["silver_partitions"] for table in load_gold_tables()},
    }


def test_every_asset_has_the_same_hours_and_backfills_in_ranges(specs: dict[str, dg.AssetSpec]) -> None:
    hours = dg.HourlyPartitionsDefinition("2025-11-01-00:00", timezone="UTC")
    assert {spec.partitions_def for spec in specs.values()} == {hours}
    settings = load_settings(hours_per_run=5)
    assert {asset.backfill_policy for asset in pipeline_assets(settings)} == {dg.BackfillPolicy.multi_run(5)}


def test_every_asset_tells_people_what_it_is(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        assert len(spec.description or "") > 80, name
        assert spec.owners, name
        assert spec.kinds, name
    groups = {name: spec.group_name for name, spec in specs.items()}
    assert [groups[name] for name in ASSETS[:3]] == ["bronze", "silver", "silver"]
    assert {groups[name] for name in ASSETS[3:]} == {"gold"}


def test_tables_show_their_columns_with_types_and_meanings(specs: dict[str, dg.AssetSpec]) -> None:
    tables = {"raw_events": BRONZE_EVENTS, "silver_events": SILVER_EVENTS, "silver_partitions": HOUR_LEDGER}
    tables |= {table.name: table.table for table in load_gold_tables()}
    for name, table in tables.items():
        shown = [
            (each.name, each.type, (each.description or "").removesuffix(" (partition key)"))
            for each in specs[name].metadata["dagster/column_schema"].columns
        ]
        assert shown == [(each.name, each.type, each.meaning) for each in (*table.columns, *table.partition_columns)]
        assert specs[name].metadata["dagster/table_name"] == table.full_name


def test_columns_of_gold_lead_back_to_columns_of_the_raw_lines(specs: dict[str, dg.AssetSpec]) -> None:
    of_silver = specs["silver_events"].metadata["dagster/column_lineage"].deps_by_column
    raw = {each.name for each in specs["raw_events"].metadata["dagster/column_schema"].columns}
    assert {dep.column_name for deps in of_silver.values() for dep in deps} <= raw
    assert [dep.column_name for dep in of_silver["revenue"]] == ["event_type", "price", "quantity"]
    for table in load_gold_tables():
        of_gold = specs[table.name].metadata["dagster/column_lineage"].deps_by_column
        assert list(of_gold) == [column.name for column in table.columns]
        assert {dep.asset_key.to_user_string() for deps in of_gold.values() for dep in deps} == {"silver_events"}
        assert {dep.column_name for deps in of_gold.values() for dep in deps} <= of_silver.keys()


def test_the_declared_lineage_has_every_column_that_the_sql_reads_for_it() -> None:
    silver = {"silver_events": {column.name: "text" for column in SILVER_EVENTS.columns}}
    for table in load_gold_tables():
        sql = f"WITH partials AS ({table.partial}) SELECT * FROM ({table.fold}) AS folded"
        for name, declared in table.lineage:
            found = lineage(name, sql, silver, dialect="duckdb")
            read = {node.name.rpartition(".")[2] for node in found.walk() if isinstance(node.source, exp.Table)}
            assert read <= set(declared), (table.name, name)


def test_bars_are_as_long_as_their_numbers() -> None:
    assert bars([Decimal(0), 1, None, 2.0, 0.125]) == ["", "█" * 10, "", "█" * 20, "█▎"]
    assert bars([]) == []


def test_a_chart_has_a_bar_for_each_number_and_takes_little_room() -> None:
    labels = ["</text><script>", *(f"a_long_product_{number:02}" for number in range(30))]
    shown = bar_chart("views by product_id", labels, [("views", [Decimal(3), None, *range(28)]), ("purchases", [1.5])])
    title, _, encoded = shown.value.partition("](data:image/svg+xml;base64,")
    drawn = ElementTree.fromstring(b64decode(encoded.removesuffix(")")))  # noqa: S314 - drawn here
    bars = [str(each.get("d")).count("z") for each in drawn if each.get("fill") in COLOURS]
    # The legend has two squares. Null and 0 have no bar; more labels than there is room for are left out.
    assert (title, bars) == ("![views by product_id", [1, 1, 22, 1])
    texts = [each.text for each in drawn if each.tag.endswith("text")]
    assert texts[:5] == ["views", "purchases", "highest 21", "</text><script>", "a_long_product_…"]
    assert len(texts) == 3 + MOST_BARS
    assert len(shown.value) < 6_000
    assert [table.measures for table in load_gold_tables()] == [
        ("total_events", "page_views", "add_to_carts"),
        ("views", "add_to_carts", "purchases"),
        ("total_revenue",),
        ("view_count",),
        (),
    ]


def test_every_asset_links_to_its_source(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        sources = [Path(each.file_path) for each in spec.metadata["dagster/code_references"].code_references]
        assert all(source.is_file() for source in sources), name
        assert GOLD_FOLDER / f"{name}.sql" in sources or name in ASSETS[:3]


def test_only_what_must_never_be_shown_blocks(settings: Settings) -> None:
    checks = [spec for asset in pipeline_assets(settings) for spec in asset.check_specs]
    assert [spec.name for spec in checks if spec.blocking] == ["conservation_law", "partition_readable"]
    assert all(spec.description for spec in checks)


def test_no_asset_has_a_retry_policy_because_dagster_would_retry_a_cancelled_step_under_it(settings: Settings) -> None:
    assert {asset.op.retry_policy for asset in pipeline_assets(settings)} == {None}


def test_silver_and_gold_have_pools(settings: Settings) -> None:
    pools = {asset.key.to_user_string(): asset.op.pool for asset in pipeline_assets(settings)}
    assert [pools[name] for name in ASSETS] == [None, "silver", "silver", *[f"gold_{table}" for table in GOLD]]


def test_new_rules_make_silver_stale_and_new_sql_its_gold_table(settings: Settings) -> None:
    versions = {
        asset.key.to_user_string(): next(iter(asset.code_versions_by_key.values()))
        for asset in pipeline_assets(settings)
    }
    assert versions["silver_events"] == settings.event_time_limits.rules_version
    assert {name: versions[name] for name in ASSETS[3:]} == {table.name: table.version for table in load_gold_tables()}


@pytest.mark.long
def test_a_sixth_table_needs_one_file(
    settings: Settings, instance: dg.DagsterInstance, root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gold"
    shutil.copytree(GOLD_FOLDER, folder)
    (folder / "session_lengths.sql").write_text(SESSION_LENGTHS)
    write_object(root, HOUR, 0, [event(), purchase(second=1), event(second=2, session_id="s_2")])

    assets = {asset.key.to_user_string(): asset for asset in pipeline_assets(settings, folder)}
    spec = next(iter(assets["session_lengths"].specs))
    assert [column.name for column in spec.metadata["dagster/column_schema"].columns] == [
        "session_id",
        "events",
        "event_date",
    ]
    assert [check.name for check in assets["session_lengths"].check_specs] == ["grain_unique", "equals_silver"]

    result = materialize(settings, instance, one(HOUR), gold_folder=folder)
    assert all(evaluation(result, check, asset="session_lengths").passed for check in ("grain_unique", "equals_silver"))
    assert rows(
        LocalEngine(settings, folder), "SELECT session_id, events FROM gold.session_lengths ORDER BY session_id"
    ) == [
        {"session_id": "s_1", "events": 2},
        {"session_id": "s_2", "events": 1},
    ]


def test_a_gold_file_with_a_fault_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "half.sql").write_text("-- description: Only a header.\n")
    with pytest.raises(GoldFileError, match=r"half\.sql"):
        build_definitions(settings, tmp_path)
