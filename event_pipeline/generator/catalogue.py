"""The shop's products and searches, and the raw line of an event; shared by both shapes."""

from __future__ import annotations

import json

from event_pipeline.rules.contract import EventType

FIRST_ID = 10_000
IDS = 90_000
"""Users `u_10000` to `u_99999`; the original's sessions likewise."""

CATEGORIES = ("electronics", "clothing", "home", "books", "sports", "toys")
PRODUCTS = tuple(
    (f"p_{thousands}00{number}", category)
    for thousands, category in enumerate(CATEGORIES, start=1)
    for number in range(1, 6)
)
"""(product_id, category), six categories of five products."""

SEARCH_QUERIES = {
    "wireless headphones": "electronics",
    "laptop stand": "electronics",
    "running shoes": "clothing",
    "coffee maker": "home",
    "desk lamp": "home",
    "python books": "books",
    "yoga mat": "sports",
    "board games": "toys",
}
"""Search string -> the matching category."""

QUANTITIES = range(1, 6)


def line_from_event_type(
    event_type: EventType,
    *,
    product: tuple[str, str] | None = None,
    quantity: int | None = None,
    price: str = "null",
    search_query: str | None = None,
) -> str:
    """Return a raw line from its `event_type` to its end, like json.dumps; missing values are null.

    The price is JSON text. The part before it has timestamp, user and session, in this order.
    """
    product_id, category = product or (None, None)
    return (
        f'"event_type": {json.dumps(event_type.name)}, "product_id": {json.dumps(product_id)}, '
        f'"quantity": {json.dumps(quantity)}, "price": {price}, '
        f'"category": {json.dumps(category)}, "search_query": {json.dumps(search_query)}}}'
    )
