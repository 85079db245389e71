"""The data contract as code: fields and event types are declared here, and everything else follows from them.

Verdict reasons, Silver's columns, both engines' tables, the template, the contract page, the data dictionary and the
rules version follow from these declarations: CONTRIBUTING.md shows how to add a field or an event type. How a value of
a kind is judged is in `kinds.py`, how a record is judged in `record.py`; the Gold tables' columns are in the headers of
`gold/*.sql`. Standard library only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from event_pipeline.rules.code_digest import code_digest
from event_pipeline.rules.hour import PARTITION_COLUMNS
from event_pipeline.rules.kinds import Choice, Id, Instant, Kind, Label, Money, Text, WholeNumber


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, Glue (Hive) type and meaning, and for the data dictionary an example and a trap."""

    name: str
    type: str
    meaning: str
    example: str = ""
    """A value as `event-pipeline query` shows it."""
    trap: str = ""
    """The mistake that people make with it, and what to do instead."""


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event."""

    name: str
    counted_as: str
    """Name of its number of events in the control totals, which the Gold tables are reconciled with."""
    carries: tuple[str, ...]
    """Its fields besides those that every event has; all others are null in Silver."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record, and the Silver column that holds it."""

    name: str
    kind: Kind
    meaning: str
    in_every_event: bool = False
    """Whether every event carries it; otherwise the event types say so."""
    optional: bool = False
    """Whether a record that should carry it may leave it out; its column is null then."""
    column_name: str = ""
    """Name of its Silver column, if it is not the field's."""
    example: str = ""
    """A value of the column, for the data dictionary."""
    trap: str = ""
    """The mistake that people make with the column, and what to do instead."""

    @property
    def column(self) -> Column:
        """Its column in Silver."""
        return Column(self.column_name or self.name, self.kind.glue_type, self.meaning, self.example, self.trap)

    @property
    def missing(self) -> str:
        """Quarantine reason of a record without it."""
        return f"missing_{self.name}"

    @property
    def fault(self) -> str:
        """Quarantine reason of a record whose value breaks the rule of its kind."""
        return self.kind.fault.format(self.name)


# -- the declarations

PAGE_VIEW = EventType("page_view", "page_views", ("product_id", "category"))
ADD_TO_CART = EventType("add_to_cart", "add_to_carts", ("product_id", "category", "quantity", "price"))
REMOVE_FROM_CART = EventType("remove_from_cart", "remove_from_carts", ("product_id", "category", "quantity", "price"))
PURCHASE = EventType("purchase", "purchases", ("product_id", "category", "quantity", "price"))
SEARCH = EventType("search", "searches", ("search_query",))

EVENT_TYPES = (PAGE_VIEW, ADD_TO_CART, REMOVE_FROM_CART, PURCHASE, SEARCH)

EVENT_TIME = Field(
    "timestamp",
    Instant(),
    "Instant of the event in UTC, truncated to the millisecond",
    in_every_event=True,
    column_name="event_ts",
    example="2025-12-07T21:59:58.123",
    trap="UTC, and not when the event landed: an hour's partition also holds events of the hours and days before it",
)
"""The field that says when an event happened; it must be near the landing hour."""

EVENT_TYPE = Field(
    "event_type",
    Choice(tuple(each.name for each in EVENT_TYPES)),
    f"Which of these it is: {', '.join(each.name for each in EVENT_TYPES)}",
    in_every_event=True,
    example="purchase",
    trap="Always in lower case, whatever the producer wrote",
)
"""The field that says which other fields an event carries."""

USER = Field(
    "user_id",
    Id(),
    "Who acted",
    in_every_event=True,
    example="u_89234",
    trap="Text, even if it looks like a number; upper and lower case are different users",
)
"""The field that says whose event it is."""

QUANTITY = Field(
    "quantity",
    WholeNumber(1, 1_000_000),
    "Items added, removed or bought; null for page views and searches",
    example="2",
    trap="A sum over all rows mixes items put into carts, taken out and bought: filter by `event_type`",
)
PRICE = Field(
    "price",
    Money(9_999_999_999),
    "Unit price in USD; null for page views and searches",
    example="29.99",
    trap="Of one item, and carts have it as well: what was earned is `revenue`",
)

EVENT_DATE = Column(
    "event_date",
    "date",
    "UTC day on which the events happened",
    "2025-12-07",
    "Late events of a day are added up to a week after it: yesterday's row can still change",
)
EVENT_HOUR = Column(
    "event_hour",
    "int",
    "UTC hour of event_ts, 0 to 23; the partition key hour is the landing hour",
    "21",
    "Not `hour`: filter by `hour` to read fewer files, by this one for when something happened",
)
REVENUE = Column(
    "revenue",
    "decimal(18,2)",
    "Price x quantity of a purchase in USD, exact; null otherwise",
    "59.98",
    "Null, not 0, without a purchase: an average over all rows is the average over purchases",
)
RESCUED = Column(
    "rescued",
    "string",
    "Fields outside the contract as one JSON object; null if there are none",
    '{"referrer": "mail"}',
    "JSON text; a field that was declared later is still in here for hours that are not rebuilt since",
)
SOURCE_OBJECT = Column(
    "source_object",
    "string",
    "Key of the raw object that held the record",
    "events/year=2025/month=12/day=07/hour=21/minute=55/events-20251207-215500.jsonl.gz",
    "Without the prefix of `EVENT_PIPELINE_RAW_PREFIX`; its hour is the landing hour",
)

SILVER_ORDER: tuple[Field | Column, ...] = (
    EVENT_TIME,
    Column(
        EVENT_DATE.name,
        EVENT_DATE.type,
        "UTC day of event_ts",
        EVENT_DATE.example,
        "Not the landing day: late events of a day are in the partitions of the days after it",
    ),
    EVENT_HOUR,
    USER,
    Field(
        "session_id",
        Id(),
        "The visit in which it happened",
        in_every_event=True,
        example="s_29384",
        trap="No rule ties it to one user, and it can go over midnight: it then counts in both days",
    ),
    EVENT_TYPE,
    Field(
        "product_id",
        Id(),
        "The product; null for searches",
        example="p_1001",
        trap="`product_id <> 'p_1001'` also drops the searches, because null is not unequal: use `IS DISTINCT FROM`",
    ),
    Field(
        "category",
        Label(64, reserved=("(none)",)),
        "The product's category in lower case; null for searches",
        example="electronics",
        trap="Of the event, not of the product: one product can be sent with two categories",
    ),
    QUANTITY,
    PRICE,
    REVENUE,
    Field(
        "search_query",
        Text(1_000),
        "What was searched for; null for all other events",
        example="wireless headphones",
        trap="As typed, without outer white space: fold case yourself before you group by it",
    ),
    RESCUED,
    SOURCE_OBJECT,
)
"""The columns of `silver.events` in order: fields of records, and columns derived from them. Fields are judged in this
order, so the first broken one is the reason."""

# -- what follows from them

FIELDS = tuple(each for each in SILVER_ORDER if isinstance(each, Field))
"""The fields of a record; any other top-level name is schema drift."""

EVENT_FIELDS = tuple(field.name for field in FIELDS)

COLUMN_SOURCES = {
    **{each.column.name: (each.name,) for each in FIELDS},
    EVENT_DATE.name: (EVENT_TIME.name,),
    EVENT_HOUR.name: (EVENT_TIME.name,),
    REVENUE.name: (EVENT_TYPE.name, PRICE.name, QUANTITY.name),
}
"""Column of `silver.events` -> the fields that its value is made from; a column without any is missing."""

COMMON_IDS = tuple(field.name for field in FIELDS if field.in_every_event and isinstance(field.kind, Id))
"""The ids that every event has: different events of one instant differ in them."""


CARRIED_FIELDS = {each.name: each.carries for each in EVENT_TYPES}
"""Event type -> its fields besides those that every event has."""


def check_declarations(order: Sequence[Field | Column], event_types: Sequence[EventType]) -> None:
    """Check that fields and event types fit together.

    Raises:
        ValueError: they do not; the message names the declaration and what to change.
    """
    fields = [each for each in order if isinstance(each, Field)]
    columns = [each.column.name if isinstance(each, Field) else each.name for each in order]
    for what, names in (
        ("field", [each.name for each in fields]),
        ("column", [*columns, *PARTITION_COLUMNS]),
        ("event type", [each.name for each in event_types]),
        ("control total", [each.counted_as for each in event_types]),
    ):
        for name in names:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"{what} {name!r}: a name has lower-case letters, digits and underscores only")
            if names.count(name) > 1:
                raise ValueError(f"{what} {name!r} is declared twice")
    carried = {name: each.name for each in event_types for name in each.carries}
    seen_event_type = False
    for field in fields:
        if field.in_every_event and field.name in carried:
            raise ValueError(f"field {field.name!r} is in every event: {carried[field.name]} need not carry it")
        if not field.in_every_event and field.name not in carried:
            raise ValueError(f"field {field.name!r} is carried by no event type, and not in every event")
        if not field.in_every_event and not seen_event_type:
            raise ValueError(f"field {field.name!r} depends on the event type: declare it after {EVENT_TYPE.name}")
        seen_event_type = seen_event_type or field is EVENT_TYPE
    if unknown := carried.keys() - {field.name for field in fields}:
        name = min(unknown)
        raise ValueError(f"event type {carried[name]!r} carries {name!r}, which is not declared as a field")


check_declarations(SILVER_ORDER, EVENT_TYPES)


OUT_OF_RANGE = f"{EVENT_TIME.name}_out_of_range"
"""Quarantine reason of a record whose event is too far from its landing hour."""


def _reasons(field: Field) -> tuple[str, ...]:
    missing = () if field.optional else (field.missing,)
    return (*missing, field.fault, *((OUT_OF_RANGE,) if field is EVENT_TIME else ()))


QUARANTINE_REASONS = ("too_long", "not_json", *(reason for field in FIELDS for reason in _reasons(field)))
"""Reasons for quarantine; the first that applies, in this order."""

UNREADABLE_REASONS = ("zero_bytes", "not_gzip", "truncated_gzip", "corrupt_gzip", "too_large")
"""Reasons to set aside a whole object."""

LONG_LINE_HEAD_BYTES = 1_000
"""Bytes of a line that is too long that are kept in quarantine."""
MAX_UNKNOWN_FIELDS = 100
"""Distinct unknown names listed per hour, the first ones by object and line; all others are counted together, as
OTHER_UNKNOWN_FIELDS. This bounds memory and the commit record for any data."""
MAX_UNKNOWN_FIELD_CHARACTERS = 100
"""A longer unknown name is truncated with an ellipsis."""
OTHER_UNKNOWN_FIELDS = "(other)"
MAX_EXAMPLE_CHARACTERS = 80
"""A longer example value of an unknown name is truncated with an ellipsis."""
MAX_RESCUED_BYTES = 16_384
"""Bytes of `rescued` as UTF-8. A field that does not fit any more is left out, and counted as NOT_RESCUED."""
NOT_RESCUED = "(not rescued)"


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
        return f"{rules_digest()}:{times}:{sizes}"


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
    Column(
        name,
        "string",
        f"{name.capitalize()} of the landing hour, zero-padded, UTC",
        example,
        f"Text, of the landing and not of the event: write `{name} = '{example}'`",
    )
    for name, example in zip(PARTITION_COLUMNS, ("2025", "12", "07", "09"), strict=True)
)


def raw_column(field: str) -> str:
    """Return the column of `bronze.events` that shows a field: `timestamp` is a reserved word of Athena's DDL."""
    return "event_timestamp" if field == EVENT_TIME.name else field


BRONZE_EVENTS = Table(
    "bronze",
    "events",
    "One row per line of the raw objects, as it came. Always filter by year, month and day.",
    tuple(
        Column(
            raw_column(each.name),
            "string",
            f"The field {each.name} as text, not judged; null without it, or if the line is no JSON object",
            each.example,
            "As the producer spelled it; refused and repeated records are among them",
        )
        for each in FIELDS
    ),
    (
        *LANDING_HOUR_COLUMNS,
        Column(
            "minute",
            "string",
            "Minute in the path of the raw object, zero-padded",
            "55",
            "Of the landing, and text: its events are some minutes older",
        ),
    ),
)
"""The raw objects as a table that nobody writes: it has no builds and is in no commit record."""

SILVER_EVENTS = Table(
    "silver",
    "events",
    "One row per accepted event, typed, without duplicates inside its landing hour.",
    tuple(each.column if isinstance(each, Field) else each for each in SILVER_ORDER),
    LANDING_HOUR_COLUMNS,
)

SILVER_QUARANTINE = Table(
    "silver",
    "quarantine",
    "One row per record that broke a rule, kept as it came.",
    (
        Column(
            "reason",
            "string",
            "The first rule that the record broke",
            "invalid_price",
            "The record may break further rules, which show once this one is mended",
        ),
        SOURCE_OBJECT,
        Column(
            "line_number",
            "bigint",
            "Physical line in that object, from 1",
            "1742",
            "Blank lines count as lines, but not as records",
        ),
        Column(
            "record",
            "string",
            "The line as UTF-8, undecodable bytes as U+FFFD",
            '{"user_id": "u_89234", "price": 29.999}',
            "As the producer sent it, with whatever personal data it has; of a line that is `too_long` only the "
            f"first {LONG_LINE_HEAD_BYTES:,} bytes",
        ),
    ),
    LANDING_HOUR_COLUMNS,
)

HOUR_LEDGER = Table(
    "ops",
    "hour_ledger",
    "One row per landing hour: what came in and where every record went.",
    (
        Column(
            "objects",
            "bigint",
            "Raw objects of the hour, readable or not",
            "12",
            "Unreadable objects count as well: 12 of 12 does not mean that every record was read",
        ),
        Column(
            "unreadable_objects",
            "bigint",
            "Objects set aside whole because they could not be inflated",
            "0",
            "Their records are in none of the other numbers",
        ),
        Column(
            "raw_bytes",
            "bigint",
            "Stored (compressed) bytes of all objects",
            "20971520",
            "Compressed: the lines themselves are many times as large",
        ),
        Column(
            "records",
            "bigint",
            "Non-blank lines of the readable objects",
            "101469",
            "More than Silver's rows: quarantined and duplicate records count as well",
        ),
        Column(
            "silver_rows",
            "bigint",
            "Records accepted into silver.events",
            "100758",
            "By landing hour: the events of a day are spread over the hours in which they landed",
        ),
        Column(
            "quarantined",
            "bigint",
            "Records kept in silver.quarantine",
            "405",
            "By the rules of `rules_version`: other rules may accept some of them",
        ),
        Column(
            "quarantined_by_reason",
            "map<string,bigint>",
            "Quarantined records per reason",
            "{not_json=12, invalid_price=393}",
            "A reason without records is absent: its value is null, not 0",
        ),
        Column(
            "duplicates",
            "bigint",
            "Records equal to an earlier accepted one of the hour",
            "306",
            "Within the landing hour only: a batch sent again in another hour is not in here",
        ),
        Column(
            "erased",
            "bigint",
            "Records of people who were erased",
            "0",
            "Null in hours of older versions; after an erasure, their duplicates count as duplicates until a rebuild",
        ),
        Column(
            "fingerprint",
            "string",
            "Digest of the keys, etags and sizes of the hour's objects",
            "4e1f0c9d2b7a8653",
            "Says whether the input is the same, not whether it has the same records",
        ),
        Column(
            "rules_version",
            "string",
            "Version of the rules that judged the hour",
            "4c3e8af5720d:604800s:300s:1048576B:4294967296B:20000000",
            "Compare for equality only: versions have no order",
        ),
        Column(
            "run_id",
            "string",
            "The build that is published",
            "7d3e2c1a",
            "Another one after every rebuild, also when the rows are the same",
        ),
        Column(
            "committed_at",
            "timestamp",
            "When that build was committed, UTC",
            "2025-12-07T22:10:31.412",
            "When the hour was built, not when it landed: rebuilds move it",
        ),
    ),
    LANDING_HOUR_COLUMNS,
)

HOUR_TABLES = (SILVER_EVENTS, SILVER_QUARANTINE, HOUR_LEDGER)
"""The tables with one partition per landing hour, published together."""


RULE_MODULES = (
    "arrow",
    "certificates",
    "certified",
    "duplicates",
    "erasure",
    "json_object",
    "kinds",
    "raw_object",
    "record",
    "rescue",
    "validation",
)
"""The modules of this package whose code decides about verdicts, casts and Silver rows."""


@cache
def rules_digest() -> str:
    """Return a digest of the declarations and of the code that judges by them, as 12 hexadecimal digits.

    With another digest, committed hours are judged and built again. Meanings, comments and docstrings do not count.
    """
    declared = (
        [(each.name, each.kind, each.in_every_event, each.optional) for each in FIELDS],
        [(each.name, each.carries) for each in EVENT_TYPES],
        [(column.name, column.type) for table in (SILVER_EVENTS, SILVER_QUARANTINE) for column in table.columns],
        (LONG_LINE_HEAD_BYTES, MAX_RESCUED_BYTES),
    )
    return hashlib.sha256(f"{declared}{code_digest(RULE_MODULES)}".encode()).hexdigest()[:12]
