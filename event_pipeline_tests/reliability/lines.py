"""Lines near the edges of the contract's rules, judged by the pipeline and by the oracle."""

from __future__ import annotations

import gzip
import io
import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.validation import ValidatedObject, validate_object
from event_pipeline_tests import oracle
from event_pipeline_tests.hostile import HOSTILE_LINES, LANDING_HOUR, PURCHASE, SEARCH, VIEW

HOUR = Hour.parse(LANDING_HOUR)
LIMITS = Limits()
KEY = f"{HOUR.raw_prefix}minute=00/events-20251207-220000.jsonl.gz"
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)

Judged = dict[int, tuple[Any, ...]]
"""Line number -> (reason, record) of a quarantined line, or the nine normalised fields of an accepted one."""


def gz(content: bytes) -> bytes:
    """Compress the content of an object."""
    return gzip.compress(content, 1, mtime=0)


def validated(stored: bytes, chunk_bytes: int = 1_048_576) -> ValidatedObject:
    """Validate a stored object of HOUR."""
    return validate_object(
        io.BytesIO(stored),
        key=KEY,
        etag="etag",
        size=len(stored),
        hour=HOUR,
        limits=LIMITS,
        chunk_bytes=chunk_bytes,
    )


def judged_by_pipeline(result: ValidatedObject) -> Judged:
    """Return the verdicts of the pipeline by line."""
    judged: Judged = {}
    for row in result.events.to_pylist():
        line_number = row.pop("line_number")
        assert line_number not in judged
        row["timestamp"] = (row["timestamp"] - EPOCH) // timedelta(microseconds=1)
        del row["rescued"]  # not one of the fields that make records equal
        judged[line_number] = normalised(row)
    for row in result.quarantine.to_pylist():
        assert row["source_object"] == KEY
        assert row["line_number"] not in judged
        judged[row["line_number"]] = (row["reason"], row["record"])
    return judged


def normalised(values: Mapping[str, Any]) -> oracle.Event:
    """Return the fields of an accepted record as the oracle has them."""
    price = None if values["price"] is None else Decimal(values["price"]).scaleb(-2)
    return oracle.Event(**{**values, "price": price})


def judged_by_oracle(content: bytes) -> Judged:
    """Return the verdicts of the oracle by line."""
    judged: Judged = {}
    for line_number, record, too_long in oracle.lines_of(content, oracle.DEFAULT_LIMITS):
        verdict = oracle.Verdict("too_long") if too_long else oracle.judge(record, LANDING_HOUR)
        judged[line_number] = verdict.event or (verdict.reason, record.decode("utf-8", "replace"))
    return judged


def differences(content: bytes, result: ValidatedObject) -> list[str]:
    """Say line by line where the pipeline and the oracle part; empty when they agree."""
    expected, got = judged_by_oracle(content), judged_by_pipeline(result)
    lines = content.removeprefix(oracle.BYTE_ORDER_MARK).split(b"\n")
    return [
        f"line {number}: {lines[number - 1][:400]!r}\n    contract: {expected.get(number)!s:.400}\n"
        f"    pipeline: {got.get(number)!s:.400}"
        for number in sorted(expected.keys() | got.keys())
        if expected.get(number) != got.get(number)
    ]


TEMPLATES = (PURCHASE, PURCHASE | {"event_type": '"add_to_cart"'}, VIEW, SEARCH)
NASTY = 'aZ0_.:@- \t\u00a0\u0085{}[]"\\/+%é\u212a\u0130１😀\u0301\ufeff\u2028'
WHITE = ("", " ", "  ", "\t", "\r", "\\n", "\\t", "\\u000b", "\u00a0", "\\u001f")


def harvested() -> dict[str, list[str]]:
    """Collect the JSON texts of every field from the hostile lines."""
    pool: dict[str, list[str]] = {name: [] for name in oracle.FIELDS}
    for each in HOSTILE_LINES:
        if len(each.line) > 4_000 or each.verdict == "not_json":
            continue
        for name, text in oracle.members(each.line.strip().decode()).items():
            if name in pool and text not in pool[name]:
                pool[name].append(text)
    return pool


class Mutator:
    """Makes lines that lie close to the rules' edges; equal seeds make equal lines."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pool = harvested()
        lengths = [f'"{"x" * length}"' for length in (64, 65, 128, 129, 1000, 1001)]
        self.plain_texts = ['"a"', '""', "null", '" c "', '"x y"', '"B"', '"SEARCH"', '"a{b"', *lengths]

    def tame_line(self, mutated_share: float) -> bytes:
        """A line of the generator's shape, sometimes with a value at a rule's edge: the fast path's own prey."""
        fields = dict(self.chance.choice(TEMPLATES))
        fields["session_id"] = f'"s_{self.chance.randrange(90_000)}"'
        if self.chance.random() < mutated_share:
            name = self.chance.choice(sorted(fields))
            if name == "timestamp":
                fields[name] = self.timestamp()
            elif name in ("quantity", "price"):
                fields[name] = self.number()
            else:
                fields[name] = self.chance.choice(self.plain_texts)
        return ("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}").encode()

    def wild_line(self) -> bytes:
        """A line whose values, names, order and bytes may all be off."""
        members = list(self.chance.choice(TEMPLATES).items())
        for _ in range(self.chance.choice((0, 1, 1, 1, 2, 3))):
            at = self.chance.randrange(len(members))
            members[at] = (members[at][0], self.value(members[at][0]))
        if self.chance.random() < 0.1:
            del members[self.chance.randrange(len(members))]
        if self.chance.random() < 0.1:
            members.append((self.chance.choice(("extra", "user_id", "", "\\u0070rice")), self.value("price")))
        if self.chance.random() < 0.1:
            self.chance.shuffle(members)
        space = self.chance.choice(("", " ", " ", "\t "))
        line = "{" + f",{space}".join(f'"{name}":{space}{text}' for name, text in members) + "}"
        encoded = line.encode()
        return self.bent(encoded) if self.chance.random() < 0.3 else encoded

    def bent(self, line: bytes) -> bytes:
        """Damage a few bytes."""
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            at = self.chance.randrange(len(line) + 1)
            length = self.chance.choice((0, 1, 1, 2, 9))
            insert = self.chance.choice(
                (b"", b'"', b"{", b"}", b",", b":", b"\\", b"\0", b"\xff", b"\xc3", b"0", b"-", b" ", b"\r")
            )
            line = line[:at] + insert + line[at + length :]
        return line.replace(b"\n", b"")

    def torn_lines(self) -> bytes:
        """A few lines, torn at or joined across line ends, so that what one lacks another may seem to have."""
        content = b"\n".join(self.tame_line(0.03) for _ in range(self.chance.choice((1, 2, 3, 10))))
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            joints = [at for at, byte in enumerate(content) if byte in b'{}:,"\n']
            at = self.chance.choice(joints) + self.chance.choice((0, 1))
            insert = self.chance.choice((b"\n", b"\n{", b"}\n", b"}{", b"} {", b"\r", b"", b" ", b"{}\n", b"null\n"))
            content = content[:at] + insert + content[at + self.chance.choice((0, 0, 1, 1, 2)) :]
        return content

    def value(self, name: str) -> str:
        """A JSON text for a field: from the hostile table, of another field, or made up."""
        kind = self.chance.random()
        if kind < 0.45:
            return self.chance.choice(self.pool[name])
        if kind < 0.55:
            return self.chance.choice(self.pool[self.chance.choice(oracle.FIELDS)])
        if name in ("quantity", "price"):
            return self.number()
        if name == "timestamp":
            return self.timestamp()
        text = "".join(self.chance.choice(NASTY) for _ in range(self.chance.randrange(6)))
        escaped = re.sub(r'["\\\t]', lambda match: f"\\u{ord(match[0]):04x}", text)
        return f'"{self.chance.choice(WHITE)}{escaped}{self.chance.choice(WHITE)}"'.replace("\t", "\\t").replace(
            "\r", "\\r"
        )

    def number(self) -> str:
        """A number near a rule: cents, doubles next to them, limits, exponents; bare or in a string."""
        cents = self.chance.choice(
            (self.chance.randrange(100_000), self.chance.randrange(10_000_000_001), 9_999_999_999)
        )
        text = self.chance.choice(
            (
                f"{cents / 100!r}",
                f"{cents / 100:.2f}",
                f"{cents / 100:.3f}",
                f"{cents / 100:.17g}",
                f"{cents / 100 + self.chance.choice((-1, 1)) * 10.0 ** -self.chance.randrange(1, 18):.17g}",
                f"{cents}e-2",
                f"{cents / 100:.16e}",
                f"{self.chance.randrange(-2, 8)}",
                f"{self.chance.randrange(999_998, 1_000_003)}",
                f"{self.chance.randrange(6)}.{self.chance.choice(('0', '00', '5', '0000000000000001'))}",
                f"-{cents / 100!r}",
                "null",
            )
        )
        return f'"{text}"' if self.chance.random() < 0.2 else text

    def timestamp(self) -> str:
        """A time near the limits of the range, in any of the forms, some of them wrong."""
        edge = self.chance.choice(("2025-11-30T22:00:00", "2025-12-07T23:05:00", "2025-12-07T22:30:00"))
        offset = self.chance.randrange(-900, 901) if self.chance.random() < 0.4 else 0
        step = timedelta(microseconds=self.chance.choice((-1_000_000, -1, 0, 1, 999_999)))
        local = datetime.fromisoformat(edge) + timedelta(minutes=offset) + step
        fraction = self.chance.choice(("", f".{local:%f}", f".{local:%f}"[: self.chance.randrange(1, 8)]))
        fraction += self.chance.choice(("", "", "9", "999", "0000")) if len(fraction) > 1 else ""
        sign, minutes = "-" if offset < 0 else "+", abs(offset)
        zone = f"{sign}{minutes // 60:02}{self.chance.choice((':', ':', ''))}{minutes % 60:02}"
        if not offset:
            zone = self.chance.choice(("Z", "", "+00:00", "-00:00", "+0000", "z", "+00"))
        text = f"{local:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"
        if self.chance.random() < 0.15:
            at = self.chance.randrange(len(text))
            text = text[:at] + self.chance.choice("0123456789T:.-+Z ") + text[at + 1 :]
        return f'"{text}"'
