"""The people whom a lake has to forget, and the receipts of their erasure: two kinds of small documents in the lake.

The list holds keyed digests of user ids, never an id, and every build reads it. It only grows: a person on it stays
erased in raw objects that are found, restored or delivered again years later.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from event_pipeline.engines import layout
from event_pipeline.engines.names import commit_time
from event_pipeline.engines.store import Store
from event_pipeline.errors import StorageError, TransientError
from event_pipeline.rules.erasure import DIGEST_BYTES, KEY_BYTES, NOBODY, Erasures
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.stored_json import read_dataclass, read_instant, read_json, read_value

FORMAT = 1
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Held:
    """What the published files of one landing hour hold of a person."""

    silver_rows: int = 0
    quarantined: int = 0

    @property
    def records(self) -> int:
        """All of it."""
        return self.silver_rows + self.quarantined


@dataclass(frozen=True, slots=True)
class HeldRaw:
    """One raw object that held records of a person when it was read."""

    hour: str
    records: int
    rewritten: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the erasure of one person did, over all attempts."""

    digest: str
    """Keyed digest of the user id, as in the list."""
    started_at: datetime
    finished_at: datetime | None = None
    """None: an attempt was interrupted, or the person is not erased everywhere."""
    hours: Mapping[Hour, Held] = field(default_factory=dict)
    """Landing hours whose published files held the person -> what they held."""
    retired: Mapping[Hour, int] = field(default_factory=dict)
    """Hours past their retention -> values of Gold partials that were replaced by the digest."""
    old_files: int = 0
    """Files of replaced builds that were removed."""
    raw: Mapping[str, HeldRaw] = field(default_factory=dict)
    """Key of a raw object -> what it held."""
    unreadable: tuple[str, ...] = ()
    """Raw objects that could not be read, so that nobody knows what they hold."""

    def to_json(self) -> str:
        """Write the document."""

        def plain(value: Any) -> str:
            return value.isoformat() if isinstance(value, datetime) else str(value)

        document = {
            "format": FORMAT,
            "digest": self.digest,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "hours": {str(hour): asdict(held) for hour, held in sorted(self.hours.items())},
            "retired": {str(hour): values for hour, values in sorted(self.retired.items())},
            "old_files": self.old_files,
            "raw": {key: asdict(held) for key, held in sorted(self.raw.items())},
            "unreadable": self.unreadable,
        }
        return json.dumps(document, indent=1, default=plain) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """Read the document.

        Raises:
            ValueError: it is damaged or of another format.
        """
        try:
            fields = read_json(text)
            if fields.pop("format") != FORMAT:
                raise ValueError("it is of another format")
            started, finished = fields.pop("started_at"), fields.pop("finished_at")
            retired = read_value(Mapping[str, int], fields.pop("retired"), "retired")
            return cls(
                digest=read_value(str, fields.pop("digest"), "digest"),
                started_at=read_instant(started),
                finished_at=read_instant(finished) if finished else None,
                hours={Hour.parse(hour): read_dataclass(Held, held) for hour, held in fields.pop("hours").items()},
                retired={Hour.parse(hour): values for hour, values in retired.items()},
                old_files=read_value(int, fields.pop("old_files"), "old_files"),
                raw={key: read_dataclass(HeldRaw, held) for key, held in fields.pop("raw").items()},
                unreadable=tuple(read_value(list[str], fields.pop("unreadable"), "unreadable")),
                **fields,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"damaged: {error!r:.300}") from error


class ErasureList:
    """The list and the receipts of one lake."""

    def __init__(self, lake: Store) -> None:
        self._lake = lake

    def read(self) -> Erasures:
        """Return the people on the list; nobody if there is none.

        Raises:
            StorageError: it is damaged; nothing is built without it.
        """
        return self._read()[0]

    def person(self, user_id: str) -> Erasures:
        """Return a list with one person on it, whether the lake's list has them or not."""
        erasures = self.read()
        return (erasures if erasures.key else Erasures(secrets.token_bytes(KEY_BYTES))).only(user_id)

    def enter(self, user_id: str) -> Erasures:
        """Put a person on the list if they are not on it, and return a list with only them.

        Raises:
            TransientError: others change the list all the time.
        """
        for _ in range(_ATTEMPTS):
            erasures, version = self._read()
            if erasures.has(user_id):
                return erasures.only(user_id)
            key = erasures.key or secrets.token_bytes(KEY_BYTES)
            more = Erasures(key, erasures.digests | {Erasures(key).digest_of(user_id)})
            document = {"format": FORMAT, "key": key.hex(), "digests": sorted(each.hex() for each in more.digests)}
            if self._lake.replace(layout.ERASED, f"{json.dumps(document, indent=1)}\n".encode(), version):
                return more.only(user_id)
        raise TransientError(f"{self._lake.url(layout.ERASED)}: others change it all the time: run again")

    def receipt(self, person: Erasures) -> Receipt:
        """Return the receipt of a person, a new one if there is none.

        Raises:
            StorageError: it is damaged.
        """
        (digest,) = person.digests
        key = layout.erasure_receipt(digest.hex())
        found = self._lake.read(key)
        if found is None:
            return Receipt(digest.hex(), commit_time())
        try:
            receipt = Receipt.from_json(found[0].decode("utf-8", "replace"))
            if receipt.digest != digest.hex():
                raise ValueError("it is a receipt of another person")
            return receipt
        except ValueError as error:
            raise StorageError(
                f"{self._lake.url(key)}: {error!s:.300}: move it away and erase the person again; nobody else is "
                "affected"
            ) from error

    def write(self, receipt: Receipt) -> str:
        """Store a receipt and return where it is."""
        key = layout.erasure_receipt(receipt.digest)
        self._lake.write(key, receipt.to_json().encode())
        return self._lake.url(key)

    def _read(self) -> tuple[Erasures, str | None]:
        found = self._lake.read(layout.ERASED)
        if found is None:
            return NOBODY, None
        try:
            fields = read_json(found[0])
            key, digests = bytes.fromhex(fields["key"]), frozenset(map(bytes.fromhex, fields["digests"]))
            if fields["format"] != FORMAT or len(key) != KEY_BYTES or {*map(len, digests)} - {DIGEST_BYTES}:
                raise ValueError("it is not a list of this format")
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{self._lake.url(layout.ERASED)}: the list of erased people is damaged ({error!r:.300}): restore it "
                "from a backup; nothing is built without it, because erased people would come back"
            ) from error
        return Erasures(key, digests), found[1]
