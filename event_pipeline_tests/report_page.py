"""What a written report holds, added up again in plain Python as its script does."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from event_pipeline.rules.accounting import dollars_of

HOSTILE_CATEGORY = "</script><img src=x onerror=alert(1)>&'"
"""Allowed by the contract as it is."""


def content_of(page: str) -> dict[str, Any]:
    """Return the JSON of a page."""
    (found,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    content: dict[str, Any] = json.loads(found)
    return content


def read_report(path: Path) -> dict[str, Any]:
    """Return the JSON of a written report."""
    return content_of(path.read_text(encoding="utf-8"))


def rows_of_days(content: dict[str, Any], name: str, width: int, first: int, last: int) -> list[list[Any]]:
    """Return the rows of a range of days."""
    days = content["answers"][name][first : last + 1]
    return [day[at : at + width] for day in days for at in range(0, len(day), width)]


def categories(content: dict[str, Any], first: int, last: int) -> dict[str, tuple[int, ...]]:
    """Return category -> events, views, carts, removals, purchases, searches and cents."""
    names = [*content["answers"]["categories"], "other categories"]
    sums: dict[str, tuple[int, ...]] = {}
    for category, *values in rows_of_days(content, "performance", 8, first, last):
        before = sums.get(names[category], (0,) * 7)
        sums[names[category]] = tuple(one + int(other) for one, other in zip(before, values, strict=True))
    return sums


def products(content: dict[str, Any], first: int, last: int) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return product and category -> views, carts, purchases and cents, of the products that are listed."""
    names = [*content["answers"]["categories"], "other categories"]
    sums: dict[tuple[str, str], tuple[int, ...]] = {}
    for number, *values in rows_of_days(content, "productDays", 5, first, last):
        name, category = content["answers"]["products"][number]
        before = sums.get((name, names[category]), (0,) * 4)
        sums[name, names[category]] = tuple(one + int(other) for one, other in zip(before, values, strict=True))
    return sums


def revenue_of_hours(content: dict[str, Any], first: int, last: int) -> dict[int, Decimal]:
    """Return hour of the day -> revenue."""
    cents: Counter[int] = Counter()
    for hour, amount, *_ in rows_of_days(content, "hours", 4, first, last):
        cents[hour] += int(amount)
    return {hour: dollars_of(amount) for hour, amount in sorted(cents.items())}
