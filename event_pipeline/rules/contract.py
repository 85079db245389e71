"""The data contract as code: fields, verdict reasons in order, tables with typed columns and meanings.

Standard library only. `docs/contract.md` has the same content in prose, and a test keeps the two in sync. How a record
is judged is in `validation.py`; the Gold tables' columns are in the headers of `gold/*.sql`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from event_pipeline.rules.hour import PARTITION_COLUMNS

RULES_VERSION = 2
"""Increment with every change of a verdict, a cast or a Silver column: committed hours are then rebuilt."""

EVENT_FIELDS = (
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
"""The nine fields of a record; any other top-level name is schema drift."""

PAGE_VIEW = "page_view"
ADD_TO_CART = "add_to_cart"
REMOVE_FROM_CART = "remove_from_cart"
PURCHASE = "purchase"
SEARCH = "search"
EVENT_TYPES = (PAGE_VIEW, ADD_TO_CART, REMOVE_FROM_CART, PURCHASE, SEARCH)

CARRIED_FIELDS: dict[str, tuple[str, ...]] = {
    PAGE_VIEW: ("product_id", "category"),
    ADD_TO_CART: ("product_id", "category", "quantity", "price"),
    REMOVE_FROM_CART: ("product_id", "category", "quantity", "price"),
    PURCHASE: ("product_id", "category", "quantity", "price"),
    SEARCH: ("search_query",),
}
"""Event type -> its fields besides timestamp, ids and type; all others are null in Silver."""

QUARANTINE_REASONS = (
    "too_long",
    "not_json",
    "missing_timestamp",
    "invalid_timestamp",
    "timestamp_out_of_range",
    "missing_user_id",
    "invalid_user_id",
    "missing_session_id",
    "invalid_session_id",
    "missing_event_type",
    "unknown_event_type",
    "missing_product_id",
    "invalid_product_id",
    "missing_category",
    "invalid_category",
    "missing_quantity",
    "invalid_quantity",
    "missing_price",
    "invalid_price",
    "missing_search_query",
    "invalid_search_query",
)
"""Reasons for quarantine; the first that applies, in this order."""

UNREADABLE_REASONS = ("zero_bytes", "not_gzip", "truncated_gzip", "corrupt_gzip", "too_large")
"""Reasons to set aside a whole object."""

MAX_ID_CHARACTERS = 128
MAX_CATEGORY_CHARACTERS = 64
MAX_SEARCH_QUERY_CHARACTERS = 1_000
MAX_QUANTITY = 1_000_000
MAX_PRICE_CENTS = 9_999_999_999
LONG_LINE_HEAD_BYTES = 1_000
"""Bytes of a line that is too long that are kept in quarantine."""
MAX_UNKNOWN_FIELDS = 100
"""Distinct unknown names listed per hour, the first ones by object and line; all others are counted together, as
OTHER_UNKNOWN_FIELDS. This bounds memory and the commit record for any data."""
MAX_UNKNOWN_FIELD_CHARACTERS = 100
"""A longer unknown name is truncated with an ellipsis."""
OTHER_UNKNOWN_FIELDS = "(other)"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that determine verdicts: deviation of an event's time, and size of an object."""

    max_age: timedelta = timedelta(days=7)
    """Events are accepted from the landing hour's start minus this."""
    max_lead: timedelta = timedelta(minutes=5)
    """Events are accepted before the landing hour's end plus this."""
    max_line_bytes: int = 1 << 20
    """A line with more bytes, not counting its newline, is quarantined as `too_long`."""
    max_object_bytes: int = 4 << 30
    """An object that decompresses to more bytes is unreadable: `too_large`."""
    max_object_records: int = 20_000_000
    """An object with more records is also unreadable: `too_large`."""

    @property
    def rules_version(self) -> str:
        """The version in commit records; it includes the limits, because other limits give other verdicts."""
        times = f"{self.max_age.total_seconds():.0f}s:{self.max_lead.total_seconds():.0f}s"
        sizes = f"{self.max_line_bytes}B:{self.max_object_bytes}B:{self.max_object_records}"
        return f"{RULES_VERSION}:{times}:{sizes}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, Glue (Hive) type and meaning."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the catalog: `<database>.<name>` with data columns and partition columns."""

    database: str
    name: str
    description: str
    columns: tuple[Column, ...]
    partition_columns: tuple[Column, ...]

    @property
    def full_name(self) -> str:
        """The name that queries use, for example `silver.events`."""
        return f"{self.database}.{self.name}"


LANDING_HOUR_COLUMNS = tuple(
    Column(name, "string", f"{name.capitalize()} of the landing hour, zero-padded, UTC") for name in PARTITION_COLUMNS
)

SILVER_EVENTS = Table(
    "silver",
    "events",
    "One row per accepted event, typed, without duplicates inside its landing hour.",
    (
        Column("event_ts", "timestamp", "Instant of the event in UTC, truncated to the millisecond"),
        Column("event_date", "date", "UTC day of event_ts"),
        Column("user_id", "string", "Who acted"),
        Column("session_id", "string", "The visit in which it happened"),
        Column("event_type", "string", "page_view, add_to_cart, remove_from_cart, purchase or search"),
        Column("product_id", "string", "The product; null for searches"),
        Column("category", "string", "The product's category in lower case; null for searches"),
        Column("quantity", "int", "Items added, removed or bought; null for page views and searches"),
        Column("price", "decimal(10,2)", "Unit price in USD; null for page views and searches"),
        Column("revenue", "decimal(18,2)", "Price x quantity of a purchase in USD, exact; null otherwise"),
        Column("search_query", "string", "What was searched for; null for all other events"),
        Column("source_object", "string", "Key of the raw object that held the record"),
    ),
    LANDING_HOUR_COLUMNS,
)

SILVER_QUARANTINE = Table(
    "silver",
    "quarantine",
    "One row per record that broke a rule, kept as it came.",
    (
        Column("reason", "string", "The first rule that the record broke"),
        Column("source_object", "string", "Key of the raw object that held the record"),
        Column("line_number", "bigint", "Physical line in that object, from 1"),
        Column("record", "string", "The line as UTF-8, undecodable bytes as U+FFFD"),
    ),
    LANDING_HOUR_COLUMNS,
)

HOUR_LEDGER = Table(
    "ops",
    "hour_ledger",
    "One row per landing hour: what came in and where every record went.",
    (
        Column("objects", "bigint", "Raw objects of the hour, readable or not"),
        Column("unreadable_objects", "bigint", "Objects set aside whole because they could not be inflated"),
        Column("raw_bytes", "bigint", "Stored (compressed) bytes of all objects"),
        Column("records", "bigint", "Non-blank lines of the readable objects"),
        Column("silver_rows", "bigint", "Records accepted into silver.events"),
        Column("quarantined", "bigint", "Records kept in silver.quarantine"),
        Column("quarantined_by_reason", "map<string,bigint>", "Quarantined records per reason"),
        Column("duplicates", "bigint", "Records equal to an earlier accepted one of the hour"),
        Column("fingerprint", "string", "Digest of the keys, etags and sizes of the hour's objects"),
        Column("rules_version", "string", "Version of the rules that judged the hour"),
        Column("run_id", "string", "The build that is published"),
        Column("committed_at", "timestamp", "When that build was committed, UTC"),
    ),
    LANDING_HOUR_COLUMNS,
)

HOUR_TABLES = (SILVER_EVENTS, SILVER_QUARANTINE, HOUR_LEDGER)
"""The tables with one partition per landing hour, published together."""

EVENT_DATE = Column("event_date", "date", "UTC day on which the events happened")
