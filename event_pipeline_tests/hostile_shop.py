"""A shop made by hand, in which the questions of the query pack meet their edges: ties, bands, gaps, odd records.

Many names are equal in what is counted, and more of them than an answer has rows. They are written in an order that is
not the one of their text.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from event_pipeline.rules.hour import Hour
from event_pipeline_tests.pipeline import event, purchase, write_object

Line = dict[str, Any] | bytes

OCTOBER = Hour.parse("2025-10-31T23")
NOVEMBER = Hour.parse("2025-11-01T00")
"""The next hour, of the same week and another month."""
MONDAY = Hour.parse("2025-11-17T10")
AS_MANY = Hour.parse("2025-11-17T11")
"""An hour with as many records as the one before."""
SUNDAY = Hour.parse("2025-11-23T23")
UNREADABLE = Hour.parse("2025-11-24T01")
"""An hour without a record."""
EVE = Hour.parse("2026-02-01T22")
"""The day before the newest one; no event is of December."""
NEWEST = Hour.parse("2026-02-02T05")

OBJECTS = {OCTOBER: 3, NOVEMBER: 2, MONDAY: 1, AS_MANY: 2, SUNDAY: 1, UNREADABLE: 0, EVE: 2, NEWEST: 2}
"""Landing hour -> objects that can be read."""
NO_GZIP = bytes(range(255, 0, -3))
HOURS = list(OBJECTS)
TIED = range(60, 0, -1)
"""Numbers of names that are equal: more than an answer has rows."""


class Shop:
    """Collects lines by the hour in which they land. Each event has an instant of its own, if none is given."""

    def __init__(self) -> None:
        self.lines: defaultdict[Hour, list[Line]] = defaultdict(list)
        self._milliseconds = count()

    def add(self, hour: Hour, event_type: str = "page_view", **fields: Any) -> None:
        """Add one event."""
        second = next(self._milliseconds) / 1000
        make = purchase if event_type == "purchase" else event
        carried = {"quantity": 1, "price": 1} if "cart" in event_type else {}
        self.lines[hour].append(make(hour, second, event_type=event_type, **(carried | fields)))

    def search(self, hour: Hour, term: str, **fields: Any) -> None:
        """Add one search, which has neither product nor category."""
        self.add(hour, "search", search_query=term, product_id=None, category=None, **fields)


def write_shop(root: Path) -> Sequence[Hour]:
    """Write all raw objects and return their hours."""
    shop = Shop()
    for add in (_equal_products, _unsold_products, _bands, _baskets, _searches, _days, _categories, _accounts):
        add(shop)
    for hour in (OCTOBER, EVE, NEWEST):
        shop.lines[hour].extend(_refused(hour))
    for hour, objects in OBJECTS.items():
        for number in range(objects):
            write_object(root, hour, number, shop.lines[hour][number::objects])
    for hour in (SUNDAY, UNREADABLE):
        write_object(root, hour, 59, NO_GZIP)
    return HOURS


def _equal_products(shop: Shop) -> None:
    """Add products that equal each other in views, carts, revenue, prices and buyers, and some that stand out."""
    for number in TIED:
        fields = {"product_id": f"p_{number}", "user_id": f"u_{number}", "session_id": f"s_{number}"}
        shop.add(EVE, **fields)
        shop.add(EVE, "add_to_cart", **fields)
        for price in (10, 10.5, 10):
            shop.add(EVE, "purchase", quantity=1, price=price, **fields)
    for _ in range(5):
        shop.add(EVE, "purchase", product_id="p_8", user_id="u_robot", session_id="s_robot", quantity=1, price=10)
        shop.add(EVE, product_id="p_9", user_id="u_robot", session_id="s_robot_2")
    shop.add(NOVEMBER, "purchase", product_id="p_7", user_id="u_7", session_id="s_7", quantity=3, price="1.25")
    shop.add(EVE, product_id="p_10", user_id="u_11", session_id="s_11")
    for product_id in "lkjihgfedcba":
        shop.add(NEWEST, "purchase", product_id=product_id, user_id="u_pairs", session_id="s_pairs", price=0)
    for product_id in "bcc":
        shop.add(NEWEST, "purchase", product_id=product_id, user_id="u_pairs", session_id="s_pairs_2", price=0.01)


def _unsold_products(shop: Shop) -> None:
    """Add products that are equal in views, in carts that are left, and in removals."""
    for number in TIED:
        fields = {"product_id": f"unsold_{number}", "user_id": f"u_{number}"}
        for session in ("s_look", "s_look_again"):
            shop.add(NEWEST, session_id=session, **fields)
        for event_type in ("add_to_cart", "remove_from_cart"):
            shop.add(NEWEST, event_type, session_id=f"s_left_{number}", **fields)
    for number, on_eve, on_newest in ((1, 1, 0), (2, 4, 3), (3, 0, 1)):
        for hour, views in ((EVE, on_eve), (NEWEST, on_newest)):
            for _ in range(views):
                shop.add(hour, product_id=f"unsold_{number}", user_id="u_looks", session_id="s_looks")
    shop.add(EVE, product_id="unsold_4", timestamp="2026-01-31T12:00:00Z", user_id="u_looks", session_id="s_looks_4")
    shop.add(NEWEST, "remove_from_cart", product_id="unsold_5", user_id="u_looks", session_id="s_looks")
    shop.add(NEWEST, "remove_from_cart", product_id="never_in_cart", user_id="u_looks", session_id="s_looks")
    # Left in one cart, bought from another one, and bought without a cart.
    for session_id, event_types in {
        "s_leaves": ["add_to_cart", "add_to_cart"],
        "s_buys": ["add_to_cart", "purchase"],
        "s_buys_at_once": ["purchase"],
    }.items():
        for event_type in event_types:
            shop.add(NEWEST, event_type, product_id="half_left", user_id="u_looks", session_id=session_id)
    for _ in range(2):
        shop.add(NEWEST, "purchase", product_id="at_once", user_id="u_looks", session_id="s_buys_at_once")
    # One product in two categories: bought in one, equal in what it earned in two others.
    shop.add(NEWEST, product_id="two", category="toys", user_id="u_looks", session_id="s_two")
    shop.add(NEWEST, product_id="two", category="books", user_id="u_looks", session_id="s_two")
    for category in ("sports", "Home"):
        shop.add(EVE, "purchase", product_id="two", category=category, user_id="u_looks", session_id="s_two", price=40)


def _bands(shop: Shop) -> None:
    """Add people and sessions at both sides of each edge of a band of counts."""
    for views in (1, 2, 5, 6, 20, 21):
        for _ in range(views):
            shop.add(OCTOBER, user_id=f"u_views_{views}", session_id=f"s_events_{views}", product_id="p_banded")
    for times in (1, 2, 3, 4):
        for number in range(times):
            fields = {"user_id": f"u_buys_{times}", "session_id": f"s_buys_{times}_{number}"}
            shop.add(OCTOBER, "purchase", product_id="p_banded", price=7, **fields)


def _baskets(shop: Shop) -> None:
    """Add sessions that spend what a band of baskets begins with, and a cent less."""
    for value in ("0", "49.99", "50", "99.99", "100", "249.99", "250", "499.99", "500"):
        fields = {"user_id": f"u_basket_{value}", "session_id": f"s_basket_{value}", "product_id": "p_banded"}
        shop.add(OCTOBER, "purchase", price=value, quantity=1, **fields)
    for price, quantity in ((25, 2), (12.5, 4)):
        fields = {"user_id": "u_basket", "session_id": "s_basket", "product_id": "p_banded"}
        shop.add(OCTOBER, "purchase", price=price, quantity=quantity, **fields)


def _searches(shop: Shop) -> None:
    """Add terms that are equal in searches, and purchases before, at and after the instant of a search."""
    for number in TIED:
        shop.search(NEWEST, f"term {number}", user_id=f"u_{number}", session_id=f"s_term_{number}")
    for term, user_id in (("Äpfel", "u_1"), ("äpfel", "u_1"), ("ÄPFEL ", "u_2")):
        shop.search(NEWEST, term, user_id=user_id, session_id="s_apples")
    searched = "2026-02-02T05:30:00.500Z"
    for term, sessions, bought in (
        ("before", 2, "2026-02-02T05:30:00.499Z"),
        ("at once", 3, searched),
        ("after", 4, "2026-02-02T05:30:00.501Z"),
    ):
        for number in range(sessions):
            fields = {"user_id": "u_searches", "session_id": f"s_{sessions}_{number}"}
            shop.search(NEWEST, term, timestamp=searched, **fields)
            shop.add(NEWEST, "purchase", timestamp=bought, price=0, product_id="p_found", **fields)
    # The first is followed by a purchase after midnight, the second only by the one of another session.
    shop.search(OCTOBER, "midnight", user_id="u_night", session_id="s_night")
    shop.search(OCTOBER, "midnight", user_id="u_night", session_id="s_night_2")


def _days(shop: Shop) -> None:
    """Add sessions over midnight, people who come back, and events that land late or just before their day."""
    night = {"user_id": "u_night", "session_id": "s_night"}
    shop.add(OCTOBER, "add_to_cart", product_id="p_night", **night)
    shop.add(NOVEMBER, "add_to_cart", product_id="p_night", **night)
    shop.add(NOVEMBER, "purchase", product_id="p_night", price=30, **night)
    left = {"user_id": "u_leaves", "session_id": "s_night_left"}
    shop.add(OCTOBER, "add_to_cart", product_id="p_night", **left)
    shop.add(NOVEMBER, "add_to_cart", product_id="p_night", **left)
    shop.add(OCTOBER, timestamp="2025-11-01T00:04:59.999Z", user_id="u_early", session_id="s_early")
    for hour in (OCTOBER, NOVEMBER, MONDAY, SUNDAY, NEWEST):
        shop.add(hour, user_id="u_returns", session_id=f"s_returns_{hour}")
    for hour in (NOVEMBER, SUNDAY):
        shop.add(hour, "purchase", price=20, quantity=1, user_id="u_returns", session_id="s_returns")
    # Seven days before the newest day, which is one too many, and six days; also another week and another month.
    for day, price in (("2026-01-26", 1000), ("2026-01-27", 5), ("2026-01-31", 5), ("2026-02-01", 5)):
        shop.add(
            NEWEST,
            "purchase",
            timestamp=f"{day}T06:00:00+00:00",
            price=price,
            category="Garden",
            product_id="p_late",
            user_id="u_late",
            session_id=f"s_late_{day}",
        )
    shop.add(NEWEST, timestamp="2026-02-02T01:00:00Z", user_id="u_late", session_id="s_late_same_day")


def _categories(shop: Shop) -> None:
    """Add categories that are equal in revenue and conversion, some of them without views or without purchases."""
    for category in ("beta", "alpha"):
        fields = {"category": category, "product_id": f"p_{category}", "user_id": "u_looks", "session_id": "s_equal"}
        for _ in range(3):
            shop.add(NEWEST, **fields)
        shop.add(NEWEST, "purchase", price=15, **fields)
    for category in ("unseen", "not seen"):
        fields = {"category": category, "product_id": f"p_{category[0]}", "user_id": "u_looks"}
        shop.add(NEWEST, "purchase", price=15, session_id="s_unseen", **fields)
    for event_type in ("page_view", "remove_from_cart"):
        shop.add(NEWEST, event_type, category=event_type, product_id="p_unsold", user_id="u_looks", session_id="s_none")


def _accounts(shop: Shop) -> None:
    """Add records that are sent twice, and two hours with equally many records."""
    repeated = event(OCTOBER, user_id="u_twice", session_id="s_twice")
    shop.lines[OCTOBER] += [repeated] * 4
    # A later hour does not know it: it is one event of each hour.
    shop.lines[NOVEMBER] += [repeated] * 2
    for hour in (MONDAY, AS_MANY):
        while len(shop.lines[hour]) < 8:
            shop.add(hour, user_id="u_fills", session_id="s_fills")


def _refused(hour: Hour) -> Iterator[Line]:
    """Give records that are refused; prices and quantities of purchases are plain, odd or absent."""
    nobody = purchase(hour, user_id=None)
    no_session = purchase(hour, session_id="not an id")
    for price, quantity in (
        (10, 2),
        ("7.5", "3"),
        (0, 1),
        ("99999999.99", 999_999),
        (100_000_000, 1),
        (9.99, 1_000_000),
        (9.999, 1),
        (-3, 1),
        ("+3", 1),
        ("1,50", 1),
        (" 9.99", 1),
        ("9.99\n", 1),
        ("9.", 1),
        (".5", 1),
        ("\u0663", 1),
        ("free", 1),
        (True, 1),
        (None, 1),
        ([5], 1),
        (5, 0),
        (5, -1),
        (5, 1.5),
        (5, "two"),
        (5, "01"),
        (5, None),
        (5, {"of": 1}),
    ):
        yield nobody | {"price": price, "quantity": quantity}
    # As much as above, of another reason.
    yield no_session | {"price": "99999999.99", "quantity": 999_999}
    yield no_session | {"price": 42.5, "quantity": 1, "event_type": " PURCHASE"}
    yield no_session | {"price": 42.5, "quantity": 1, "event_type": "add_to_cart"}
    yield no_session | {"price": 42.5, "quantity": 1, "event_type": "purchased"}
    yield no_session | {"price": 42.5, "quantity": 1, "event_type": None}
    yield purchase(hour, timestamp="2020-01-01T00:00:00Z", price=1, quantity=1)
    yield purchase(hour, timestamp="yesterday", price=2, quantity=1)
    yield purchase(hour, product_id=None, price=0, quantity=1)
    yield purchase(hour, category="{}", price=1, quantity=1)
    yield json.dumps(nobody).encode()[:-1] + b', "huge": 1e999}'
    yield json.dumps(nobody).encode()[:-1]
    yield json.dumps(nobody).encode() + b"\xff"
