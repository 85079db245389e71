"""What a new field and a new event type change, checked in a copy of the project that declares them.

`test_new_field.py` makes the copy, applies the lines of CONTRIBUTING.md and runs this module there.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime
from pathlib import Path

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.inspection.verification import verify
from event_pipeline.rules.contract import FIELDS, QUARANTINE_REASONS, SILVER_EVENTS, Limits
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.generated import CONTRACT_PAGE, TEMPLATE, generated
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, write_object
from event_pipeline_tests.reference_pages import DATA_DICTIONARY
from event_pipeline_tests.rules.test_validation import Mutator, clean_lines, reference_verdicts, validated, verdicts_of

LINES = [
    event(second=1, device="Mobile"),
    event(second=2),
    event(second=3, device=None),
    event(second=4, device="fridge"),
    purchase(second=5, device="desktop", referrer="mail"),
    event(second=6, event_type="wishlist_add", device="mobile"),
    event(second=7, event_type="wishlist_add", product_id=None),
]
SHOWN = "SELECT event_type, device, rescued FROM silver.events ORDER BY event_ts"
EXPECTED = [
    {"event_type": "page_view", "device": "mobile", "rescued": None},
    {"event_type": "page_view", "device": None, "rescued": None},
    {"event_type": "page_view", "device": None, "rescued": None},
    {"event_type": "purchase", "device": "desktop", "rescued": '{"referrer":"mail"}'},
    {"event_type": "wishlist_add", "device": "mobile", "rescued": None},
]
REASONS = [{"reason": "missing_product_id"}, {"reason": "unknown_device"}]


def test_both_judges_know_them() -> None:
    assert "device" in [field.name for field in FIELDS]
    assert QUARANTINE_REASONS[-1] == "unknown_device"
    mutator, chance = Mutator(7), random.Random(7)
    devices = ["mobile", "Desktop", "fridge", "", None, 1, ["mobile"], " desktop ", "mobile\u0000"]
    for line in clean_lines(2_000, 8):
        fields = json.loads(line) | {"device": chance.choice(devices)}
        if chance.random() < 0.3:
            fields["event_type"] = chance.choice(["wishlist_add", "Wishlist_Add", "wishlist"])
        mutator.clean.append(json.dumps(fields).encode())
    mutator.values["device"] = [json.dumps(each) for each in devices]
    content = mutator.content(100_000, 0.5)
    expected, found = reference_verdicts(content.split(b"\n")), verdicts_of(validated(content))
    assert found == expected
    reasons = {verdict[0] for verdict in expected.values() if len(verdict) == 2}
    assert "unknown_device" in reasons
    accepted = [verdict for verdict in expected.values() if len(verdict) > 2]
    assert {verdict[3] for verdict in accepted} >= {"wishlist_add", "search"}
    assert {verdict[-2] for verdict in accepted} == {None, "mobile", "desktop"}


def test_the_embedded_engine_builds_and_verifies_them(root: Path) -> None:
    write_object(root, HOUR, 0, LINES)
    world = World(LocalEngine(load_settings(root=root, workers=1)), root, None)
    (built,) = world.build([HOUR])
    assert built.commit.account.quarantined_by_reason == {"missing_product_id": 1, "unknown_device": 1}
    assert rows(world.engine, SHOWN) == EXPECTED
    assert rows(world.engine, "SELECT reason FROM silver.quarantine ORDER BY reason") == REASONS
    totals = world.engine.silver_totals(date(2025, 12, 7))
    assert totals.measures["wishlist_adds"] == 1
    for table in load_gold_tables():
        assert all(measure.gold == measure.silver for measure in world.engine.reconcile(table, [date(2025, 12, 7)]))
    found = verify(world.engine, load_gold_tables(), Limits(), None, datetime.now(UTC), lambda *_: None)
    assert [found.hours[0].silver_rows, found.hours[0].quarantined, found.differences] == [5, 2, []]


def test_aws_builds_them_into_a_table_with_the_column(aws: EmulatedAws, settings: Settings, root: Path) -> None:
    write_object(root, HOUR, 0, LINES)
    world = World(AwsEngine(settings), root, (aws, settings.raw_bucket))
    world.build([HOUR])
    assert rows(world.engine, SHOWN) == EXPECTED
    table = aws.client("glue").get_table(DatabaseName="silver", Name="events")["Table"]
    columns = {each["Name"]: each["Type"] for each in table["StorageDescriptor"]["Columns"]}
    assert columns == {column.name: column.type for column in SILVER_EVENTS.columns}


def test_pages_and_template_have_them() -> None:
    follow = generated()
    for path, text in follow.items():
        assert path.read_text(encoding="utf-8") == text
    for path in (CONTRACT_PAGE, DATA_DICTIONARY, TEMPLATE):
        assert "device" in follow[path]
    page = follow[CONTRACT_PAGE]
    assert "| `device` | string, optional | every event | Null if unknown |" in page
    assert "| `unknown_device` | not `desktop` or `mobile` |" in page
    assert "| `wishlist_add` | `product_id`, `category` |" in page
