"""The answers to the questions of the query pack a second time: plain Python, from what raw objects must become.

Each function counts what the title of its question asks for, from events, refused records and the accounts of landing
hours. Gold is not read here, so a wrong statement and a wrong Gold table both show.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Any

from event_pipeline_tests import oracle
from event_pipeline_tests.oracle import Row, of_type, ratio, revenue_of

Facts = oracle.Expected
"""What a raw folder must become."""

DAY = timedelta(days=1)
LONG_LIST = 50
SHORT_LIST = 20
NOT_READABLE = ("not_json", "too_long")
"""Reasons of records that have no fields."""
PLAIN_PRICE = re.compile("[0-9]{1,8}(?:[.][0-9]{1,2})?")
PLAIN_QUANTITY = re.compile("[1-9][0-9]{0,5}")


# --- What several questions need ----------------------------------------------------------------------------


def together(rows: Iterable[Row], *names: str) -> Iterator[tuple[Any, list[Row]]]:
    """Give (value, its rows) of one column, or (values, their rows) of several, in order."""
    groups: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        values = tuple(row[name] for name in names)
        groups[values if len(values) > 1 else values[0]].append(row)
    return iter(sorted(groups.items()))


def purchases_of(facts: Facts) -> list[Row]:
    """Return all purchases."""
    return of_type(facts.silver, "purchase")


def with_product(facts: Facts) -> list[Row]:
    """Return all events but searches."""
    return [row for row in facts.silver if row["event_type"] != "search"]


def items_of(rows: Iterable[Row]) -> int:
    """Add up the items of the purchases among rows."""
    return sum(row["quantity"] for row in of_type(rows, "purchase"))


def different(rows: Iterable[Row], name: str) -> int:
    """Count the different values of a column."""
    return len({row[name] for row in rows})


def monday_of(day: date) -> date:
    """Return the Monday of a day's week."""
    return day - day.weekday() * DAY


def month_of(day: date) -> date:
    """Return the first day of a day's month."""
    return day.replace(day=1)


def newest_day(facts: Facts) -> date:
    """Return the last day that has an event."""
    newest: date = max(row["event_date"] for row in facts.silver)
    return newest


def first_days(facts: Facts) -> dict[str, date]:
    """Return the day on which each person came first."""
    first: dict[str, date] = {}
    for row in facts.silver:
        first[row["user_id"]] = min(row["event_date"], first.get(row["user_id"], date.max))
    return first


def most(rows: Iterable[Row], measure: str, *names: str, limit: int | None = None) -> list[Row]:
    """Return the rows with the most of a measure first; equal ones in the order of their names."""
    return sorted(rows, key=lambda row: (-row[measure], *(row[name] for name in names)))[:limit]


def in_bands(amounts: Iterable[Any], band_of: Callable[[Any], str], bands: Iterable[str]) -> list[tuple[str, int, Any]]:
    """Return (band, how many amounts are in it, their sum) of the bands that have any, from the lowest."""
    inside: defaultdict[str, list[Any]] = defaultdict(list)
    for amount in amounts:
        inside[band_of(amount)].append(amount)
    return [(band, len(inside[band]), sum(inside[band])) for band in bands if inside[band]]


COUNT_BANDS = ("1", "2-5", "6-20", "21+")


def count_band(count: int) -> str:
    """Return the band of a count of views or events."""
    if count == 1:
        return "1"
    if count in range(2, 6):
        return "2-5"
    return "6-20" if count in range(6, 21) else "21+"


# --- Revenue ------------------------------------------------------------------------------------------------


def revenue_by_day(facts: Facts) -> list[Row]:
    """Add up the purchases of each day that has some."""
    return [
        {"event_date": day, "revenue": revenue_of(rows), "purchases": len(rows), "items_sold": items_of(rows)}
        for day, rows in together(purchases_of(facts), "event_date")
    ]


def revenue_week_over_week(facts: Facts) -> list[Row]:
    """Compare each week with the one that ended where it began."""
    return differences(facts, "week", monday_of)


def revenue_month_over_month(facts: Facts) -> list[Row]:
    """Compare each month with the one that ended where it began."""
    return differences(facts, "month", month_of)


def differences(facts: Facts, name: str, start_of: Callable[[date], date]) -> list[Row]:
    """Add up what each period earned; a period without purchases before it gives no difference."""
    earned: defaultdict[date, Decimal] = defaultdict(Decimal)
    for row in purchases_of(facts):
        earned[start_of(row["event_date"])] += row["revenue"]
    result = []
    for start, revenue in sorted(earned.items()):
        before = earned.get(start_of(start - DAY))
        result.append({name: start, "revenue": revenue, "difference": None if before is None else revenue - before})
    return result


def revenue_by_weekday(facts: Facts) -> list[Row]:
    """Add up the purchases of Mondays, Tuesdays and so on, and count the days among them that have some."""
    by_weekday: defaultdict[int, list[Row]] = defaultdict(list)
    for row in purchases_of(facts):
        by_weekday[row["event_date"].isoweekday()].append(row)
    return [
        {"weekday": weekday, "days": different(rows, "event_date"), "revenue": revenue_of(rows)}
        for weekday, rows in sorted(by_weekday.items())
    ]


def revenue_by_hour_of_day(facts: Facts) -> list[Row]:
    """Add up the purchases of each hour of the day."""
    by_hour: defaultdict[int, list[Row]] = defaultdict(list)
    for row in purchases_of(facts):
        by_hour[row["event_ts"].hour].append(row)
    return [
        {
            "event_hour": hour,
            "revenue": revenue_of(rows),
            "purchases": len(rows),
            "days_with_purchases": different(rows, "event_date"),
        }
        for hour, rows in sorted(by_hour.items())
    ]


# --- Categories and products --------------------------------------------------------------------------------


def best_category_last_week(facts: Facts) -> list[Row]:
    """Rank the categories that have an event on the newest day or the six days before it."""
    days = {newest_day(facts) - ago * DAY for ago in range(7)}
    recent = [row for row in with_product(facts) if row["event_date"] in days]
    found = [
        {"category": category, "revenue": revenue_of(rows), "purchases": len(of_type(rows, "purchase"))}
        for category, rows in together(recent, "category")
    ]
    return most(found, "revenue", "category")


def category_share_of_revenue(facts: Facts) -> list[Row]:
    """Divide what each category earned by what all purchases earned."""
    total = revenue_of(facts.silver)
    found = [
        {
            "category": category,
            "revenue": revenue_of(rows),
            "share": float(revenue_of(rows) / total) if total else None,
        }
        for category, rows in together(with_product(facts), "category")
    ]
    return most(found, "revenue", "category")


def category_conversion(facts: Facts) -> list[Row]:
    """Divide purchases by views; categories without views come last."""
    found = []
    for category, rows in together(with_product(facts), "category"):
        views, purchases = len(of_type(rows, "page_view")), len(of_type(rows, "purchase"))
        found.append(
            {
                "category": category,
                "page_views": views,
                "purchases": purchases,
                "purchases_per_view": ratio(purchases, views),
            }
        )
    viewed = most((row for row in found if row["page_views"]), "purchases_per_view", "category")
    return viewed + [row for row in found if not row["page_views"]]


def best_selling_products(facts: Facts) -> list[Row]:
    """Rank all products by what they earned; one of two categories stands under each."""
    found = []
    for (product_id, category), rows in together(with_product(facts), "product_id", "category"):
        items, revenue = items_of(rows), revenue_of(rows)
        found.append(
            {
                "product_id": product_id,
                "category": category,
                "revenue": revenue,
                "items_sold": items,
                "revenue_per_item": float(revenue / items) if items else None,
            }
        )
    return most(found, "revenue", "product_id", "category", limit=LONG_LIST)


def viewed_but_never_bought(facts: Facts) -> list[Row]:
    """Rank the products that nobody bought in that category."""
    found = [
        {
            "product_id": product_id,
            "category": category,
            "views": len(of_type(rows, "page_view")),
            "add_to_carts": len(of_type(rows, "add_to_cart")),
        }
        for (product_id, category), rows in together(with_product(facts), "product_id", "category")
        if not of_type(rows, "purchase")
    ]
    return most(found, "views", "product_id", "category", limit=LONG_LIST)


def product_day_over_day(facts: Facts) -> list[Row]:
    """Rank the products of the newest two days by the views that they gained, or lost."""
    newest = newest_day(facts)
    recent = [row for row in with_product(facts) if row["event_date"] in (newest, newest - DAY)]
    found = []
    for (product_id, category), rows in together(recent, "product_id", "category"):
        views = Counter(row["event_date"] for row in of_type(rows, "page_view"))
        found.append(
            {
                "product_id": product_id,
                "category": category,
                "views": views[newest],
                "views_before": views[newest - DAY],
            }
        )
    found.sort(key=lambda row: (row["views_before"] - row["views"], row["product_id"], row["category"]))
    return found[:LONG_LIST]


def unique_viewers_by_product(facts: Facts) -> list[Row]:
    """Count the people who viewed and who bought each product."""
    found = [
        {"product_id": product_id, "viewers": people(rows, "page_view"), "buyers": people(rows, "purchase")}
        for product_id, rows in together(with_product(facts), "product_id")
    ]
    return most(found, "viewers", "product_id", limit=LONG_LIST)


def several_prices(facts: Facts) -> list[Row]:
    """Count the different prices of each product that was sold."""
    found = []
    for product_id, rows in together(purchases_of(facts), "product_id"):
        prices = {row["price"] for row in rows}
        found.append(
            {"product_id": product_id, "prices": len(prices), "lowest": min(prices), "highest": max(prices)},
        )
    return most(found, "prices", "product_id", limit=LONG_LIST)


# --- People -------------------------------------------------------------------------------------------------


def people(rows: Iterable[Row], event_type: str) -> int:
    """Count the people who did something."""
    return different(of_type(rows, event_type), "user_id")


def views_per_user(facts: Facts) -> list[Row]:
    """Put people into bands by their views."""
    views = Counter(row["user_id"] for row in of_type(facts.silver, "page_view"))
    return [
        {"band": band, "users": users, "views_in_band": total}
        for band, users, total in in_bands(views.values(), count_band, COUNT_BANDS)
    ]


def funnel_in_users(facts: Facts) -> list[Row]:
    """Count the people of each day who viewed, put into a cart and bought."""
    return [
        {
            "event_date": day,
            "viewers": people(rows, "page_view"),
            "with_cart": people(rows, "add_to_cart"),
            "buyers": people(rows, "purchase"),
        }
        for day, rows in together(facts.silver, "event_date")
    ]


def repeat_buyers(facts: Facts) -> list[Row]:
    """Put buyers into bands by how often they bought."""
    times: Counter[str] = Counter()
    spent: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in purchases_of(facts):
        times[row["user_id"]] += 1
        spent[row["user_id"]] += row["revenue"]
    bands = {
        "1": [user for user, count in times.items() if count == 1],
        "2": [user for user, count in times.items() if count == 2],
        "3+": [user for user, count in times.items() if count > 2],
    }
    return [
        {"band": band, "users": len(users), "revenue": sum(spent[user] for user in users)}
        for band, users in bands.items()
        if users
    ]


def weekly_active_users(facts: Facts) -> list[Row]:
    """Count the people of each week."""
    return active_users(facts, "week", monday_of)


def monthly_active_users(facts: Facts) -> list[Row]:
    """Count the people of each month."""
    return active_users(facts, "month", month_of)


def active_users(facts: Facts, name: str, start_of: Callable[[date], date]) -> list[Row]:
    """Count the people of each period, however often they came, and the buyers among them."""
    rows: defaultdict[date, list[Row]] = defaultdict(list)
    for row in facts.silver:
        rows[start_of(row["event_date"])].append(row)
    return [
        {name: start, "active_users": different(inside, "user_id"), "buyers": people(inside, "purchase")}
        for start, inside in sorted(rows.items())
    ]


def new_and_returning_users(facts: Facts) -> list[Row]:
    """Count the people of each day by whether it is their first."""
    first = first_days(facts)
    result = []
    for day, rows in together(facts.silver, "event_date"):
        users = {row["user_id"] for row in rows}
        new = {user for user in users if first[user] == day}
        result.append({"event_date": day, "new_users": len(new), "returning_users": len(users - new)})
    return result


def retention_by_first_day(facts: Facts) -> list[Row]:
    """Count the people of each first day who came so many days later; day 0 is the first one itself."""
    first = first_days(facts)
    visits = {(row["user_id"], row["event_date"]) for row in facts.silver}
    counted = Counter((first[user], (day - first[user]).days) for user, day in visits)
    return [
        {"first_day": first_day, "days_later": days_later, "users": users}
        for (first_day, days_later), users in sorted(counted.items())
    ]


def busiest_users(facts: Facts) -> list[Row]:
    """Rank people by their events."""
    found = [
        {
            "user_id": user_id,
            "events": len(rows),
            "sessions": different(rows, "session_id"),
            "purchases": len(of_type(rows, "purchase")),
        }
        for user_id, rows in together(facts.silver, "user_id")
    ]
    return most(found, "events", "user_id", limit=SHORT_LIST)


# --- Sessions -----------------------------------------------------------------------------------------------


def pairs_of(facts: Facts, event_type: str) -> set[tuple[str, str]]:
    """Return the different (session, product) of an event type."""
    return {(row["session_id"], row["product_id"]) for row in of_type(facts.silver, event_type)}


def funnel_in_sessions(facts: Facts) -> list[Row]:
    """Count the sessions of each day; one over midnight counts on both days, each with what happened then."""
    return [
        {
            "event_date": day,
            "sessions": different(rows, "session_id"),
            "with_view": different(of_type(rows, "page_view"), "session_id"),
            "with_cart": different(of_type(rows, "add_to_cart"), "session_id"),
            "with_purchase": different(of_type(rows, "purchase"), "session_id"),
        }
        for day, rows in together(facts.silver, "event_date")
    ]


def abandoned_carts(facts: Facts) -> list[Row]:
    """Count the sessions that have a cart, and those of them that have no purchase on any day."""
    bought = {row["session_id"] for row in purchases_of(facts)}
    sessions: defaultdict[date, list[str]] = defaultdict(list)
    for session_id, rows in together(of_type(facts.silver, "add_to_cart"), "session_id"):
        sessions[min(row["event_date"] for row in rows)].append(session_id)
    result = []
    for day, with_cart in sorted(sessions.items()):
        abandoned = len(set(with_cart) - bought)
        result.append(
            {
                "first_cart_day": day,
                "sessions_with_cart": len(with_cart),
                "abandoned": abandoned,
                "abandoned_share": ratio(abandoned, len(with_cart)),
            }
        )
    return result


def abandoned_products(facts: Facts) -> list[Row]:
    """Count the sessions that put a product into the cart, and those of them that do not buy it."""
    in_cart = pairs_of(facts, "add_to_cart")
    carts = Counter(product_id for _, product_id in in_cart)
    left = Counter(product_id for _, product_id in in_cart - pairs_of(facts, "purchase"))
    found = [
        {"product_id": product_id, "sessions_with_cart": count, "abandoned": left[product_id]}
        for product_id, count in carts.items()
    ]
    return most(found, "abandoned", "product_id", limit=LONG_LIST)


def removed_from_cart(facts: Facts) -> list[Row]:
    """Count how often each product was taken out of carts and put into them."""
    removals = Counter(row["product_id"] for row in of_type(facts.silver, "remove_from_cart"))
    added = Counter(row["product_id"] for row in of_type(facts.silver, "add_to_cart"))
    found = [
        {"product_id": product_id, "removals": removals[product_id], "add_to_carts": added[product_id]}
        for product_id in {*removals, *added}
    ]
    return most(found, "removals", "product_id", limit=LONG_LIST)


def basket_value_bands(facts: Facts) -> list[Row]:
    """Put sessions with purchases into bands by what they spent."""
    baskets: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in purchases_of(facts):
        baskets[row["session_id"]] += row["revenue"]
    starts = {"below 50": 0, "50 to 100": 50, "100 to 250": 100, "250 to 500": 250, "500 and more": 500}
    found = in_bands(
        baskets.values(), lambda basket: [band for band, start in starts.items() if start <= basket][-1], starts
    )
    return [{"band": band, "sessions": sessions, "revenue": revenue} for band, sessions, revenue in found]


def bought_together(facts: Facts) -> list[Row]:
    """Count the sessions that bought both products of a pair, however many of each."""
    baskets: defaultdict[str, set[str]] = defaultdict(set)
    for session_id, product_id in pairs_of(facts, "purchase"):
        baskets[session_id].add(product_id)
    counted = Counter(pair for basket in baskets.values() for pair in combinations(sorted(basket), 2))
    found = [
        {"product_id": one, "other_product_id": other, "sessions": count} for (one, other), count in counted.items()
    ]
    return most(found, "sessions", "product_id", "other_product_id", limit=LONG_LIST)


def events_per_session(facts: Facts) -> list[Row]:
    """Put sessions into bands by their events."""
    events = Counter(row["session_id"] for row in facts.silver)
    return [
        {"band": band, "sessions": sessions, "events_in_band": total}
        for band, sessions, total in in_bands(events.values(), count_band, COUNT_BANDS)
    ]


# --- Searches -----------------------------------------------------------------------------------------------


def searches_by_term(facts: Facts) -> Iterator[tuple[str, list[Row]]]:
    """Give (term, its searches); capital letters make no other term."""
    searches = of_type(facts.silver, "search")
    return together((row | {"term": row["search_query"].lower()} for row in searches), "term")


def search_terms(facts: Facts) -> list[Row]:
    """Count the searches for each term, and the people who searched."""
    found = [
        {"term": term, "searches": len(rows), "users": different(rows, "user_id")}
        for term, rows in searches_by_term(facts)
    ]
    return most(found, "searches", "term", limit=LONG_LIST)


def searches_without_purchase(facts: Facts) -> list[Row]:
    """Count the searches after which the session bought nothing; a purchase at the same instant does not follow."""
    bought_at: defaultdict[str, list[Any]] = defaultdict(list)
    for row in purchases_of(facts):
        bought_at[row["session_id"]].append(row["event_ts"])
    found = []
    for term, rows in searches_by_term(facts):
        followed = [row for row in rows if any(instant > row["event_ts"] for instant in bought_at[row["session_id"]])]
        found.append({"term": term, "searches": len(rows), "without_purchase": len(rows) - len(followed)})
    return most(found, "without_purchase", "term", limit=LONG_LIST)


# --- Quality ------------------------------------------------------------------------------------------------


def late_share(facts: Facts) -> list[Row]:
    """Count the events of each day that landed on a later one."""
    result = []
    for day, rows in together(facts.silver, "event_date"):
        late = sum(date(int(row["year"]), int(row["month"]), int(row["day"])) > day for row in rows)
        result.append({"event_date": day, "events": len(rows), "late": late, "late_share": ratio(late, len(rows))})
    return result


def quarantine_by_reason(facts: Facts) -> list[Row]:
    """Count the refused records of each reason, and the objects that they are from."""
    found = [
        {"reason": reason, "records": len(rows), "objects": different(rows, "source_object")}
        for reason, rows in together(facts.quarantine, "reason")
    ]
    return most(found, "records", "reason")


def revenue_in_quarantine(facts: Facts) -> list[Row]:
    """Add up price times quantity of refused purchases, where both are plain numbers."""
    held_up: defaultdict[str, list[Decimal]] = defaultdict(list)
    for row in facts.quarantine:
        if row["reason"] in NOT_READABLE:
            continue
        fields = oracle.members(row["record"])
        price, quantity = plain_text(fields, "price"), plain_text(fields, "quantity")
        is_purchase = oracle.ascii_lower(oracle.text_of(fields.get("event_type", "null"))) == "purchase"
        if is_purchase and PLAIN_PRICE.fullmatch(price) and PLAIN_QUANTITY.fullmatch(quantity):
            held_up[row["reason"]].append(Decimal(price) * int(quantity))
    found = [
        {"reason": reason, "purchases": len(amounts), "revenue": sum(amounts)} for reason, amounts in held_up.items()
    ]
    return most(found, "revenue", "reason")


def plain_text(fields: dict[str, str], name: str) -> str:
    """Return the text of a string with all of its white space, or the JSON text of another value."""
    value = fields.get(name, "null")
    return oracle.unescape(value) if value.startswith('"') else value


def quality_by_day(facts: Facts) -> list[Row]:
    """Add up the accounts of the landing hours of each day."""
    days: defaultdict[date, list[oracle.LandingHour]] = defaultdict(list)
    for hour in facts.hours.values():
        days[date.fromisoformat(hour.hour[:10])].append(hour)
    result = []
    for day, hours in sorted(days.items()):
        records = sum(hour.records for hour in hours)
        result.append(
            {
                "landing_day": day,
                "objects": sum(hour.objects for hour in hours),
                "unreadable_objects": sum(len(hour.unreadable) for hour in hours),
                "records": records,
                "quarantined_share": ratio(sum(hour.quarantined.total() for hour in hours), records),
                "duplicate_share": ratio(sum(hour.duplicates for hour in hours), records),
            }
        )
    return result


def hours_with_few_records(facts: Facts) -> list[Row]:
    """Compare each landing hour with the one that landed before it, and name what there are fewer of."""
    result = []
    for before, hour in pairwise(hour for _, hour in sorted(facts.hours.items())):
        if hour.records >= before.records:
            continue
        if hour.objects - len(hour.unreadable) >= before.objects - len(before.unreadable):
            why = "fewer records in each object"
        elif len(hour.unreadable) > len(before.unreadable):
            why = "unreadable objects"
        else:
            why = "fewer objects"
        result.append(
            hour.partition
            | {
                "records": hour.records,
                "records_before": before.records,
                "objects": hour.objects,
                "objects_before": before.objects,
                "unreadable_objects": len(hour.unreadable),
                "why": why,
            }
        )
    return result[::-1]


ANSWERS: dict[str, Callable[[Facts], list[Row]]] = {
    answer.__name__: answer
    for answer in (
        revenue_by_day,
        revenue_week_over_week,
        revenue_month_over_month,
        revenue_by_weekday,
        revenue_by_hour_of_day,
        best_category_last_week,
        category_share_of_revenue,
        category_conversion,
        best_selling_products,
        viewed_but_never_bought,
        product_day_over_day,
        unique_viewers_by_product,
        views_per_user,
        funnel_in_users,
        funnel_in_sessions,
        abandoned_carts,
        abandoned_products,
        removed_from_cart,
        repeat_buyers,
        basket_value_bands,
        bought_together,
        weekly_active_users,
        monthly_active_users,
        new_and_returning_users,
        retention_by_first_day,
        search_terms,
        searches_without_purchase,
        events_per_session,
        busiest_users,
        several_prices,
        late_share,
        quarantine_by_reason,
        revenue_in_quarantine,
        quality_by_day,
        hours_with_few_records,
    )
}
"""Name of a question -> what counts its answer."""
