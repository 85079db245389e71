"""The data contract a second time: slow, plain Python, from its text alone, to hold the pipeline against.

Nothing of the pipeline is imported here, JSON is parsed by hand and sums are exact, so agreement between this
module and the pipeline says something about both. It holds a whole raw folder in memory: for tests only.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]

FIELDS = (
    "timestamp",
    "user_id",
    "session_id",
    "event_type",
    "product_id",
    "category",
    "quantity",
    "price",
    "search_query",
)
PRODUCT_FIELDS = ("product_id", "category")
SALE_FIELDS = ("product_id", "category", "quantity", "price")
CARRIED_BY = {
    "page_view": PRODUCT_FIELDS,
    "add_to_cart": SALE_FIELDS,
    "remove_from_cart": SALE_FIELDS,
    "purchase": SALE_FIELDS,
    "search": ("search_query",),
}
ASCII_WHITE_SPACE = " \t\n\r\x0b\x0c"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"

MICROSECONDS = 1_000_000
EPOCH_DAY = date(1970, 1, 1).toordinal()


# --- JSON, as RFC 8259 has it -------------------------------------------------------------------------------


class NotJsonError(ValueError):
    """A record is not one JSON object of distinct names; the message says what was found where."""


JSON_SPACE = re.compile(r"[ \t\n\r]*")
JSON_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*+"')
JSON_SCALAR = re.compile(rf"{JSON_STRING.pattern}|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
JSON_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))")
ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def members(text: str) -> dict[str, str]:
    """Split one JSON object into name -> value, each value as the JSON text that is in the record.

    Raises:
        NotJsonError: the text is not exactly one JSON object, or a name of the object stands twice.
    """
    found: dict[str, str] = {}
    at = expect("{", text, space(text, 0))
    if text[at : at + 1] == "}":
        at += 1
    else:
        while True:
            name_end = match_end(JSON_STRING, text, at)
            name = unescape(text[at:name_end])
            start = expect(":", text, space(text, name_end))
            end = value_end(text, start)
            if name in found:
                raise NotJsonError(f"the name {name!r} stands twice")
            found[name] = text[start:end]
            at = space(text, end)
            if text[at : at + 1] == "}":
                at += 1
                break
            at = expect(",", text, at)
    if space(text, at) != len(text):
        raise NotJsonError(f"something stands behind the object at {at}")
    return found


def value_end(text: str, start: int) -> int:
    """Return the index behind the JSON value that begins at `start`; no recursion, so any depth is fine.

    Raises:
        NotJsonError: no JSON value begins there.
    """
    closing: list[str] = []
    at = start
    while True:
        if text[at : at + 1] in ("{", "["):
            closing.append("}" if text[at] == "{" else "]")
            at = space(text, at + 1)
            if text[at : at + 1] != closing[-1]:
                at = behind_name(text, at) if closing[-1] == "}" else at
                continue
            closing.pop()
            at += 1
        else:
            at = match_end(JSON_SCALAR, text, at)
        while True:
            if not closing:
                return at
            at = space(text, at)
            if text[at : at + 1] != closing[-1]:
                break
            closing.pop()
            at += 1
        at = expect(",", text, at)
        at = behind_name(text, at) if closing[-1] == "}" else at


def behind_name(text: str, at: int) -> int:
    """Return the index of the value that follows a member's name and colon."""
    return expect(":", text, space(text, match_end(JSON_STRING, text, at)))


def expect(character: str, text: str, at: int) -> int:
    """Return the index of what follows a due character and white space."""
    if text[at : at + 1] != character:
        raise NotJsonError(f"{character} is due at {at}")
    return space(text, at + 1)


def space(text: str, at: int) -> int:
    """Return the index behind JSON white space."""
    return match_end(JSON_SPACE, text, at)


def match_end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return the index behind a due pattern."""
    match = pattern.match(text, at)
    if match is None:
        raise NotJsonError(f"no value at {at}")
    return match.end()


def unescape(literal: str) -> str:
    """Return the text of a JSON string literal; a lone surrogate stays one."""

    def character(match: re.Match[str]) -> str:
        code, short = match.groups()
        return chr(int(code, 16)) if code else ESCAPED[short]

    with_halves = JSON_ESCAPE.sub(character, literal[1:-1])
    return with_halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def has_lone_surrogate(value: str) -> bool:
    """Return whether any string inside a JSON text has a surrogate without its other half."""
    return any(LONE_SURROGATE.search(unescape(each[0])) for each in JSON_STRING.finditer(value))


# --- One record ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """How far an event's time may lie outside its landing hour, and the sizes: the settings' defaults."""

    before_start: timedelta = timedelta(days=7)
    after_end: timedelta = timedelta(minutes=5)
    line_bytes: int = 1_048_576
    object_bytes: int = 4_294_967_296
    object_records: int = 20_000_000


DEFAULT_LIMITS = Limits()


class Event(NamedTuple):
    """One accepted record: the nine normalised fields. Two equal events of a landing hour are duplicates."""

    timestamp: int
    """Microseconds since 1970 in UTC."""
    user_id: str
    session_id: str
    event_type: str
    product_id: str | None
    category: str | None
    quantity: int | None
    price: Decimal | None
    search_query: str | None


@dataclass(frozen=True)
class Verdict:
    """What became of one record: an event, or the reason why not."""

    reason: str | None
    event: Event | None = None
    unknown_fields: tuple[str, ...] = ()
    rescued: str | None = None
    """The unknown fields of an event as one JSON object."""
    rescued_in_part: bool = False
    unknown_values: Mapping[str, str] = field(default_factory=dict)
    """Unknown name -> its first value as JSON text."""


class BrokenRuleError(ValueError):
    """A record breaks a rule; the message is the quarantine reason."""


def judge(record: bytes, landing_hour: str, limits: Limits = DEFAULT_LIMITS) -> Verdict:
    """Judge one record (a line without its ends) that landed in an hour, for example `2025-12-07T22`."""
    try:
        found = members(record.decode("utf-8"))
    except (UnicodeDecodeError, NotJsonError):
        return Verdict("not_json")
    if any(has_lone_surrogate(found.get(name, "null")) for name in FIELDS):
        return Verdict("not_json")
    # UTF-8 cannot hold a lone surrogate; names show one as undecodable bytes are shown. Once per record.
    unknown = tuple(dict.fromkeys(LONE_SURROGATE.sub("\ufffd", name) for name in found if name not in FIELDS))
    values: dict[str, str] = {}
    for name, text in found.items():
        if name not in FIELDS:
            values.setdefault(LONE_SURROGATE.sub("\ufffd", name), text)
    fields = {name: found.get(name, "null") for name in FIELDS}
    try:
        return Verdict(None, event_of(fields, landing_hour, limits), unknown, *rescued_of(found), values)
    except BrokenRuleError as broken:
        return Verdict(str(broken), None, unknown, unknown_values=values)


def event_of(fields: Mapping[str, str], landing_hour: str, limits: Limits) -> Event:
    """Normalise the nine fields (as JSON texts), rule after rule in the contract's order.

    Raises:
        BrokenRuleError: the first rule that the fields break.
    """
    timestamp = instant_of(fields["timestamp"])
    start = microseconds_of(datetime.strptime(landing_hour, "%Y-%m-%dT%H").replace(tzinfo=UTC))
    earliest = start - limits.before_start // timedelta(microseconds=1)
    latest = start + 3600 * MICROSECONDS + limits.after_end // timedelta(microseconds=1)
    if not earliest <= timestamp < latest:
        raise BrokenRuleError("timestamp_out_of_range")
    user_id = checked(fields, "user_id", is_id)
    session_id = checked(fields, "session_id", is_id)
    event_type = ascii_lower(text_of(fields["event_type"]))
    if event_type is None:
        raise BrokenRuleError("missing_event_type")
    if event_type not in CARRIED_BY:
        raise BrokenRuleError("unknown_event_type")
    carried = CARRIED_BY[event_type]
    product_id = checked(fields, "product_id", is_id) if "product_id" in carried else None
    category = ascii_lower(checked(fields, "category", is_category)) if "category" in carried else None
    quantity = quantity_of(fields["quantity"]) if "quantity" in carried else None
    price = price_of(fields["price"]) if "price" in carried else None
    search_query = checked(fields, "search_query", is_search_query) if "search_query" in carried else None
    return Event(timestamp, user_id, session_id, event_type, product_id, category, quantity, price, search_query)


def rescued_of(found: Mapping[str, str]) -> tuple[str | None, bool]:
    """Return the members outside the nine fields as one JSON object, and whether some do not fit into 16,384 bytes."""
    text, in_part = "{}", False
    for name, value in found.items():
        if name in FIELDS:
            continue
        literal = json.dumps(name) if LONE_SURROGATE.search(name) else json.dumps(name, ensure_ascii=False)
        longer = text[:-1] + ("," if len(text) > 2 else "") + literal + ":" + value + "}"
        if len(longer.encode()) <= 16_384:
            text = longer
        else:
            in_part = True
    return None if text == "{}" else text, in_part


def text_of(value: str) -> str | None:
    """Read a JSON value where text is due: strings without outer white space, other values as they stand."""
    if value == "null":
        return None
    text = unescape(value) if value.startswith('"') else value
    return text.strip(ASCII_WHITE_SPACE) or None


def ascii_lower(text: str | None) -> str | None:
    """Lower-case A to Z and leave every other letter alone."""
    if text is None:
        return None
    return "".join(chr(ord(each) + 32) if "A" <= each <= "Z" else each for each in text)


def checked(fields: Mapping[str, str], name: str, is_valid: Callable[[str], bool]) -> str:
    """Return the text of a carried field that passes its rule."""
    text = text_of(fields[name])
    if text is None:
        raise BrokenRuleError(f"missing_{name}")
    if not is_valid(text):
        raise BrokenRuleError(f"invalid_{name}")
    return text


def is_id(text: str) -> bool:
    """1 to 128 printable ASCII characters, none of them white space, a quote, a backslash or a bracket of any kind."""
    return 1 <= len(text) <= 128 and all("!" <= each <= "~" and each not in "\"'`\\<>{}[]" for each in text)


def is_category(text: str) -> bool:
    """1 to 64 code points, none a control character (Unicode's Cc) and none that would make it JSON."""
    refused = any(each in '{}[]"' or unicodedata.category(each) == "Cc" for each in text)
    return 1 <= len(text) <= 64 and not refused and ascii_lower(text) != "(none)"


def is_search_query(text: str) -> bool:
    """At most 1,000 code points."""
    return len(text) <= 1000


TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):?([0-9]{2}))?"
)


def instant_of(value: str) -> int:
    """Read a timestamp as microseconds since 1970 in UTC; plain integers, so no year or offset overflows."""
    text = text_of(value)
    if text is None:
        raise BrokenRuleError("missing_timestamp")
    match = TIMESTAMP.fullmatch(text) if value.startswith('"') else None
    if match is None:
        raise BrokenRuleError("invalid_timestamp")
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    offset_hour, offset_minute = int(match[9] or 0), int(match[10] or 0)
    try:
        days = date(year, month, day).toordinal() - EPOCH_DAY
    except ValueError:
        raise BrokenRuleError("invalid_timestamp") from None
    if hour > 23 or minute > 59 or second > 59 or offset_hour > 14 or offset_minute > 59:
        raise BrokenRuleError("invalid_timestamp")
    offset = (offset_hour * 60 + offset_minute) * (-1 if match[8] == "-" else 1)
    seconds = days * 86_400 + hour * 3600 + (minute - offset) * 60 + second
    return seconds * MICROSECONDS + int((match[7] or "0").ljust(9, "0")[:6])


def number_of(value: str, name: str) -> float:
    """Read a carried number as a double: a JSON number, or a string that is a plain decimal literal."""
    text = text_of(value)
    if text is None:
        raise BrokenRuleError(f"missing_{name}")
    plain_literal = re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text) is not None
    json_number = value[0] in "-0123456789"
    if not (plain_literal or json_number):
        raise BrokenRuleError(f"invalid_{name}")
    return float(text)


def quantity_of(value: str) -> int:
    """Read a quantity: an integer from 1 to 1,000,000 by value."""
    number = number_of(value, "quantity")
    if not 1 <= number <= 1_000_000 or number != int(number):
        raise BrokenRuleError("invalid_quantity")
    return int(number)


def price_of(value: str) -> Decimal:
    """Read a price: by value 0 to 99,999,999.99, and at most 0.005 cents away from the whole cents that it becomes."""
    number = number_of(value, "price")
    if not 0 <= number <= 99_999_999.99:
        raise BrokenRuleError("invalid_price")
    cents = int(number * 100 + 0.5)
    if not -0.005 <= number * 100 - cents <= 0.005:
        raise BrokenRuleError("invalid_price")
    return Decimal(cents).scaleb(-2)


# --- One object ---------------------------------------------------------------------------------------------


class UnreadableError(ValueError):
    """A raw object cannot be read to its end; the message is the reason."""


def inflate(stored: bytes) -> bytes:
    """Return what a gzip object of one or more members holds; zlib checks each member's checksum and length.

    Raises:
        UnreadableError: zero_bytes, not_gzip, truncated_gzip or corrupt_gzip.
    """
    if not stored:
        raise UnreadableError("zero_bytes")
    if not stored.startswith(GZIP_MAGIC):
        raise UnreadableError("not_gzip")
    content = b""
    rest = stored
    while rest:
        if not rest.startswith(GZIP_MAGIC):
            raise UnreadableError("truncated_gzip" if GZIP_MAGIC.startswith(rest) else "corrupt_gzip")
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            content += member.decompress(rest)
        except zlib.error:
            raise UnreadableError("corrupt_gzip") from None
        if not member.eof:
            raise UnreadableError("truncated_gzip")
        # Zero bytes behind a member are padding (tar and tape habits), to gzip and to Python's reader alike.
        rest = member.unused_data.lstrip(b"\0")
    return content


def records_of(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (physical line number from 1, record) of every line that is not blank."""
    for number, record, _ in lines_of(content, DEFAULT_LIMITS):
        yield number, record


def lines_of(content: bytes, limits: Limits) -> Iterator[tuple[int, bytes, bool]]:
    """Give (physical line number from 1, record or its head, whether it is too long) of every line not blank."""
    white = ASCII_WHITE_SPACE.encode()
    for number, line in enumerate(content.removeprefix(BYTE_ORDER_MARK).split(b"\n"), start=1):
        too_long = len(line) > limits.line_bytes
        record = line.strip(white)
        if record:
            yield number, line.lstrip(white)[:1000].rstrip(white) if too_long else record, too_long


# --- One landing hour ---------------------------------------------------------------------------------------


@dataclass
class LandingHour:
    """Where every record of one landing hour went."""

    hour: str
    """For example `2025-12-07T22`."""
    objects: int = 0
    """Objects whose keys match the raw layout, readable or not."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Key -> reason."""
    raw_bytes: int = 0
    """Stored bytes of all objects, readable or not."""
    records: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    """Reason -> records."""
    duplicates: int = 0
    unknown_fields: Counter[str] = field(default_factory=Counter)
    """Name -> records that have it, of all records that are JSON, whatever their verdict."""
    unknown_values: dict[str, str] = field(default_factory=dict)
    """Name -> its first value as JSON text, by object and line."""
    silver: list[Row] = field(default_factory=list)
    """Rows of silver.events in the order of object key and line."""
    quarantine: list[Row] = field(default_factory=list)
    """Rows of silver.quarantine in the order of object key and line."""

    @property
    def silver_rows(self) -> int:
        """Accepted records without duplicates."""
        return len(self.silver)

    @property
    def partition(self) -> Row:
        """The partition columns of the hour."""
        return dict(zip(("year", "month", "day", "hour"), re.split("[-T]", self.hour), strict=True))


def read_hour(hour: str, objects: Mapping[str, bytes], limits: Limits = DEFAULT_LIMITS) -> LandingHour:
    """Judge all objects (key -> stored bytes) of one landing hour."""
    result = LandingHour(hour)
    seen: set[Event] = set()
    for key, stored in sorted(objects.items()):
        result.objects += 1
        result.raw_bytes += len(stored)
        try:
            content = inflate(stored)
            if len(content) > limits.object_bytes or len(list(lines_of(content, limits))) > limits.object_records:
                raise UnreadableError("too_large")
        except UnreadableError as unreadable:
            result.unreadable[key] = str(unreadable)
            continue
        for line_number, record, too_long in lines_of(content, limits):
            verdict = Verdict("too_long") if too_long else judge(record, hour, limits)
            result.records += 1
            result.unknown_fields.update(verdict.unknown_fields)
            result.unknown_values = {**verdict.unknown_values, **result.unknown_values}
            result.unknown_fields.update(["(not rescued)"] * verdict.rescued_in_part)
            if verdict.reason is not None:
                result.quarantined[verdict.reason] += 1
                result.quarantine.append(
                    {
                        "reason": verdict.reason,
                        "source_object": key,
                        "line_number": line_number,
                        "record": record.decode("utf-8", "replace"),
                        **result.partition,
                    }
                )
            elif verdict.event in seen:
                result.duplicates += 1
            else:
                assert verdict.event is not None
                seen.add(verdict.event)
                result.silver.append(silver_row(verdict.event, verdict.rescued, key) | result.partition)
    assert result.records == result.silver_rows + result.quarantined.total() + result.duplicates
    return result


def silver_row(event: Event, rescued: str | None, source_object: str) -> Row:
    """Return an event as silver.events shows it: the instant in UTC without zone, cut to the millisecond."""
    event_ts = at_microsecond(event.timestamp // 1000 * 1000)
    revenue = None
    if event.event_type == "purchase":
        assert event.price is not None
        assert event.quantity is not None
        revenue = event.price * event.quantity
    fields = event._asdict()
    del fields["timestamp"], fields["search_query"]
    return {
        "event_ts": event_ts,
        "event_date": event_ts.date(),
        "event_hour": event_ts.hour,
        **fields,
        "revenue": revenue,
        "search_query": event.search_query,
        "rescued": rescued,
        "source_object": source_object,
    }


def at_microsecond(instant: int) -> datetime:
    """Return the UTC date and time, without zone, of microseconds since 1970."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=instant)).replace(tzinfo=None)


def microseconds_of(instant: datetime) -> int:
    """Return microseconds since 1970 of an instant with time zone."""
    return (instant - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


# --- A raw folder -------------------------------------------------------------------------------------------

RAW_KEY = re.compile(
    r"events/year=([0-9]{4})/month=([0-9]{2})/day=([0-9]{2})/hour=([0-9]{2})/minute=[0-5][0-9]/"
    r"events-[0-9]{8}-[0-9]{6}\.jsonl\.gz"
)


@dataclass
class Expected:
    """All that a raw folder must turn into."""

    hours: dict[str, LandingHour]
    """`2025-12-07T22` (the landing hour) -> its account and rows; hours with objects only, in order."""
    unmatched_keys: list[str]
    """Keys under `events/` outside the raw layout: reported, not read."""

    @property
    def silver(self) -> list[Row]:
        """Rows of silver.events of all landing hours."""
        return [row for hour in self.hours.values() for row in hour.silver]

    @property
    def quarantine(self) -> list[Row]:
        """Rows of silver.quarantine of all landing hours."""
        return [row for hour in self.hours.values() for row in hour.quarantine]

    @property
    def gold(self) -> dict[str, list[Row]]:
        """Table name without schema -> its rows, sorted by event_date and then the table's grain or rank."""
        return {name: build(self.silver) for name, build in GOLD_TABLES.items()}


def landing_hour_of(key: str) -> str | None:
    """Return the landing hour of a raw key, or None when the key does not match the layout or calendar."""
    match = RAW_KEY.fullmatch(key)
    if match is None:
        return None
    hour = "{}-{}-{}T{}".format(*match.groups())
    try:
        datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError:
        return None
    return hour


def read_root(root: Path, limits: Limits = DEFAULT_LIMITS) -> Expected:
    """Judge everything below `<root>/raw/events/`."""
    raw = root / "raw"
    by_hour: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
    unmatched = []
    for path in sorted((raw / "events").rglob("*")):
        if not path.is_file():
            continue
        key = path.relative_to(raw).as_posix()
        hour = landing_hour_of(key)
        if hour is None:
            unmatched.append(key)
        else:
            by_hour[hour][key] = path.read_bytes()
    hours = {hour: read_hour(hour, objects, limits) for hour, objects in sorted(by_hour.items())}
    return Expected(hours, sorted(unmatched))


# --- Gold ---------------------------------------------------------------------------------------------------


def ratio(numerator: int, denominator: int) -> float | None:
    """Divide, or give None where there is nothing to divide by."""
    return numerator / denominator if denominator else None


def grouped(rows: Iterable[Row], grain: Callable[[Row], tuple[Any, ...]]) -> Iterator[tuple[Any, list[Row]]]:
    """Give (grain, rows of that grain) in the order of the grain."""
    groups: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[grain(row)].append(row)
    return iter(sorted(groups.items()))


def of_type(rows: Iterable[Row], event_type: str) -> list[Row]:
    """Return the rows of one event type."""
    return [row for row in rows if row["event_type"] == event_type]


def revenue_of(rows: Iterable[Row]) -> Decimal:
    """Add up the revenue of the purchases among rows, 0.00 when there are none."""
    return sum((row["revenue"] for row in of_type(rows, "purchase")), Decimal("0.00"))


def product_grain(row: Row) -> tuple[Any, ...]:
    """Day and product; a product listed under two categories stands once under each."""
    return row["event_date"], row["product_id"], row["category"]


def conversion_funnel(silver: list[Row]) -> list[Row]:
    """One row per day, product and category with any event that carries a product."""
    result = []
    carrying = (row for row in silver if row["product_id"] is not None)
    for (day, product_id, category), rows in grouped(carrying, product_grain):
        views, carts, purchases = (
            len(of_type(rows, event_type)) for event_type in ("page_view", "add_to_cart", "purchase")
        )
        result.append(
            {
                "event_date": day,
                "product_id": product_id,
                "category": category,
                "views": views,
                "add_to_carts": carts,
                "purchases": purchases,
                "items_sold": sum(row["quantity"] for row in of_type(rows, "purchase")),
                "revenue": revenue_of(rows),
                "view_to_cart_rate": ratio(carts, views),
                "cart_to_purchase_rate": ratio(purchases, carts),
                "view_to_purchase_rate": ratio(purchases, views),
            }
        )
    return result


def hourly_revenue(silver: list[Row]) -> list[Row]:
    """One row per day and hour with purchases."""
    result = []
    purchases = of_type(silver, "purchase")
    for (day, hour), rows in grouped(purchases, lambda row: (row["event_date"], row["event_ts"].hour)):
        total = revenue_of(rows)
        cents, count = int(total.scaleb(2)), len(rows)
        result.append(
            {
                "event_date": day,
                "event_hour": hour,
                "total_revenue": total,
                "purchase_count": count,
                "items_sold": sum(row["quantity"] for row in rows),
                # Half up in whole cents: a Decimal quotient would be rounded twice.
                "avg_order_value": Decimal((2 * cents + count) // (2 * count)).scaleb(-2),
            }
        )
    return result


def top_products(silver: list[Row]) -> list[Row]:
    """One row per day, product and category of the 100 most viewed, or of the category's 10 most viewed."""
    result = []
    counts: defaultdict[date, list[tuple[int, str, str]]] = defaultdict(list)
    for (day, product_id, category), rows in grouped(of_type(silver, "page_view"), product_grain):
        counts[day].append((-len(rows), product_id, category))
    for day, products in sorted(counts.items()):
        within_category: Counter[str] = Counter()
        for view_rank, (negative_count, product_id, category) in enumerate(sorted(products), start=1):
            within_category[category] += 1
            if view_rank <= 100 or within_category[category] <= 10:
                result.append(
                    {
                        "event_date": day,
                        "view_rank": view_rank,
                        "category_rank": within_category[category],
                        "product_id": product_id,
                        "category": category,
                        "view_count": -negative_count,
                    }
                )
    return result


def category_performance(silver: list[Row]) -> list[Row]:
    """One row per day and category; searches carry none and stand under `(none)`."""
    result = []
    for (day, category), rows in grouped(silver, lambda row: (row["event_date"], row["category"] or "(none)")):
        result.append(
            {
                "event_date": day,
                "category": category,
                "total_events": len(rows),
                "page_views": len(of_type(rows, "page_view")),
                "add_to_carts": len(of_type(rows, "add_to_cart")),
                "remove_from_carts": len(of_type(rows, "remove_from_cart")),
                "purchases": len(of_type(rows, "purchase")),
                "searches": len(of_type(rows, "search")),
                "revenue": revenue_of(rows),
            }
        )
    return result


def user_activity(silver: list[Row]) -> list[Row]:
    """One row per day."""
    result = []
    for (day,), rows in grouped(silver, lambda row: (row["event_date"],)):
        users = len({row["user_id"] for row in rows})
        sessions = len({row["session_id"] for row in rows})
        result.append(
            {
                "event_date": day,
                "unique_users": users,
                "unique_sessions": sessions,
                "total_events": len(rows),
                "events_per_user": ratio(len(rows), users),
                "events_per_session": ratio(len(rows), sessions),
                "sessions_per_user": ratio(sessions, users),
            }
        )
    return result


GOLD_TABLES: dict[str, Callable[[list[Row]], list[Row]]] = {
    "conversion_funnel": conversion_funnel,
    "hourly_revenue": hourly_revenue,
    "top_products": top_products,
    "category_performance": category_performance,
    "user_activity": user_activity,
}
