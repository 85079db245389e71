"""The realistic shape: an endless stream of user sessions, from which each object takes its interval.

The sessions that start in a second are determined by (seed, event rate, second). So a session may continue in the next
object, and each object can still be created without the others: the sessions of the LONGEST_SESSION seconds before it
are planned again. Consecutive objects share that work.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from event_pipeline.generator.catalogue import (
    CATEGORIES,
    FIRST_ID,
    IDS,
    PRODUCTS,
    SEARCH_QUERIES,
    line_from_event_type,
)
from event_pipeline.generator.options import GeneratorOptions, random_stream
from event_pipeline.rules.contract import ADD_TO_CART, PAGE_VIEW, PURCHASE, REMOVE_FROM_CART, SEARCH, EventType

LONGEST_SESSION = 900
"""Seconds after which a visitor is gone, with or without a full cart."""

EVENTS_PER_SESSION = 5.475
"""Measured mean that converts the event rate to a session rate; a test checks it against `plan_session`."""

BATCH_EVENTS = 4096
"""Events after which a batch is yielded, completed with the rest of its last second."""

# Visitors per UTC hour of a shop with customers in Europe and America; only the proportions count.
_HOUR_WEIGHTS = (
    62,
    50,
    40,
    33,
    30,
    34,
    46,
    66,
    84,
    96,
    104,
    110,
    116,
    118,
    120,
    124,
    130,
    142,
    158,
    172,
    176,
    160,
    124,
    88,
)

_LOYALTY = 3
"""Exponent of the visitor ranks' distribution: one user in a hundred makes a fifth of all visits."""
_SCATTER = 7919
"""Coprime to IDS: spreads loyal users over the id range instead of giving them the lowest ids."""

_SEARCH_FIRST = 0.22
_SAME_CATEGORY = 0.6
_LEAVE = 0.3
_REMOVE = 0.25
_THINK_MICROSECONDS = 90_000_000
_QUANTITIES = (1, 1, 1, 1, 1, 1, 2, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Product:
    """One product, with precomputed ends of its lines."""

    product_id: str
    category: str
    price: float
    """USD, the same in every event."""
    popularity: int
    """Weight among all products."""
    view_to_cart: float
    """Probability that a view leads to the cart."""
    cart_to_purchase: float
    """Probability that a cart item is bought; it may also be removed or left behind."""
    lines: dict[EventType, str] = field(compare=False)
    """Event type -> rest of the line, for page_view and search."""
    cart_lines: dict[EventType, dict[int, str]] = field(compare=False)
    """Event type -> quantity -> rest of the line."""


# (price, popularity, view_to_cart, cart_to_purchase), in the order of PRODUCTS
_FIGURES = (
    (249.99, 100, 0.12, 0.44), (89.95, 74, 0.21, 0.55), (34.90, 52, 0.31, 0.66),
    (179.00, 24, 0.10, 0.38), (12.99, 15, 0.36, 0.78),
    (59.95, 66, 0.24, 0.42), (24.50, 45, 0.30, 0.51), (119.00, 21, 0.13, 0.33),
    (39.99, 13, 0.22, 0.47), (84.90, 9, 0.16, 0.36),
    (44.99, 39, 0.19, 0.58), (129.90, 30, 0.11, 0.41), (19.95, 18, 0.28, 0.69),
    (74.50, 11, 0.15, 0.52), (219.00, 7, 0.07, 0.31),
    (29.90, 58, 0.34, 0.74), (17.99, 35, 0.38, 0.81), (42.00, 17, 0.26, 0.68),
    (9.99, 12, 0.41, 0.84), (64.95, 6, 0.18, 0.57),
    (27.95, 48, 0.27, 0.62), (139.99, 27, 0.12, 0.37), (54.90, 16, 0.20, 0.50),
    (15.50, 10, 0.33, 0.72), (299.99, 5, 0.05, 0.27),
    (22.99, 42, 0.29, 0.64), (49.95, 25, 0.17, 0.53), (14.90, 14, 0.35, 0.76),
    (69.99, 8, 0.14, 0.46), (99.00, 4, 0.08, 0.35),
)  # fmt: skip


def _products() -> tuple[Product, ...]:
    products = []
    for number, (product, (price, popularity, view_to_cart, cart_to_purchase)) in enumerate(
        zip(PRODUCTS, _FIGURES, strict=True)
    ):
        product_id, category = product
        queries = [query for query, answer in SEARCH_QUERIES.items() if answer == category]
        products.append(
            Product(
                product_id,
                category,
                price,
                popularity,
                view_to_cart,
                cart_to_purchase,
                lines={
                    PAGE_VIEW: line_from_event_type(PAGE_VIEW, product=product),
                    SEARCH: line_from_event_type(SEARCH, search_query=queries[number % len(queries)]),
                },
                cart_lines={
                    event_type: {
                        quantity: line_from_event_type(
                            event_type, product=product, quantity=quantity, price=json.dumps(price)
                        )
                        for quantity in set(_QUANTITIES)
                    }
                    for event_type in (ADD_TO_CART, REMOVE_FROM_CART, PURCHASE)
                },
            )
        )
    return tuple(products)


REALISTIC_PRODUCTS = _products()
# A product is in its list as often as its weight, so that one uniform draw chooses by popularity.
_POPULAR = [product for product in REALISTIC_PRODUCTS for _ in range(product.popularity)]
_POPULAR_IN = {category: [each for each in _POPULAR if each.category == category] for category in CATEGORIES}


def traffic(instant: float) -> float:
    """Return the visitors at an instant (seconds since 1970) as a multiple of the day's mean."""
    hour, part = divmod(instant % 86_400 / 3600, 1)
    here, there = _HOUR_WEIGHTS[int(hour)], _HOUR_WEIGHTS[(int(hour) + 1) % 24]
    return (here + (there - here) * part) * 24 / sum(_HOUR_WEIGHTS)


def plan_session(random: Callable[[], float]) -> list[tuple[int, str]]:
    """Return the events of one session: (microseconds after the second in which it starts, rest of the line).

    A search comes before the resulting view, a view before its cart, a cart before its purchase or removal.
    """
    events = []
    clock = int(random() * 1_000_000)
    cart = []
    category = _POPULAR[int(random() * len(_POPULAR))].category
    browsing = True
    while browsing:
        choice = _POPULAR_IN[category] if random() < _SAME_CATEGORY else _POPULAR
        product = choice[int(random() * len(choice))]
        category = product.category
        if random() < _SEARCH_FIRST:
            events.append((clock, product.lines[SEARCH]))
            clock += 1 + int(_THINK_MICROSECONDS * random() * random())
        events.append((clock, product.lines[PAGE_VIEW]))
        clock += 1 + int(_THINK_MICROSECONDS * random() * random())
        if random() < product.view_to_cart:
            quantity = _QUANTITIES[int(random() * len(_QUANTITIES))]
            events.append((clock, product.cart_lines[ADD_TO_CART][quantity]))
            clock += 1 + int(_THINK_MICROSECONDS * random() * random())
            cart.append((product, quantity))
        browsing = random() >= _LEAVE
    for product, quantity in cart:
        chance = random()
        if chance < product.cart_to_purchase:
            events.append((clock, product.cart_lines[PURCHASE][quantity]))
        elif chance < product.cart_to_purchase + _REMOVE:
            events.append((clock, product.cart_lines[REMOVE_FROM_CART][quantity]))
        clock += 1 + int(_THINK_MICROSECONDS * random() * random())
    return [event for event in events if event[0] < LONGEST_SESSION * 1_000_000]


class SessionStream:
    """The stream of one seed and event rate, read second by second; consecutive seconds are cheaper than jumps."""

    def __init__(self, seed: int, events_per_second: float) -> None:
        self._seed = seed
        self._sessions_per_second = events_per_second / EVENTS_PER_SESSION
        self._pending: defaultdict[int, list[tuple[int, str, str]]] = defaultdict(list)
        self._read_to = 0
        self._planned_to = 0
        self._noise = (-1, 1.0)

    def lines(self, second: int) -> list[str]:
        """Return the lines of one second (since 1970), timestamps strictly increasing."""
        if second < self._read_to or second - self._planned_to > LONGEST_SESSION:
            self._pending.clear()
            self._planned_to = second - LONGEST_SESSION
        for start in range(self._planned_to, second + 1):
            self._plan(start, keep_from=second)
        self._planned_to = max(self._planned_to, second + 1)
        if second != self._read_to:
            for passed in [each for each in self._pending if each < second]:
                del self._pending[passed]
        self._read_to = second + 1
        return render_second(second, self._pending.pop(second, []))

    def _plan(self, second: int, keep_from: int) -> None:
        random = random_stream(self._seed, "sessions", second).random
        expected = self._sessions_per_second * traffic(second) * self._minute_noise(second // 60)
        for number in range(int(expected + random())):
            user = FIRST_ID + int(IDS * random() ** _LOYALTY) * _SCATTER % IDS
            visitor = f'"user_id": "u_{user}", "session_id": "s_{second:08x}{number:04x}", '
            for offset, rest in plan_session(random):
                later, microsecond = divmod(offset, 1_000_000)
                if second + later >= keep_from:
                    self._pending[second + later].append((microsecond, visitor, rest))

    def _minute_noise(self, minute: int) -> float:
        if self._noise[0] != minute:
            self._noise = (minute, random_stream(self._seed, "minute", minute).uniform(0.9, 1.1))
        return self._noise[1]


def render_second(second: int, events: list[tuple[int, str, str]]) -> list[str]:
    """Return the lines of (microsecond, visitor, rest of the line), in order, separating equal microseconds."""
    events.sort()
    instants = [event[0] for event in events]
    if any(earlier == later for earlier, later in pairwise(instants)):
        for index in range(1, len(instants)):
            instants[index] = max(instants[index], instants[index - 1] + 1)
        if instants[-1] > 999_999:
            instants = [index * 1_000_000 // len(events) for index in range(len(events))]
    stamp = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
    return [
        f'{{"timestamp": "{stamp}.{instant:06d}+00:00", {visitor}{rest}'
        for instant, (_, visitor, rest) in zip(instants, events, strict=True)
    ]


def realistic_batches(stream: SessionStream, landed: datetime, interval_seconds: int) -> Iterator[list[str]]:
    """Yield the lines of one object in time order, a few thousand at a time; a quiet interval has none."""
    end = int(landed.timestamp())
    batch: list[str] = []
    for second in range(end - interval_seconds, end):
        batch += stream.lines(second)
        if len(batch) >= BATCH_EVENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def session_stream(options: GeneratorOptions, interval_seconds: int) -> SessionStream:
    """Return the stream whose intervals have `events_per_file` events on average over a day."""
    return SessionStream(options.seed, options.events_per_file / interval_seconds)
