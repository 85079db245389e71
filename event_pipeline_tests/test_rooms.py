"""The rooms of the package and the one direction of imports between them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import event_pipeline

PACKAGE = "event_pipeline"
CHECKOUT = Path(event_pipeline.__file__).parents[1]
FLOORS: tuple[tuple[frozenset[str], ...], ...] = (
    (frozenset({"rules"}),),
    (frozenset({"errors"}), frozenset({"settings"}), frozenset({"generator"}), frozenset({"shipped"})),
    (frozenset({"engines"}),),
    (frozenset({"assets"}), frozenset({"infrastructure"})),
    (frozenset({"dagster_instance"}),),
    (frozenset({"operations"}), frozenset({"inspection"}), frozenset({"alerts"}), frozenset({"lake"})),
    (frozenset({"report"}),),
    (frozenset({"automation"}), frozenset({"reporting"}), frozenset({"webserver"})),
    (frozenset({"definitions"}), frozenset({"commands"})),
    (frozenset({"cli"}),),
)
"""From the ground up; a module imports its own room and what lies on lower floors."""

THIRD_PARTY = {
    "rules": {"pyarrow", "isal"},
    "generator": {"boto3", "botocore"},  # of the Lambda function alone, which finds them at hand
    "engines": {"boto3", "botocore", "duckdb", "filelock", "fsspec", "pyarrow", "sqlglot", "urllib3"},
    "assets": {"dagster", "dagster_aws", "pydantic"},  # dagster_aws for Dagster Pipes
    "infrastructure": {"yaml"},  # AWS is called through engines/aws
    "dagster_instance": {"dagster", "psutil", "sqlalchemy", "yaml"},
    "operations": {"dagster"},
    "inspection": {"pyarrow"},
    "alerts": {"dagster", "pydantic"},
    "report": set(),
    "automation": {"dagster", "pydantic"},
    "definitions": {"dagster"},
    "webserver": {"dagster", "dagster_webserver", "graphql"},
}
"""What a room may import from outside the standard library; the rooms that are not named choose for themselves."""

KNOW_PLACES = {"settings", "infrastructure", "engines", f"{PACKAGE}.commands.stack"}
"""Rooms and modules that may name Environment.AWS: they define, deploy or are the places to run."""
USE_ENGINES = {"infrastructure", "engines", f"{PACKAGE}.commands.stack"}
"""Rooms and modules that may import from inside of an engine."""


def sources() -> dict[str, str]:
    """Source of every module of the package, by dotted name."""
    folder = Path(event_pipeline.__file__).parent
    modules = {}
    for path in folder.rglob("*.py"):
        parts = (PACKAGE, *path.relative_to(folder).with_suffix("").parts)
        modules[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return modules


def import_faults(modules: Mapping[str, str]) -> list[str]:
    """Return every import that goes up, sideways or to a package that its room does without."""
    faults = []
    for name, source in sorted(modules.items()):
        room = room_of(name)
        for target in imported(source):
            top = target.split(".")[0]
            if top == PACKAGE:
                if not may_import(room, room_of(target)):
                    faults.append(f"{name} imports {target}")
            elif room in THIRD_PARTY and top not in sys.stdlib_module_names and top not in THIRD_PARTY[room]:
                faults.append(f"{name} imports {target}")
    return faults


def imported(source: str) -> Iterator[str]:
    """Name every module that a source imports, at its top or inside of functions, not for type checks alone."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if id(node) not in for_types or name.startswith(PACKAGE):
                yield name


def room_of(module: str) -> str:
    """Return the room of a module, or nothing for the package itself."""
    parts = module.split(".")
    known = {room for floor in FLOORS for rooms in floor for room in rooms}
    return parts[1] if len(parts) > 1 and parts[1] in known else ""


def may_import(room: str, target: str) -> bool:
    """Return whether a room may import another one; every room may import the package itself."""
    if room == target or not target:
        return True
    if not room:
        return target == "lake"  # `from event_pipeline import open_lake`
    floor, neighbours = place(room)
    return target in neighbours or place(target)[0] < floor


def place(room: str) -> tuple[int, frozenset[str]]:
    """Return the floor of a room and the modules that form it."""
    for floor, rooms in enumerate(FLOORS):
        for neighbours in rooms:
            if room in neighbours:
                return floor, neighbours
    raise LookupError(f"{room!r} has no floor: give it one in FLOORS")


def test_every_module_has_a_room() -> None:
    assert {name for name in sources() if not room_of(name)} == {PACKAGE}


def test_contributing_draws_the_floors() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = text.split("## Where things go")[1].split("```text\n")[2].split("```")[0]
    floors = [{room for rooms in floor for room in rooms} for floor in reversed(FLOORS)]
    assert [set(line.split()) for line in drawn.splitlines()] == floors


def test_contributing_names_every_room() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    layout = text.split("## Where things go")[1].split("```")[1]
    named = set(re.findall(r"^  (\w+)(?:/|[.]py) ", layout, re.MULTILINE))
    assert named == {room for floor in FLOORS for rooms in floor for room in rooms}


@pytest.mark.parametrize("room", sorted({name.split(".")[1] for name in sources() if name.count(".") > 1}))
def test_a_room_says_what_does_not_belong_there(room: str) -> None:
    said = ast.get_docstring(ast.parse(sources()[f"{PACKAGE}.{room}"])) or ""
    assert "Not here: " in said


BESIDE_THE_ROOMS = {"browser", "emulator", "glue_scripts", "infra", "reliability", "trino"}
"""Folders of tests of what is outside the package: the emulated account, the Glue job, the template, a real Trino, a
real browser; and of what every room takes part in, reliability."""


def misplaced_tests(paths: Iterable[str]) -> list[str]:
    """Return every file of tests that is not in the folder of its room; paths are relative to the tests' folder."""
    folders = {name.split(".")[1] for name in sources() if name.count(".") > 1}
    faults = []
    for path in sorted(paths):
        folder, _, name = path.partition("/")
        if not name:
            room = next((each for each in folders if folder == f"test_{each}.py"), "")
            faults += [f"{path} belongs into {room}/"] if room else []
        elif folder not in folders | BESIDE_THE_ROOMS:
            faults.append(f"{path} is in no room's folder")
    return faults


def test_tests_are_in_the_folders_of_their_rooms() -> None:
    folder = CHECKOUT / f"{PACKAGE}_tests"
    assert misplaced_tests(path.relative_to(folder).as_posix() for path in folder.rglob("test_*.py")) == []


def test_every_room_has_a_folder_of_tests() -> None:
    rooms = {name.split(".")[1] for name in sources() if name.count(".") > 1}
    assert {room for room in rooms if not any((CHECKOUT / f"{PACKAGE}_tests" / room).glob("**/test_*.py"))} == set()


@pytest.mark.parametrize(
    ("path", "caught"),
    [
        ("test_webserver.py", True),
        ("backfills/test_plan.py", True),
        ("operations/test_backfills.py", False),
        ("emulator/test_stack.py", False),
        ("test_contract.py", False),
    ],
)
def test_a_misplaced_test_is_caught(path: str, caught: bool) -> None:
    assert bool(misplaced_tests([path])) == caught


def test_no_two_classes_have_one_name() -> None:
    """But for those of the two engines that are the same step on disk and on AWS."""
    places: dict[str, set[str]] = {}
    for module, source in sources().items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, set()).add(re.sub(r"[.]engines[.](local|aws)[.].*", ".engine", module))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def knowledge_of_places(modules: Mapping[str, str]) -> list[str]:
    """Return every module that tests for AWS, or imports an engine's inside, and should ask the engine instead."""
    inside = (f"{PACKAGE}.engines.aws", f"{PACKAGE}.engines.local", f"{PACKAGE}.engines.host")
    faults = []
    for name, source in sorted(modules.items()):
        if not {name, room_of(name)} & KNOW_PLACES and "Environment.AWS" in expressions(source):
            faults.append(f"{name} names Environment.AWS")
        if not {name, room_of(name)} & USE_ENGINES:
            faults += [f"{name} imports {target}" for target in imported(source) if target.startswith(inside)]
    return faults


def places_in_the_algorithm(modules: Mapping[str, str]) -> list[str]:
    """Return every import by which the algorithm would know a place, or one place another."""
    engines, faults = f"{PACKAGE}.engines", []
    may_import = {"local": {"host"}, "aws": {"host"}, "host": set[str](), "open": {"local", "aws", "host"}}
    for name, source in sorted(modules.items()):
        if name.startswith(f"{engines}."):
            part = name.split(".")[2]
            wrong = {"local", "aws", "host"} - may_import.get(part, set()) - {part}
            inside = tuple(f"{engines}.{each}" for each in wrong)
            faults += [f"{name} imports {target}" for target in imported(source) if target.startswith(inside)]
    return faults


def test_the_algorithm_knows_no_place_and_no_place_another() -> None:
    assert places_in_the_algorithm(sources()) == []


@pytest.mark.parametrize(
    ("module", "target"),
    [("gold", "local.catalog"), ("aws.engine", "local.files"), ("local.engine", "aws.raw"), ("host.layout", "local")],
)
def test_an_engine_that_knows_another_place_is_caught(module: str, target: str) -> None:
    source = f"import {PACKAGE}.engines.{target}"
    assert len(places_in_the_algorithm({f"{PACKAGE}.engines.{module}": source})) == 1


def expressions(source: str) -> set[str]:
    """Return every attribute that a source names, as it is written."""
    return {ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}


def test_what_a_place_alone_knows_is_asked_of_the_engine() -> None:
    assert knowledge_of_places(sources()) == []


@pytest.mark.parametrize(
    ("module", "source", "caught"),
    [
        ("reporting.answers", "on_aws = settings.env is Environment.AWS", True),
        ("commands.cost", "def f():\n    from event_pipeline.engines.aws import AwsEngine", True),
        ("inspection.doctor", "import event_pipeline.engines.host.layout", True),
        ("alerts.facts", "if TYPE_CHECKING:\n    from event_pipeline.engines.aws.costs import StepCost", True),
        ("commands.stack", "from event_pipeline.engines.aws.clients import Aws", False),
        ("infrastructure.account", "from event_pipeline.engines.aws.clients import Aws", False),
        ("infrastructure.environment", "said = Environment.AWS.value", False),
        ("engines.place", "match settings.env:\n    case Environment.AWS:\n        pass", False),
        ("reporting.answers", "from event_pipeline.engines.place import place_of", False),
    ],
)
def test_a_room_that_knows_places_is_caught(module: str, source: str, caught: bool) -> None:
    assert bool(knowledge_of_places({f"{PACKAGE}.{module}": source})) == caught


def test_imports_go_down_only() -> None:
    assert import_faults(sources()) == []


@pytest.mark.parametrize(
    ("module", "source", "caught"),
    [
        ("rules.hour", "from event_pipeline.engines.base import Engine", True),
        ("rules.hour", "def f():\n    from event_pipeline import settings", True),
        ("rules.hour", "import duckdb", True),
        ("engines.base", "from event_pipeline.assets.raw import RAW_EVENTS", True),
        ("engines.local.engine", "import dagster as dg", True),
        ("assets.gold", "import event_pipeline.automation.jobs", True),
        ("assets.gold", "import pyarrow as pa", True),
        ("assets.gold", "if TYPE_CHECKING:\n    from event_pipeline.cli import main", True),
        ("assets.gold", "from event_pipeline.inspection.verification import verify", True),
        ("operations.runs", "from event_pipeline.definitions import defs", True),
        ("operations.housekeeping", "from event_pipeline.automation.jobs import REPAIR_PARTITIONS", True),
        ("alerts.facts", "from event_pipeline.operations.runs import run_range", True),
        ("inspection.doctor", "from rich.console import Console", True),
        ("definitions", "from event_pipeline.cli import main", True),
        ("engines.base", "if TYPE_CHECKING:\n    import dagster", False),
        ("engines.base", "from event_pipeline.rules.hour import Hour", False),
        ("engines.state", "from event_pipeline.engines.base import Engine", False),
        ("assets.gold", "from event_pipeline.settings import Settings", False),
        ("reporting.build_summary", "from event_pipeline.operations.building import BuildPlan", False),
        ("cli", "from event_pipeline import __version__", False),
    ],
)
def test_a_wrong_import_is_caught(module: str, source: str, caught: bool) -> None:
    assert bool(import_faults({f"{PACKAGE}.{module}": source})) == caught
