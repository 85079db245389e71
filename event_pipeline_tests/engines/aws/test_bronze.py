"""`bronze.events`, the raw lines as a table: the same rows on one machine, in memory and on Athena."""

from __future__ import annotations

import gzip
import re

import pytest

from event_pipeline.cli import main
from event_pipeline.errors import PipelineError, StorageError
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.conftest import AWS_BY_HOST_WITH_TWO_TABLES, MEMORY
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, write_object

NEXT = HOUR.plus(1)
LINES = [
    event(second=1, user_id="u_ä"),
    purchase(second=2, price=19.99, quantity=3),
    {"timestamp": None, "quantity": True, "category": 7},
    b"no json",
    b"[1]",
    b"",
    b'{"user_id": "u_2", "more": {"a": 1}}\r',
]
BROKEN = gzip.compress(b"{}\n" * 1000)[:-12]


@pytest.mark.parametrize("world", ["local", MEMORY, AWS_BY_HOST_WITH_TWO_TABLES], indirect=True)
def test_raw_lines_are_rows_of_text_on_every_assembly(world: World) -> None:
    write_object(world.root, HOUR, 0, LINES)
    write_object(world.root, NEXT, 5, [event(NEXT, user_id="u_next")])
    world.land()
    found = rows(world.engine, "SELECT * FROM bronze.events WHERE day = '07' AND hour = '22'")
    assert list(found[0])[:2] + list(found[0])[-5:] == "event_timestamp user_id year month day hour minute".split()
    names = ("user_id", "price", "quantity", "category")
    assert sorted(" ".join(row[name] or "-" for name in names) for row in found) == [
        "- - - -",
        "- - - -",
        "- - true 7",
        "u_1 19.99 3 books",
        "u_2 - - -",
        "u_ä - - books",
    ]
    assert {(row["year"], row["month"], row["minute"]) for row in found} == {("2025", "12", "00")}
    counted = rows(world.engine, "SELECT hour, COUNT(*) AS n FROM bronze.events WHERE day = '07' GROUP BY 1 ORDER BY 1")
    assert counted == [{"hour": "22", "n": 6}, {"hour": "23", "n": 1}]
    write_object(world.root, HOUR, 10, BROKEN)
    world.land()
    with pytest.raises(PipelineError, match="minute=10/events-20251207-221000"):
        world.engine.query("SELECT COUNT(user_id) FROM bronze.events WHERE day = '07'")
    without = "SELECT COUNT(*) AS n FROM bronze.events WHERE day = '07' AND NOT (hour = '22' AND minute = '10')"
    assert rows(world.engine, without) == [{"n": 7}]


@pytest.mark.parametrize("world", ["local"], indirect=True)
def test_a_raw_object_whose_checksum_is_wrong_shows_no_rows(world: World) -> None:
    stored = bytearray(gzip.compress(b'{"user_id": "u_1"}\n'))
    stored[-8] ^= 0xFF
    write_object(world.root, HOUR, 0, bytes(stored))
    with pytest.raises(StorageError, match=r"bronze.events cannot show this raw object \(corrupt_gzip\)"):
        world.engine.query("FROM bronze.events")


@pytest.mark.parametrize("world", [AWS_BY_HOST_WITH_TWO_TABLES], indirect=True)
def test_bytes_and_usd_of_athena_are_said(
    world: World, aws: EmulatedAws, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in aws.settings_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(world.root))
    monkeypatch.setenv("COLUMNS", "200")
    write_object(world.root, HOUR, 0, [event(), purchase(second=1)])
    world.build([HOUR])
    with pytest.raises(SystemExit) as end:
        main(["query", "SELECT price FROM silver.events WHERE price IS NOT NULL", "--format", "csv"])
    said = capfd.readouterr()
    assert (end.value.code or 0, said.out) == (0, "price\r\n9.99\r\n")
    assert re.fullmatch(r"\d+\.\d\d s, [1-9][\d.]* (B|KiB) read\n", said.err)
    with pytest.raises(SystemExit) as end:
        main(["compare", "hourly_revenue", "--day", "2025-12-07"])
    said = capfd.readouterr()
    assert (end.value.code or 0, said.err.splitlines()[1:]) == (
        0,
        [
            "Gold and Silver give the same rows to the question of hourly_revenue.",
            "So does Bronze, the raw lines, to the question of hourly_revenue.",
        ],
    )
    # Athena bills at least 10 MB for each of them.
    assert said.out.count("0.000050") == 3
