"""The written page: numbers equal Gold, nothing from data becomes markup, and it stays small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from event_pipeline.commands.options import ExitCode
from event_pipeline.engines.base import DayRange, RangeAnswer, ResultStream
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.report.answers import MOST_CATEGORIES, in_cents, read_answers
from event_pipeline.report.page import MOST_BYTES, WEB, rendered, safe_json, write_report
from event_pipeline.settings import load_settings
from event_pipeline_tests.command import Run
from event_pipeline_tests.pipeline import ALL_GOLD, HOUR, build, event, purchase, write_object
from event_pipeline_tests.report_page import (
    HOSTILE_CATEGORY,
    categories,
    content_of,
    products,
    read_report,
    rows_of_days,
)

DAY = date(2025, 12, 7)


def test_nothing_from_data_becomes_markup_and_the_law_of_the_page_is_strict(run: Run, root: Path) -> None:
    hostile = event(category=HOSTILE_CATEGORY) | {"</script><b>": "<!--"}
    write_object(root, HOUR, 0, [hostile, purchase(second=1, category=HOSTILE_CATEGORY), b"</script>"])
    build(open_pipeline_of(root).engine, [HOUR])

    ended = run("report")

    page = (root / "report.html").read_text(encoding="utf-8")
    assert (ended.code, ended.out) == (0, f"{root / 'report.html'}\n")
    assert "onerror=alert" in page
    assert page.count("<script") == page.count("</script") == 3
    assert not re.search(r"<(img|b>|!--)", page.split("<body>")[1].split("<script>")[0])
    content = content_of(page)
    assert content["answers"]["categories"] == [HOSTILE_CATEGORY.lower()]
    assert [each["field"] for each in content["health"]["drift"]] == ["</script><b>"]
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"""(?:src|href)="(?!#|data:,)|url\(|@import|https?://(?!github\.com/leeoniya)""", page)
    assert [path.name for path in root.glob("*.draft")] == []


def test_the_page_names_the_version_of_its_library() -> None:
    (version,) = re.findall(r"leeoniya/uPlot [(]v([\d.]+)[)]", (WEB / "uplot.js").read_text(encoding="utf-8"))
    assert f"uPlot {version}, MIT License" in (WEB / "report.html").read_text(encoding="utf-8")


def test_escaped_json_reads_as_it_was() -> None:
    text = "</script><!--&\u2028\u2029\x7f\ud800é"
    escaped = safe_json({"text": text})
    assert escaped.isascii()
    assert not set("<>&\x7f") & set(escaped)
    assert content_of(f'<script type="application/json" id="content">{escaped}</script>') == {"text": text}


@pytest.mark.parametrize(
    ("amount", "cents"),
    [("0.00", 0), ("19.99", 1999), ("90071992547409.91", 2**53 - 1), ("90071992547409.92", str(2**53))],
)
def test_money_is_whole_cents_and_text_where_a_double_would_round(amount: str, cents: int | str) -> None:
    assert in_cents(Decimal(amount)) == cents
    assert in_cents(Decimal("9" * 36 + ".99")) == "9" * 38


def test_an_empty_lake_has_a_page_that_says_what_to_do(run: Run, root: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.html"
    ended = run("report", "--output", str(target))
    assert (ended.code, ended.out) == (0, f"{target}\n")
    assert "no day is published yet" in ended.err
    assert read_report(target)["answers"] is read_report(target)["health"] is None
    assert "Nothing is published yet" in target.read_text(encoding="utf-8")
    assert run("report", "--output", str(tmp_path)).code == ExitCode.USAGE


def test_who_reads_the_page_while_it_is_written_reads_the_old_one(root: Path) -> None:
    pipeline, path, now = open_pipeline_of(root), root / "report.html", HOUR.end
    write_report(pipeline, now, {}, path)
    before = path.read_bytes()
    with path.open("rb") as reader:
        write_report(pipeline, now + timedelta(days=1), {}, path)
        assert reader.read() == before
    assert path.read_bytes() != before


def test_health_counts_what_happened_to_each_hour(root: Path) -> None:
    hours = (HOUR, HOUR.plus(2))
    write_object(root, hours[0], 0, [event(), event(), b"{", event(second=1, user_id=None)])
    write_object(root, hours[1], 0, [event(hours[1], colour="red")])
    pipeline = open_pipeline_of(root)
    build(pipeline.engine, hours[:1])
    now = hours[1].end + timedelta(minutes=30)

    health = _health_of(pipeline, root, now)

    shown = {hour: values for hour, *values in health["hours"] if values[0] != "no raw objects"}
    assert shown == {
        str(hours[0]): ["ready", 1, 4, 2, 1],
        str(HOUR.plus(1)): ["gap", 0, None, None, None],
        str(hours[1]): ["new", 1, None, None, None],
        str(HOUR.plus(3)): ["open", 0, None, None, None],
    }
    assert health["quarantined"] == {"2025-12-07": {"missing_user_id": 1, "not_json": 1}}
    assert health["newest"]["end"] == "2025-12-07T23:00:00+00:00"
    assert {health["looks"][values[0]] for values in shown.values()} == {"good", "bad", "open"}
    # A year later the page still ends with the newest hours.
    later = _health_of(pipeline, root, now + timedelta(days=400))
    assert [values for values in later["hours"] if values[1] == "ready"] == [[str(HOUR), "ready", 1, 4, 2, 1]]


def _health_of(pipeline: Pipeline, root: Path, now: datetime) -> dict[str, Any]:
    content = read_report(write_report(pipeline, now, {}, root / "report.html").path)
    health: dict[str, Any] = content["health"]
    return health


def open_pipeline_of(root: Path) -> Pipeline:
    """Open a data folder."""
    from event_pipeline.engines.open import open_pipeline

    return open_pipeline(load_settings(root=root, workers=1))


# -- a year


class GoldOfAYear:
    """The part of an engine that the answers read, over a year of many products and categories."""

    LAST = date(2025, 12, 31)
    PRODUCTS, DAYS, CATEGORIES = 900, 400, 60

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("SET threads = 1")
        self.connection.execute(
            f"""
            CREATE SCHEMA gold;
            CREATE TABLE gold.conversion_funnel AS
            SELECT
                DATE '{self.LAST}' - CAST(day AS INTEGER) AS event_date,
                'p_' || product AS product_id,
                'category ' || (product % {self.CATEGORIES}) AS category,
                -- What is popular changes slowly, and a day is between half and one and a half of it.
                CAST(
                    1000000 // (1 + (product + day // 60 * 7) % {self.PRODUCTS}) * (500 + hash(day, product) % 1000)
                    // 1000 AS BIGINT
                ) AS views,
                CAST(hash(product, day) % 100000 AS BIGINT) AS add_to_carts,
                CAST(hash(product) % 10000 AS BIGINT) AS purchases,
                CAST(hash(product, day, 1) % 100000000000 AS DECIMAL(38, 2)) / 100 AS revenue
            FROM range({self.DAYS}) AS days (day), range({self.PRODUCTS}) AS products (product);
            CREATE TABLE gold.category_performance AS
            SELECT
                event_date, category, CAST(SUM(views + add_to_carts + purchases) AS BIGINT) AS total_events,
                CAST(SUM(views) AS BIGINT) AS page_views, CAST(SUM(add_to_carts) AS BIGINT) AS add_to_carts,
                12345678 AS remove_from_carts, CAST(SUM(purchases) AS BIGINT) AS purchases, 0 AS searches,
                CAST(SUM(revenue) AS DECIMAL(38, 2)) AS revenue
            FROM gold.conversion_funnel GROUP BY ALL;
            CREATE TABLE gold.hourly_revenue AS
            SELECT
                DATE '{self.LAST}' - CAST(day AS INTEGER) AS event_date, CAST(hour AS INTEGER) AS event_hour,
                CAST(123456789012.34 AS DECIMAL(38, 2)) AS total_revenue, 12345678 AS purchase_count,
                123456789 AS items_sold
            FROM range({self.DAYS}) AS days (day), range(24) AS hours (hour);
            CREATE TABLE gold.user_activity AS
            SELECT
                event_date, 90000 AS unique_users, 90000 AS unique_sessions,
                CAST(SUM(total_events) AS BIGINT) AS total_events
            FROM gold.category_performance GROUP BY ALL;
            """
        )

    @contextmanager
    def query_stream(self, sql: str) -> Iterator[ResultStream]:
        """Run a statement."""
        table = self.connection.sql(sql).to_arrow_table()
        yield ResultStream(table.schema, iter(table.to_batches()))

    def query(self, sql: str) -> Any:
        """Run a statement."""
        return self.connection.sql(sql).to_arrow_table()

    @contextmanager
    def answer(self, table: Any, first: date, last: date) -> Iterator[RangeAnswer]:
        """Answer with one row."""
        with self.query_stream("SELECT 1 AS unique_users, 2 AS unique_sessions, 3 AS total_events") as rows:
            yield RangeAnswer(DayRange((), ()), rows)


@pytest.mark.timeout(120)
def test_a_year_of_many_products_is_small_exact_and_says_what_is_left_out(settings: Any) -> None:
    gold = GoldOfAYear()
    answers = read_answers(Pipeline(gold, ALL_GOLD, settings))  # type: ignore[arg-type]
    content = {"generated": "2026-01-01T00:00:00+00:00", "answers": answers, "health": None}

    page = rendered(dict(content))

    assert len(page) < MOST_BYTES
    found = content_of(page)["answers"]
    assert (found["days"][-1], len(found["days"]), found["daysCut"]) == ("2025-12-31", 366, 34)
    assert (len(found["categories"]), found["hasOthers"]) == (MOST_CATEGORIES, True)
    assert 40 <= len(found["products"]) <= 60
    first, last = len(found["days"]) - 28, len(found["days"]) - 1
    bounds = f"event_date BETWEEN DATE '{found['days'][first]}' AND DATE '{found['days'][last]}'"
    # Sums are exact, of all categories and of the kept ones.
    sums = categories(content_of(page), first, last)
    exact = gold.connection.execute(
        "SELECT category, CAST(SUM(page_views) AS BIGINT), CAST(SUM(revenue) * 100 AS HUGEINT) "
        f"FROM gold.category_performance WHERE {bounds} GROUP BY category"
    ).fetchall()
    assert {name: sums[name][1] for name, _, _ in exact if name in sums} == {
        name: views for name, views, _ in exact if name in sums
    }
    assert sum(each[6] for each in sums.values()) == sum(cents for _, _, cents in exact)
    # What is certain to be first is what Gold has first, in its order.
    listed = products(content_of(page), first, last)
    best: dict[int, int] = {}
    for day, values in enumerate(found["otherProducts"][first : last + 1]):
        best[day] = max(values[5::6], default=0)
    unlisted = sum(best.values())
    ranked = sorted(((-views, name) for (name, _), (views, *_) in listed.items() if views > unlisted))
    truth = gold.connection.execute(
        f"SELECT product_id, SUM(views) AS views FROM gold.conversion_funnel WHERE {bounds} GROUP BY product_id "
        f"ORDER BY views DESC, product_id LIMIT {len(ranked)}"
    ).fetchall()
    assert [(name, -views) for views, name in ranked] == truth
    assert len(ranked) >= 5


def test_a_page_that_would_be_too_large_leaves_out_its_oldest_days(settings: Any) -> None:
    days = [str(DAY - timedelta(days=number)) for number in reversed(range(300))]
    wide = [[number, "9" * 38] * 300 for number in range(300)]
    answers = {name: wide for name in ("performance", "productDays", "otherProducts", "hours", "activity")}
    distinct = [{"first": first, "last": 299, "users": 1, "sessions": 1, "events": 1} for first in (293, 100)]
    page = rendered(
        {
            "generated": datetime.now(UTC).isoformat(),
            "answers": {**answers, "days": days, "opens": 7, "daysCut": 7, "distinct": distinct},
            "health": None,
        }
    )
    assert len(page) < MOST_BYTES
    found = content_of(page)["answers"]
    assert found["days"] == days[-len(found["days"]) :]
    assert found["daysCut"] == 7 + 300 - len(found["days"])
    assert [len(found[name]) for name in answers] == [len(found["days"])] * 5
    assert [(each["last"] - each["first"], found["days"][each["last"]]) for each in found["distinct"]] == [
        (6, days[-1])
    ]
    assert rows_of_days({"answers": found}, "hours", 2, 0, 0)[0][1] == "9" * 38
