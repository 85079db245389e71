"""The steps of an engine: every call of a port is one, in every assembly, and a fault does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import PipelineError
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.engines.memory_engine import MemoryEngine
from event_pipeline_tests.pipeline import HOUR, build, event, write_object
from event_pipeline_tests.reliability.steps import IN_MEMORY, STEPS, Asked, Fault, Killed, Steps, numbered

TABLES = [table for table in load_gold_tables() if table.name == "user_activity"]
Assembly = Callable[[Settings], PortEngine]  # type: ignore[type-arg]
every_assembly = pytest.mark.parametrize("assembly", [LocalEngine, MemoryEngine])


@pytest.mark.parametrize("port", STEPS)
def test_every_call_of_a_port_is_a_step_unless_it_reaches_nothing_outside(port: type) -> None:
    declared = {name for name in (*vars(port), *port.__annotations__) if not name.startswith("_")}
    assert declared == STEPS[port] | set(IN_MEMORY[port])


@every_assembly
def test_a_step_may_fail_lose_its_reply_or_be_the_last_one(root: Path, assembly: Assembly) -> None:
    settings = load_settings(root=root, workers=1)
    write_object(root, HOUR, 0, [event()])
    whole = Steps()
    with numbered(whole):
        build(assembly(settings), [HOUR], TABLES)
    names = {step.name for step in whole.taken}
    assert {"Builder.build", "Store.take", "Store.replace", "Catalog.change", "Sql.partial", "Sql.fold"} <= names
    assert [step.number for step in whole.taken] == list(range(1, len(whole.taken) + 1))

    record = f"commits/hours/{HOUR.hive_path}.json"
    for fault, error, published in (
        (Fault.FAILS, PipelineError, False),
        (Fault.REPLY_LOST, PipelineError, True),
        (Fault.ENDS_BEFORE, Killed, False),
        (Fault.ENDS_AFTER, Killed, True),
    ):
        steps = Steps(at_publication(record, fault))
        with numbered(steps):
            engine = assembly(settings.model_copy(update={"root": root / "faults"}))
            engine._lake.delete([record])
        with pytest.raises(error):
            list(engine.build_silver([HOUR], progress=lambda _: None))
        assert steps.ended is (error is Killed)
        steps.ended = False
        assert (engine.hour_commit(HOUR) is not None) is published, fault


def at_publication(record: str, fault: Fault) -> Asked:
    return lambda step: fault if (step.name, step.about) == ("Store.replace", record) else None


def test_nothing_acts_in_a_process_that_has_ended(root: Path) -> None:
    steps = Steps(lambda step: Fault.ENDS_BEFORE if step.name == "Store.replace" else None)
    with numbered(steps):
        engine = MemoryEngine(load_settings(root=root, workers=1))
    with pytest.raises(Killed):
        engine._lake.replace("a", b"1", None)
    taken = len(steps.taken)
    with pytest.raises(Killed):
        engine._lake.write("a", b"1")
    assert len(steps.taken) == taken
