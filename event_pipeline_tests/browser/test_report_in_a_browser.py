"""The report in a real browser: charts are drawn, filters change numbers, numbers equal Gold, nothing complains."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.generator import GeneratorOptions, Shape, generate
from event_pipeline.lake import Lake
from event_pipeline.report.page import rendered, write_report
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import load_settings
from event_pipeline_tests.browser.chromium import Page, browser
from event_pipeline_tests.browser.pictures import picture
from event_pipeline_tests.pipeline import ALL_GOLD, HOUR, build, event, purchase, write_object
from event_pipeline_tests.report_page import HOSTILE_CATEGORY, read_report

pytestmark = pytest.mark.browser

FIRST, SECOND, LAST = (date(2025, 12, day) for day in (6, 7, 8))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three days: what shops are like, an hour without objects, bad records, a new field, names that are markup."""
    root = tmp_path_factory.mktemp("lake") / "data"
    hours = HourRange(HOUR.plus(-2), HOUR.plus(4))
    options = GeneratorOptions(
        events_per_file=300, files_per_hour=2, seed=5, shape=Shape.REALISTIC, bad_share=0.05, duplicate_share=0.02
    )
    for each in hours:
        if each != HOUR:
            generate(root / "raw", HourRange.of([each]), options)
    hostile = {"category": HOSTILE_CATEGORY, "</script><i>": "<b>"}
    late = (HOUR.start - timedelta(days=1)).isoformat()
    lines = [event(HOUR.plus(1), timestamp=late), purchase(HOUR.plus(1), 1, price=99_999_999.99, quantity=3, **hostile)]
    write_object(root, HOUR.plus(1), 20, [*lines, *(event(HOUR.plus(1), second, **hostile) for second in range(9))])
    settings = load_settings(root=root, workers=1)
    pipeline = Pipeline(LocalEngine(settings), ALL_GOLD, settings)
    build(pipeline.engine, [each for each in hours if each != HOUR])
    write_report(pipeline, datetime.now(UTC), {}, root / "report.html")
    return Lake(pipeline)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The browser's tab."""
    with browser(tmp_path_factory.mktemp("browser") / "profile") as page:
        yield page


@pytest.fixture
def page(tab: Page, lake: Lake) -> Iterator[Page]:
    """The opened report; whatever a test does, nothing complains and nothing is asked of a network."""
    tab.complaints.clear()
    tab.requests.clear()
    tab.look()
    tab.open(lake._pipeline.settings.root / "report.html")
    yield tab
    assert tab.complaints == []
    assert {each.partition(":")[0] for each in tab.requests} <= {"file", "data"}


def tiles(page: Page, place: str = "tiles") -> dict[str, str]:
    """Return the figures at the top by name."""
    script = "Object.fromEntries([...document.querySelectorAll('#%s > div')].map((e) => [e.children[0].textContent, "
    found: dict[str, str] = page.value(script % place + "e.children[1].textContent]))")
    return found


def cells(page: Page, place: str) -> list[list[str]]:
    """Return the cells of the rows of a table."""
    rows = f"[...document.querySelectorAll('#{place} .data tbody tr')]"
    found: list[list[str]] = page.value(f"{rows}.map((row) => [...row.children].map((each) => each.textContent))")
    return found


def open_tables(page: Page, places: str) -> None:
    """Open the tables behind some charts, which are made then."""
    found = f"[...document.querySelectorAll('{places}')]"
    page.value(f"{found}.forEach((each) => {{ each.open = true; }})")
    page.wait_for(f"{found}.every((each) => each.querySelector('tbody tr'))")


def choose_days(page: Page, first: date, last: date) -> None:
    """Type a range into the two fields."""
    for name, day in (("from", first), ("to", last)):
        page.value(f"(() => {{ const e = document.getElementById('{name}'); e.value = '{day}'; "
                   "e.dispatchEvent(new Event('change')); })()")  # fmt: skip


def described(page: Page, place: str) -> str:
    """Return what a chart says of itself: of each line the highest value, and where it is."""
    text: str = page.value(f"document.querySelector('#{place} canvas').getAttribute('aria-label')")
    return text


def dollars(amount: Any) -> str:
    """Return money as the page writes it."""
    return f"${amount:,.2f}"


def assert_shows_gold(page: Page, lake: Lake, first: date, last: date) -> None:
    """Compare everything that the page shows of a range with the range answers of Gold."""
    performance = lake.answer("category_performance", first, last).arrow.to_pylist()
    shown = tiles(page)
    assert shown["Revenue"] == dollars(sum(row["revenue"] for row in performance))
    assert shown["Purchases"] == f"{sum(row['purchases'] for row in performance):,}"
    assert shown["All events"] == f"{sum(row['total_events'] for row in performance):,}"
    found = {row[0]: (row[2], row[4], row[8]) for row in cells(page, "categories-table")}
    assert found == {
        row["category"]: (dollars(row["revenue"]), f"{row['total_events']:,}", f"{row['purchases']:,}")
        for row in performance
    }
    top = lake.answer("top_products", first, last).arrow.to_pylist()[:25]
    assert [(row[1], row[2], row[4]) for row in cells(page, "products-table")] == [
        (row["product_id"], row["category"], f"{row['view_count']:,}") for row in top
    ]
    open_tables(page, "#revenue-hours details, #funnel-steps details")
    hourly = lake.answer("hourly_revenue", first, last).arrow.to_pylist()
    assert cells(page, "revenue-hours") == [
        [
            f"{row['event_hour']:02}:00",
            dollars(row["total_revenue"]),
            f"{row['purchase_count']:,}",
            f"{row['items_sold']:,}",
            dollars(row["avg_order_value"]),
        ]
        for row in hourly
    ]
    best = max(hourly, key=lambda row: (row["total_revenue"], -row["event_hour"]))
    highest = f"highest {dollars(best['total_revenue'])} at {best['event_hour']:02}:00 UTC."
    assert f"Revenue: {highest}" in described(page, "revenue-hours")
    views = dict[str, int]()
    for row in lake.answer("conversion_funnel", first, last).arrow.to_pylist():
        views[row["category"]] = views.get(row["category"], 0) + row["views"]
    assert {row[0]: row[1] for row in cells(page, "funnel-steps")} == {
        name: f"{each:,}" for name, each in views.items()
    }
    (people,) = lake.answer("user_activity", first, last).arrow.to_pylist() or [None]
    counted = first == last or last == LAST
    assert shown["Distinct users"] == (f"{people['unique_users']:,}" if people and counted else "–")
    activity = lake.query(
        "SELECT MAX(unique_users) AS users, MAX(unique_sessions) AS sessions FROM gold.user_activity "
        f"WHERE event_date BETWEEN '{first}' AND '{last}'"
    ).arrow.to_pylist()[0]
    said = described(page, "users-time")
    assert f"Users: highest {activity['users']:,} at" in said
    assert f"Sessions: highest {activity['sessions']:,} at" in said
    days = lake.query(
        "SELECT event_date, SUM(revenue) AS revenue FROM gold.category_performance "
        f"WHERE event_date BETWEEN '{first}' AND '{last}' GROUP BY category, event_date ORDER BY revenue DESC LIMIT 1"
    ).arrow.to_pylist()[0]
    day = f"{days['event_date'].day} {days['event_date']:%b %Y}"
    assert f"highest {dollars(days['revenue'])} at {day}" in described(page, "categories-time")


def test_every_range_shows_the_numbers_of_gold(page: Page, lake: Lake) -> None:
    # The first day has one late event.
    assert_shows_gold(page, lake, SECOND, LAST)
    for name, first in (("All 3 days", FIRST), ("Last day", LAST)):
        page.value(f"[...document.querySelectorAll('#presets button')].find((e) => e.textContent === '{name}').click()")
        assert_shows_gold(page, lake, first, LAST)
    choose_days(page, FIRST, SECOND)
    assert_shows_gold(page, lake, FIRST, SECOND)
    assert "--name user_activity --from 2025-12-06 --to 2025-12-07" in page.value(
        "document.getElementById('users-note').textContent"
    )


def test_categories_filter_numbers_and_names_that_are_markup_stay_text(page: Page, lake: Lake) -> None:
    name = HOSTILE_CATEGORY.lower()
    page.value("document.getElementById('no').click()")
    assert tiles(page)["All events"] == "0"
    page.value(
        "[...document.querySelectorAll('#categories-list label')]"
        f".find((e) => e.textContent.trim() === {name!r}).querySelector('input').click()"
    )
    shown = tiles(page)
    (row,) = [
        each for each in lake.answer("category_performance", SECOND, LAST).arrow.to_pylist() if each["category"] == name
    ]
    assert (shown["Revenue"], shown["Page views"]) == (dollars(row["revenue"]), "9")
    assert [each[2] for each in cells(page, "products-table")] == [name]
    assert page.value("document.getElementById('chosen').textContent") == name
    assert "all categories together" in page.value("document.getElementById('revenue-note').textContent")
    assert page.value("document.querySelectorAll('img, i, b, script').length") == 3
    assert "</script><i>" in page.value("document.getElementById('drift').textContent")
    assert page.value("document.getElementById('status').textContent").startswith("7 Dec 2025 to 8 Dec 2025, </script>")


def test_charts_are_drawn_in_both_schemes_with_a_table_behind_each(page: Page) -> None:
    drawn = """[...document.querySelectorAll('canvas')].map((c) => {
        const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        return new Set(new Uint32Array(pixels.buffer)).size;
    })"""
    light = page.value(drawn)
    assert len(light) == 6
    assert min(light) > 10
    colours = "getComputedStyle(document.body).backgroundColor + document.querySelector('canvas').toDataURL()"
    before = page.value(colours)
    page.look(dark=True)
    assert page.value(colours) != before
    assert min(page.value(drawn)) > 10
    open_tables(page, "figure details")
    assert page.value("document.querySelectorAll('figure details').length") == 6
    said = page.value("[...document.querySelectorAll('canvas')].map((c) => c.getAttribute('aria-label'))")
    assert all("highest" in each and each.endswith("The table below has every value.") for each in said)


def test_a_single_day_is_in_the_middle_of_its_chart(page: Page) -> None:
    choose_days(page, LAST, LAST)
    middle = """(() => {
        const c = document.querySelector('#users-time canvas');
        const ink = getComputedStyle(document.documentElement).getPropertyValue('--s1').trim();
        const [r, g, b] = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
        const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        const found = [];
        for (let at = 0; at < pixels.length; at += 4) {
            if (pixels[at] === r && pixels[at + 1] === g && pixels[at + 2] === b) found.push((at / 4) % c.width);
        }
        return found.reduce((sum, x) => sum + x, 0) / found.length / c.width;
    })()"""
    assert 0.4 < page.value(middle) < 0.7


def test_health_shows_every_hour_and_what_was_refused(page: Page) -> None:
    states = page.value("[...document.querySelectorAll('#strip td')].map((e) => e.title).filter((e) => e)")
    assert sum(": ready, " in each for each in states) == 5
    assert [each for each in states if ": gap" in each] == ["7 Dec 2025 22:00: gap"]
    reasons = {row[0]: int(row[2]) for row in cells(page, "reasons")}
    assert tiles(page, "health-tiles")["Hours in order"] == "5 of 6"
    assert sum(reasons.values()) > 50
    assert page.value("document.getElementById('cost').textContent") == "Nothing is billed where this pipeline runs."


def test_costs_and_every_state_are_shown(page: Page, lake: Lake, tmp_path: Path) -> None:
    content = read_report(lake._pipeline.settings.root / "report.html")
    states = sorted(content["health"]["looks"])
    hours = HourRange(HOUR, HOUR.plus(len(states)))
    content["health"]["hours"] = [
        [str(hour), state, 12, 1_000, 4, 3] for hour, state in zip(hours, states, strict=True)
    ]
    content["health"]["cost"] = [["2025-12-07", 4_310_000], ["2025-12-08", 987_654]]
    (tmp_path / "states.html").write_text(rendered(content), encoding="utf-8")
    page.open(tmp_path / "states.html")
    open_tables(page, "#cost details")
    assert cells(page, "cost") == [["7 Dec 2025", "$4.31"], ["8 Dec 2025", "$0.9877"]]
    assert "USD: highest $4.31 at 7 Dec 2025." in described(page, "cost")
    assert "Quarantined: highest 4 at" in described(page, "refused-time")
    assert "Duplicates: highest 3 at" in described(page, "refused-time")
    assert "Records: highest 1,000 at" in described(page, "records-time")
    legend = "[...document.querySelectorAll('#strip .legend li')].map((each) => each.textContent.slice(-4))"
    assert page.value(legend) == [f"{state[-1]} (1)"[-4:] for state in states]
    assert len(states) == len(HourState) + 3


def test_the_keyboard_reaches_everything_and_nothing_is_unnamed(page: Page) -> None:
    page.press("Tab")
    assert page.value("document.activeElement.textContent") == "Skip to the answers"
    page.value("document.querySelector('#choice summary').focus()")
    page.press("Enter")
    assert page.value("document.getElementById('choice').open")
    page.press("Tab")
    page.press("Tab")
    page.press(" ")
    page.wait_for("document.getElementById('chosen').textContent === 'no category'")
    page.press("Escape")
    assert page.value("document.activeElement.tagName") == "SUMMARY"
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = [(each["role"]["value"], each.get("name", {}).get("value", "")) for each in nodes if not each["ignored"]]
    need_names = {"button", "checkbox", "image", "region", "form", "navigation", "table", "Date"}
    assert [role for role, name in named if role in need_names and not name.strip()] == []
    assert {"banner", "main", "navigation", "contentinfo", "form"} <= {role for role, _ in named}


def test_it_fits_a_phone_and_prints_without_its_filters(page: Page, tmp_path: Path) -> None:
    page.look(width=390, height=844)
    page.wait_for("[...document.querySelectorAll('canvas')].every((c) => c.getBoundingClientRect().right <= 390)")
    assert page.value("document.documentElement.scrollWidth") == 390
    page.look(media="print")
    assert page.value("getComputedStyle(document.getElementById('filters')).display") == "none"
    page.look(media="")
    page.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().count(b"/Type /Page\n") in range(2, 9)


def test_the_picture_of_the_report_is_current(tab: Page, tmp_path: Path) -> None:
    hours = HourRange(HOUR.plus(-52), HOUR.plus(14))
    options = GeneratorOptions(
        events_per_file=400, files_per_hour=1, seed=7, shape=Shape.REALISTIC, bad_share=0.01, duplicate_share=0.01
    )
    generate(tmp_path / "raw", hours, options)
    settings = load_settings(root=tmp_path, workers=1)
    pipeline = Pipeline(LocalEngine(settings), ALL_GOLD, settings)
    build(pipeline.engine, list(hours))
    write_report(pipeline, hours.end.start, {}, tmp_path / "report.html")
    tab.look(width=1200, height=1000)
    # The page is looked at a minute after it was written.
    clock = f"Date.now = () => {int(hours.end.start.timestamp() + 60)}000"
    script = tab.call("Page.addScriptToEvaluateOnNewDocument", source=clock)["identifier"]
    tab.open(tmp_path / "report.html")
    tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    tab.wait_for_text("Revenue by hour of the day")
    picture(tab, "report")


def test_an_empty_page_says_what_to_do(tab: Page, tmp_path: Path) -> None:
    file = tmp_path / "empty.html"
    file.write_text(rendered({"generated": "2025-12-08T00:00:00+00:00", "answers": None, "health": None}))
    tab.complaints.clear()
    tab.open(file)
    seen = tab.value("document.querySelector('main').innerText")
    assert "Nothing is published yet" in seen
    assert "event-pipeline generate --if-empty" in seen
    assert tab.value("[...document.querySelectorAll('nav a')].every((each) => each.hidden)")
    assert "Revenue" not in seen
    assert tab.complaints == []
