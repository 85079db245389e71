"""The Dagster UI in a real browser: an hour, a range and a backfill are built by clicking, and the pages show them.

The pages are those of the pictures in the docs, and are held to them (`pictures.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import GeneratorOptions, Shape, generate
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import load_settings
from event_pipeline_tests.browser.chromium import Page, browser
from event_pipeline_tests.browser.pictures import picture
from event_pipeline_tests.dev_process import Dev, wait_for

pytestmark = pytest.mark.browser

HOURS = 4
SECONDS_TO_BUILD = 240


@pytest.fixture(scope="module")
def hours() -> list[Hour]:
    """The hours that are built: over, and the first ones of the data folder."""
    now = Hour.containing(datetime.now(UTC))
    return [now.plus(-1 - HOURS + number) for number in range(HOURS)]


@pytest.fixture(scope="module")
def dev(hours: list[Hour], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """`event-pipeline dev` over raw objects that nothing was built from."""
    folder = tmp_path_factory.mktemp("dev")
    # Half of the share of quarantined records at which a check warns: its outcome is not by chance.
    options = GeneratorOptions(
        events_per_file=250, seed=3, shape=Shape.REALISTIC, bad_share=0.005, duplicate_share=0.01
    )
    generate(folder / "data" / "raw", HourRange.of(hours), options)
    started = Dev(folder / "data", {"EVENT_PIPELINE_WORKERS": "1"}, folder / "dev.log")
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The browser's tab, as wide as a laptop."""
    with browser(tmp_path_factory.mktemp("browser") / "profile") as tab:
        tab.look(width=1280, height=900)
        yield tab


def materialize(page: Page, address: str, partitions: str, button: str) -> None:
    """Materialize all assets for some partitions, as a user does on the page of all assets."""
    page.visit(f"{address}/asset-groups", "Materialize all…")
    page.click("Materialize all…")
    page.wait_for_text("Partition selection")
    page.type_into("No matching partitions", partitions)
    page.click(button)
    page.wait_for("!document.body.innerText.includes('Partition selection')")


def materialized(page: Page) -> int:
    """Return how many partitions the page of an asset says are materialized."""
    found = re.search(r"Materialized \((\d+)\)", page.text())
    return int(found[1]) if found else 0


def test_an_hour_a_range_and_a_backfill_are_built_by_clicking_and_shown_as_in_the_pictures(
    page: Page, dev: Dev, hours: list[Hour]
) -> None:
    address = f"http://127.0.0.1:{dev.port}"
    keys = [hour.partition_key for hour in hours]
    materialize(page, address, keys[0], "Launch 1 run")
    materialize(page, address, f"[{keys[1]}...{keys[2]}]", "Launch backfill")
    materialize(page, address, f"[{keys[0]}...{keys[3]}]", "Launch backfill")

    page.visit(f"{address}/assets/user_activity?view=partitions&partition={keys[3]}", "Missing (")
    wait_for("all hours to be built", lambda: materialized(page) >= HOURS, SECONDS_TO_BUILD, every=1)
    page.visit(f"{address}/runs", "Success")

    engine = LocalEngine(load_settings(root=dev.root))
    ledger = engine.query("SELECT sum(records) AS records, sum(silver_rows) AS rows FROM ops.hour_ledger").to_pylist()
    assert (ledger[0]["records"] > 0, len(engine.hour_commits())) == (True, HOURS)
    account = engine.hour_commits()[hours[-1]].account

    page.visit(f"{address}/assets/silver_events?view=partitions&partition={keys[-1]}", "rules_version")
    page.wait_for_text("as a bar")
    said = f"{account.records:,} records = {account.silver_rows:,} Silver rows + {account.quarantined:,} quarantined"
    assert said in page.text()
    picture(page, "silver-hour")

    page.visit(f"{address}/assets/hourly_revenue?view=overview", "SQL of an event day")
    chart = "each.alt.startsWith('total_revenue by') && each.naturalWidth > 400"
    page.wait_for(f"[...document.images].some((each) => {chart})")
    shown = page.text()
    assert "columns made from silver_events" in shown
    coloured = "[...document.querySelectorAll('code span')].some((each) => each.innerText === 'SELECT')"
    assert page.value(coloured)
    page.value(
        "[...document.querySelectorAll('h2, div')].findLast((each) => each.innerText === 'Metadata')?.scrollIntoView()"
    )
    # As wide as the chart needs.
    page.look(width=1600, height=900)
    picture(page, "gold-table")
    page.look(width=1280, height=900)

    page.visit(f"{address}/assets/silver_events?view=checks", "are accounted for")
    picture(page, "checks")

    # The whole graph, at a size at which every asset has its name alone.
    page.look(width=1200, height=700)
    whole_graph = "view=lineage&lineageScope=neighbors&lineageDepth=2"
    page.visit(f"{address}/assets/silver_partitions?{whole_graph}", "hourly_revenue")
    picture(page, "asset-graph")
    assert [each for each in page.complaints if "Uncaught" in each] == []
