"""Draws the picture of docs/deploy.md from the template and Dagster's asset graph.

    python -m event_pipeline_tests.infra.architecture

Boxes and arrows follow from the code: what a role may do, what a rule targets, what an asset depends on. Only places
on the page are said here. A test holds the picture in docs/images/ to what this draws.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from event_pipeline.definitions import build_definitions
from event_pipeline.settings import load_settings
from event_pipeline_tests.infra.template import EVERYTHING_ON, TEMPLATE, Template

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "architecture.svg"

WIDTH, BOX, HEIGHT = 1330, 182, 100
_LEFT, _GAP, _TOP, _ROW = 24, 38, 210, 146

PLACES = {
    "DeadLetters": (0, 0),
    "RawQueue": (1, 0),
    "SilverJob": (2, 0),
    "Catalog": (3, 0),
    "Workgroup": (4, 0),
    "AlertTopic": (5, 0),
    "GeneratorSchedule": (0, 1),
    "NewRawObjects": (1, 1),
    "LakeBucket": (3, 1),
    "AnalystRole": (4, 1),
    "AnalystWorkgroup": (4, 2),
    "Alarms": (5, 1),
    "Generator": (0, 2),
    "RawBucket": (1, 2),
    "ArtifactsBucket": (3, 2),
    "FailedGlueRuns": (5, 2),
}
"""Box -> column and row; the orchestrator lies above them all."""

DRAWN = (
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::Events::Rule",
    "AWS::Glue::Job",
    "AWS::Athena::WorkGroup",
    "AWS::SNS::Topic",
    "AWS::Scheduler::Schedule",
)
"""Every resource of these types must have a place; databases, tables and alarms share a box each."""

_COLOURS = {
    "s3": "#e7f2e4",
    "queue": "#fdf0dc",
    "compute": "#e4ecf9",
    "catalog": "#efe6f7",
    "people": "#f2f2f2",
    "alert": "#fbe4e2",
}
_INK, _SOFT, _LINE = "#1d2733", "#5b6673", "#71808f"


class Box(NamedTuple):
    """One box: its title, lines of text, and the colour of its kind."""

    title: str
    lines: list[str]
    kind: str


def draw() -> str:
    """Return the picture as SVG."""
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    deployed = template.with_parameters(**{**EVERYTHING_ON, "KmsKeyArn": ""})
    boxes = _boxes(template, deployed)
    if missing := {name for kind in DRAWN for name in template.of_type(kind)} - PLACES.keys():
        raise LookupError(f"no place in the picture for {sorted(missing)}: give it one in PLACES")
    bottom = _TOP + 2 * _ROW + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 24}" font-family="Helvetica, Arial, '
        f'sans-serif" fill="{_INK}">',
        f'<rect width="{WIDTH}" height="{bottom + 24}" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{_LINE}"/></marker></defs>',
        *_orchestrator(),
    ]
    for start, end, label in sorted(_arrows(deployed)):
        parts += _arrow(start, end, label)
    for name, box in boxes.items():
        parts += _drawn(PLACES[name], box)
    return "\n".join([*parts, "</svg>", ""])


def _boxes(template: Template, deployed: Mapping[str, Mapping[str, Any]]) -> dict[str, Box]:
    def default(name: str) -> Any:
        return template.parameters[name]["Default"]

    def rules(bucket: str) -> list[str]:
        return [
            f"{rule['Prefix']} for {rule['ExpirationInDays']} days"
            for rule in deployed[bucket]["LifecycleConfiguration"]["Rules"]
            if "ExpirationInDays" in rule
        ]

    databases = [each["DatabaseInput"]["Name"] for each in deployed.values() if "DatabaseInput" in each]
    alarms = [
        re.sub(r"(?<!^)([A-Z])", r" \1", name[:-5]).lower() for name in template.of_type("AWS::CloudWatch::Alarm")
    ]
    named_queries = len(template.of_type("AWS::Athena::NamedQuery"))
    job, function = deployed["SilverJob"], deployed["Generator"]
    scan = int(default("AthenaScanLimitBytes")) // 10**12
    tables = [each["TableInput"]["Name"] for each in deployed.values() if "TableInput" in each]
    return {
        "GeneratorSchedule": Box("Schedule", ["every five minutes", "(optional)"], "compute"),
        "Generator": Box(
            "Generator, Lambda",
            [f"{int(default('GeneratorEventsPerFile')):,} events a file", f"{function['MemorySize']} MB (optional)"],
            "compute",
        ),
        "RawBucket": Box("Raw bucket, S3", ["producers write here", *rules("RawBucket")], "s3"),
        "NewRawObjects": Box("Rule, EventBridge", ["Object Created", "below events/"], "queue"),
        "RawQueue": Box("Queue, SQS", ["new raw objects:", "a hint, never the truth"], "queue"),
        "DeadLetters": Box("Dead letters, SQS", ["given up after", "repeated attempts"], "queue"),
        "SilverJob": Box(
            f"Glue job {job['GlueVersion']}, Spark",
            [f"{job['NumberOfWorkers']} x {job['WorkerType']}, {job['Timeout']} min at most", "the shared judge"],
            "compute",
        ),
        "Catalog": Box(
            "Glue catalog",
            [", ".join(databases[:3]), ", ".join(databases[3:]), f"{len(tables)} tables, Gold's added"],
            "catalog",
        ),
        "LakeBucket": Box("Lake bucket, S3", ["runs/ every build apart", "commits/ the only truth", "costs/"], "s3"),
        "ArtifactsBucket": Box("Artifacts bucket, S3", ["artifacts/ by digest", *rules("ArtifactsBucket")], "s3"),
        "Workgroup": Box("Athena workgroup", [f"{scan} TB a query at most", "of the pipeline"], "compute"),
        "AnalystWorkgroup": Box("Athena workgroup", ["of the analysts", f"{named_queries} named queries"], "compute"),
        "AnalystRole": Box("Analysts", ["read Silver, Gold, ledger", "change nothing"], "people"),
        "Alarms": Box(f"{len(alarms)} alarms", [", ".join(alarms[:2]), ", ".join(alarms[2:4]), *alarms[4:]], "alert"),
        "AlertTopic": Box("Topic, SNS", ["alarms, failed runs,", "the pipeline's alerts"], "alert"),
        "FailedGlueRuns": Box("Rule, EventBridge", ["Glue runs that failed"], "alert"),
    }


def _arrows(deployed: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """Return (from, to, label) of every arrow, as properties and permissions say."""
    arrows = set()
    for name in ("NewRawObjects", "FailedGlueRuns"):
        arrows |= {(name, _named(target["Arn"]), "") for target in deployed[name]["Targets"]}
    arrows.add(("RawBucket", "NewRawObjects", "new objects"))
    arrows.add(("RawQueue", _named(deployed["RawQueue"]["RedrivePolicy"]["deadLetterTargetArn"]), ""))
    target = deployed["GeneratorSchedule"]["Target"]
    arrows |= {("GeneratorSchedule", _named(target["Arn"]), "")}
    arrows |= {("GeneratorSchedule", _named(target["DeadLetterConfig"]["Arn"]), "")}
    for role, actor in (("GeneratorRole", "Generator"), ("GlueJobRole", "SilverJob")):
        for effect, bucket in sorted(_touched(deployed[role])):
            arrows.add((actor, bucket, "") if effect == "writes" else (bucket, actor, ""))
    output = deployed["Workgroup"]["WorkGroupConfiguration"]["ResultConfiguration"]["OutputLocation"]
    arrows.add(("Workgroup", _named(output), ""))
    arrows.add(("LakeBucket", "Workgroup", ""))
    output = deployed["AnalystWorkgroup"]["WorkGroupConfiguration"]["ResultConfiguration"]["OutputLocation"]
    arrows.add(("AnalystWorkgroup", _named(output), ""))
    arrows.add(("AnalystRole", "AnalystWorkgroup", "ask"))
    for each in deployed.values():
        for action in each.get("AlarmActions", []):
            arrows.add(("Alarms", _named(action), ""))
    arrows.discard(("FailedGlueRuns", "AlertTopic", ""))
    arrows.add(("FailedGlueRuns", "Alarms", ""))
    return {(start, end, label) for start, end, label in arrows if start != end}


def _touched(role: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return what a role does with the objects of each bucket: it writes there, or only reads."""
    found = dict[str, str]()
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = " ".join(_list(statement["Action"]))
            for resource in _list(statement["Resource"]):
                if ":s3:::" in resource and "Object" in actions and "pipes/" not in resource:
                    writes = "PutObject" in actions
                    found[_named(resource)] = "writes" if writes or found.get(_named(resource)) == "writes" else "reads"
    return {(effect, bucket) for bucket, effect in found.items()}


def _orchestrator() -> list[str]:
    graph = build_definitions(load_settings()).get_repository_def().asset_graph
    keys = [key for key in graph.toposorted_asset_keys if graph.get(key).is_materializable]
    columns = dict[str, int]()
    for key in keys:
        parents = [columns[parent.to_user_string()] for parent in graph.get(key).parent_keys]
        columns[key.to_user_string()] = 1 + max(parents, default=-1)
    in_column = Counter(columns.values())
    gold = max(in_column, key=lambda column: in_column[column])
    chain = [name for name, column in columns.items() if column < gold]
    tables = sorted(name for name, column in columns.items() if column == gold)
    (after,) = (name for name, column in columns.items() if column > gold)
    parts = [
        f'<rect x="{_LEFT}" y="16" width="{WIDTH - 2 * _LEFT}" height="132" rx="10" fill="#f6f8fb" stroke="{_LINE}"/>',
        f'<text x="{_LEFT + 16}" y="42" font-size="15" font-weight="bold">Dagster, in the orchestrator\'s role</text>',
        f'<text x="{_LEFT + 300}" y="42" font-size="12" fill="{_SOFT}">sensors and a schedule ask for landing hours; '
        "each asset builds one</text>",
    ]
    x, width = _LEFT + 16, 132
    for number, name in enumerate(chain):
        parts += _chip(x, 76, width, name)
        parts.append(_line(x + width, 92, x + width + 30, 92))
        x += width + (30 if number < len(chain) else 0)
    right = WIDTH - _LEFT - 16 - 96
    parts.append(f'<rect x="{x}" y="56" width="{right - x}" height="80" rx="8" fill="none" stroke="{_LINE}"/>')
    parts.append(f'<text x="{x + 10}" y="72" font-size="11" fill="{_SOFT}">Gold, one file each in rules/gold/</text>')
    chip = (right - 10 - x) // len(tables)
    for number, name in enumerate(tables):
        parts += _chip(x + 8 + number * chip, 88, chip - 6, name)
    parts.append(_line(right, 92, right + 30, 92))
    parts += _chip(right + 30, 76, 66, after)
    for name, label in (
        ("RawQueue", "takes hints"),
        ("SilverJob", "starts runs"),
        ("Catalog", "registers partitions"),
        ("Workgroup", "asks and unloads"),
        ("AlertTopic", "alerts"),
    ):
        middle = _corner(PLACES[name])[0] + BOX / 2
        parts.append(_line(middle, 148, middle, _TOP - 2))
        parts.append(f'<text x="{middle + 8:g}" y="{_TOP - 26}" font-size="11" fill="{_SOFT}">{label}</text>')
    parts.append(
        f'<text x="{_LEFT + 16}" y="136" font-size="11" fill="{_SOFT}">lists raw objects, writes commit records, plans '
        "and costs</text>"
    )
    return parts


def _chip(x: float, y: float, width: float, text: str) -> list[str]:
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="32" rx="6" fill="#ffffff" stroke="{_LINE}"/>',
        f'<text x="{x + width / 2:g}" y="{y + 20:g}" font-size="11.5" text-anchor="middle">{escape(text)}</text>',
    ]


def _drawn(place: tuple[int, int], box: Box) -> list[str]:
    x, y = _corner(place)
    parts = [
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="8" fill="{_COLOURS[box.kind]}" stroke="{_LINE}"/>',
        f'<text x="{x + 12}" y="{y + 24}" font-size="13.5" font-weight="bold">{escape(box.title)}</text>',
    ]
    for number, line in enumerate(box.lines):
        parts.append(
            f'<text x="{x + 12}" y="{y + 43 + 13 * number}" font-size="11" fill="{_SOFT}">{escape(line)}</text>'
        )
    return parts


def _arrow(start: str, end: str, label: str) -> list[str]:
    (x1, y1), (x2, y2) = _corner(PLACES[start]), _corner(PLACES[end])
    column, row = (PLACES[end][number] - PLACES[start][number] for number in (0, 1))
    if column == 0:
        from_y, to_y = (y1 + HEIGHT, y2 - 2) if row > 0 else (y1, y2 + HEIGHT + 2)
        middle = x1 + BOX / 2
        text = f'<text x="{middle + 8:g}" y="{(from_y + to_y) / 2 + 4:g}" font-size="11" fill="{_SOFT}">{label}</text>'
        return [_line(middle, from_y, middle, to_y), *([text] if label else [])]
    from_x, to_x = (x1 + BOX, x2 - 2) if column > 0 else (x1, x2 + BOX + 2)
    # An arrow leaves a box farther from its middle than it enters one, so that two at one side do not meet.
    down = (row > 0) - (row < 0)
    leaves_y, enters_y = y1 + HEIGHT / 2 + 34 * down, y2 + HEIGHT / 2 - 14 * down
    bend = (to_x - from_x) / 2
    path = (
        f"M{from_x:g} {leaves_y:g} C{from_x + bend:g} {leaves_y:g} {to_x - bend:g} {enters_y:g} {to_x:g} {enters_y:g}"
    )
    return [f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="1.4" marker-end="url(#tip)"/>']


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g}" stroke="{_LINE}" stroke-width="1.4" marker-end="url(#tip)"/>'


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    column, row = place
    return _LEFT + column * (BOX + _GAP), _TOP + row * _ROW


def _named(text: str) -> str:
    """Return the logical name in an ARN or URL that is worked out, for example `<RawQueue>`."""
    found = re.search(r"<(\w+)>", text)
    name = found[1] if found else text
    return {each.lower(): each for each in PLACES}.get(name.lower(), name)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"{PICTURE} is drawn")
