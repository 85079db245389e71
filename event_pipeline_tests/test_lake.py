"""The published data as data frames, and the notebook that shows them."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from event_pipeline import open_lake
from event_pipeline.errors import QueryError, StorageError
from event_pipeline.lake import Lake
from event_pipeline.settings import SettingsError
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOK = DOCS / "notebooks" / "first_look.ipynb"
DAYS = (date(2025, 12, 7), date(2025, 12, 8))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two hours on two days: one person comes back, and buys on both."""
    hours = (HOUR, HOUR.plus(3))
    for hour in hours:
        write_object(tmp_path, hour, 0, [event(hour, user_id="u_1"), purchase(hour, 1, user_id="u_1", price=0.1)])
    write_object(tmp_path, hours[1], 5, [purchase(hours[1], 2, user_id="u_2", price=0.2), b"{"])
    opened = open_lake(tmp_path, workers=1)
    build(opened._pipeline.engine, hours)
    return opened


@pytest.mark.frames
def test_frames_have_exact_money_nullable_integers_and_utc(lake: Lake) -> None:
    import polars as pl

    events = lake.query("SELECT event_ts, quantity, price FROM silver.events ORDER BY event_ts")
    frame = events.pandas()
    assert list(map(str, frame.dtypes)) == ["datetime64[us, UTC]", "Int32", "object"]
    assert frame["event_ts"][0] == HOUR.start
    assert frame["quantity"].isna().tolist() == [True, False, True, False, False]
    assert set(frame["price"].dropna()) == {Decimal("0.10"), Decimal("0.20")}
    assert events.polars().schema["event_ts"] == pl.Datetime("us", "UTC")
    assert pl.DataFrame(events).height == len(events) == 5


def test_a_table_has_all_days_or_those_asked_for(lake: Lake) -> None:
    def days(name: str, *asked: Any) -> list[date]:
        return sorted(set(lake.table(name, *asked).arrow["event_date"].to_pylist()))

    assert days("gold.hourly_revenue") == list(DAYS)
    assert days("hourly_revenue", DAYS[1]) == [DAYS[1]]
    assert days("hourly_revenue", ("2025-12-01", DAYS[0])) == [DAYS[0]]
    assert days("silver.events", datetime(2025, 12, 8, 12, tzinfo=UTC)) == [DAYS[1]]
    assert lake.table("silver.quarantine", "2025-12-08").arrow["record"].to_pylist() == ["{"]
    assert len(lake.table("ops.hour_ledger", "2025-12-07")) == 1


def test_an_answer_counts_a_person_of_two_days_once(lake: Lake) -> None:
    (row,) = lake.answer("user_activity", *DAYS).arrow.to_pylist()
    assert row["unique_users"] == 2
    assert [each["unique_users"] for each in lake.table("user_activity").arrow.to_pylist()] == [1, 2]
    (category,) = lake.answer("gold.category_performance", "2025-12-07", "2025-12-08").arrow.to_pylist()
    assert category["revenue"] == Decimal("0.80")
    assert lake.answer("category_performance", DAYS[0]).arrow["revenue"].to_pylist() == [Decimal("0.20")]


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (lambda lake: lake.table("top_product"), r"no table is named 'top_product': choose from gold\.category"),
        (lambda lake: lake.table("top_products", "yesterday"), r"'yesterday' is no day: give a date, or a text such"),
        (lambda lake: lake.table("top_products", 20251207), r"20251207 is no day"),
        (
            lambda lake: lake.table("top_products", ("2025-12-07",)),
            r"\('2025-12-07',\) are no days: give one, or a pair",
        ),
        (lambda lake: lake.answer("top_products", *DAYS[::-1]), r"2025-12-08 is after 2025-12-07"),
        (lambda lake: lake.answer("silver.events", *DAYS), r"no Gold table is named 'silver\.events': choose from"),
        (lambda lake: lake.query("DELETE FROM silver.events"), r"SELECT"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(lake: Lake, asked: Any, fault: str) -> None:
    with pytest.raises(QueryError, match=fault):
        asked(lake)


def test_a_wrong_setting_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EVENT_PIPELINE_COLOUR"):
        open_lake(colour="red")
    with pytest.raises(StorageError, match="nowhere is no folder: give the data folder"):
        open_lake(tmp_path / "nowhere")


def test_nanoseconds_stay(lake: Lake) -> None:
    found = lake.query(
        "SELECT TIMESTAMP_NS '2025-12-07 22:00:00.123456789' AS a, TIMESTAMP_NS '2025-12-07 22:00:00' AS b"
    )
    assert [str(field.type) for field in found.arrow.schema] == ["timestamp[ns, tz=UTC]", "timestamp[us, tz=UTC]"]


def test_other_tools_read_rows_through_arrow(lake: Lake) -> None:
    with duckdb.connect() as connection:
        connection.register("rows", lake.table("hourly_revenue").arrow)
        assert connection.sql("SELECT sum(total_revenue) FROM rows").fetchall() == [(Decimal("0.80"),)]


@pytest.mark.frames
def test_the_notebook_runs_on_built_data(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(tmp_path))
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # the committed file holds no data
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name} {cell['id']}", "exec"), names)  # noqa: S102
    assert names["whole"]["unique_users"].tolist() == [2]
    assert names["revenue"]["total_revenue"].sum() == Decimal("0.80")
    drawn = [bar.get_height() for bar in names["plt"].figure(1).axes[0].patches]
    assert drawn == pytest.approx([0.2, 0.6])
    names["plt"].close("all")


@pytest.mark.frames
def test_the_page_of_tools_shows_calls_that_work(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(tmp_path))
    (shown,) = re.findall(r"```python\n(.*?)```", (DOCS / "bi.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(shown, "bi.md", "exec"), names)  # noqa: S102
    assert names["revenue"]["total_revenue"].sum() == Decimal("0.80")
    assert names["users"]["unique_users"].to_list() == [2]
    assert {row["event_type"]: row["events"] for row in names["events"].to_pylist()} == {"page_view": 2, "purchase": 3}
