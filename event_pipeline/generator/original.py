"""The original shape: a fixed number of events per object, all fields uniform and independent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from event_pipeline.generator.catalogue import (
    FIRST_ID,
    IDS,
    PRODUCTS,
    QUANTITIES,
    SEARCH_QUERIES,
    line_from_event_type,
)
from event_pipeline.generator.options import GeneratorOptions, random_stream
from event_pipeline.rules.contract import ADD_TO_CART, PAGE_VIEW, PURCHASE, REMOVE_FROM_CART, SEARCH
from event_pipeline.rules.hour import Hour

BATCH_EVENTS = 8192
"""Events held as text at a time; 625,000 at once would take 200 MB."""

EVENT_TYPE_TENTHS = {PAGE_VIEW: 5, ADD_TO_CART: 2, REMOVE_FROM_CART: 1, PURCHASE: 1, SEARCH: 1}

_NO_PRICE = ("null",)
_PRICES = tuple(repr(cents / 100) for cents in range(999, 30_000))


def _event_kinds() -> list[tuple[str, tuple[str, ...], str]]:
    """Return (text before the price, prices to choose from, text after it), from which to choose uniformly.

    Each type gets 1,200 entries per tenth of its share: whole multiples of 30 products x 5 quantities and of
    8 searches.
    """
    mark = "PRICE"
    kinds = []
    for event_type, tenths in EVENT_TYPE_TENTHS.items():
        if event_type == SEARCH:
            rests = [line_from_event_type(SEARCH, price=mark, search_query=query) for query in SEARCH_QUERIES]
        elif event_type == PAGE_VIEW:
            rests = [line_from_event_type(PAGE_VIEW, product=product, price=mark) for product in PRODUCTS]
        else:
            rests = [
                line_from_event_type(event_type, product=product, quantity=quantity, price=mark)
                for product in PRODUCTS
                for quantity in QUANTITIES
            ]
        prices = _NO_PRICE if event_type in (SEARCH, PAGE_VIEW) else _PRICES
        split = [rest.partition(mark) for rest in rests]
        kinds += [(before, prices, after) for before, _, after in split] * (tenths * 1200 // len(rests))
    return kinds


_KINDS = _event_kinds()


def original_batches(options: GeneratorOptions, landed: datetime, interval_seconds: int) -> Iterator[list[str]]:
    """Yield the lines of one object in time order, at most BATCH_EVENTS at a time.

    Timestamps increase strictly, one in each of `events_per_file` equal parts of the interval before `landed`, if a
    part is at least a microsecond.
    """
    key = Hour.containing(landed).raw_key(landed)
    window = interval_seconds * 1_000_000
    since = landed - timedelta(seconds=interval_seconds)
    seconds = [f"{since + timedelta(seconds=each):%Y-%m-%dT%H:%M:%S}" for each in range(interval_seconds)]
    ids = range(FIRST_ID, FIRST_ID + IDS)
    events = options.events_per_file
    for first in range(0, events, BATCH_EVENTS):
        stream = random_stream(options.seed, key, first)
        random = stream.random
        size = min(BATCH_EVENTS, events - first)
        edges = [number * window // events for number in range(first, first + size + 1)]
        instants = [
            edge + int(random() * (next_edge - edge)) for edge, next_edge in zip(edges, edges[1:], strict=False)
        ]
        yield [
            f'{{"timestamp": "{seconds[instant // 1_000_000]}.{instant % 1_000_000:06d}+00:00", '
            f'"user_id": "u_{user}", "session_id": "s_{session}", '
            f"{before}{prices[int(random() * len(prices))]}{after}"
            for instant, user, session, (before, prices, after) in zip(
                instants,
                stream.choices(ids, k=size),
                stream.choices(ids, k=size),
                stream.choices(_KINDS, k=size),
                strict=True,
            )
        ]
