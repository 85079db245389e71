"""Takes out of the service specification that aws-cdk is made from what `service_spec.py` holds the template to.

    npm pack @aws-cdk/aws-service-spec
    python -m event_pipeline_tests.infra.extract_service_spec aws-cdk-aws-service-spec-<version>.tgz

Needed after the template got a resource of a new type, and to move to a newer specification. The package is published
by npm alone; what is taken out is kept in this checkout, so that the tests need no npm.
"""

from __future__ import annotations

import gzip
import json
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from event_pipeline_tests.infra.template import TEMPLATE, Template

SPECIFICATION = Path(__file__).parent / "service_spec.json"
EVENT_SOURCES = ("aws.athena", "aws.cloudformation", "aws.cloudwatch", "aws.glue", "aws.s3", "aws.scheduler")
METRIC_NAMESPACES = ("AWS/Events", "AWS/Lambda", "AWS/SNS", "AWS/SQS", "AWS/S3", "AWS/Scheduler", "AWS/Logs")


def main() -> None:
    """Write what is taken out of the package that the command line names."""
    with tarfile.open(sys.argv[1]) as package:
        database = package.extractfile("package/db.json.gz")
        about = package.extractfile("package/package.json")
        assert database is not None
        assert about is not None
        spec = json.loads(gzip.decompress(database.read()))["schema"]
        named = json.loads(about.read())
    kinds = {each["Type"] for each in Template(TEMPLATE.read_text(encoding="utf-8")).resources.values()}
    extracted = {
        "source": f"{named['name']} {named['version']} (npm), https://github.com/cdklabs/awscdk-service-spec",
        "licence": f"{named['license']}, Copyright Amazon.com, Inc. or its affiliates. All Rights Reserved.",
        **extract(spec, kinds),
    }
    SPECIFICATION.write_text(json.dumps(extracted, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def extract(spec: dict[str, Any], kinds: Iterable[str]) -> dict[str, Any]:
    """Return resources of some types, the types of their properties, events and metrics; no documentation."""
    resources = {each["cloudFormationType"]: each for each in spec["resource"]["entities"]}
    definitions = {each["$id"]: each for each in spec["typeDefinition"]["entities"]}
    found: dict[str, Any] = {"resources": {}, "types": {}, "events": {}, "metrics": {}}
    waiting: list[str] = []
    for kind in sorted(kinds):
        made = resources[kind]
        properties = _properties(made["properties"], waiting)
        found["resources"][kind] = {"attributes": sorted(made["attributes"]), "properties": properties}
    while waiting:
        reference = waiting.pop()
        if reference not in found["types"]:
            found["types"][reference] = {}
            found["types"][reference] = _properties(definitions[reference]["properties"], waiting)
    details = {each["$id"]: each for each in spec["eventTypeDefinition"]["entities"]}
    for event in spec["event"]["entities"]:
        if event["source"] in EVENT_SOURCES and "CloudTrail" not in event["detailType"]:
            tree = _fields(details, event["rootProperty"]["$ref"])
            found["events"].setdefault(event["source"], {})[event["detailType"]] = tree
    sets = {each["$id"]: sorted(one["name"] for one in each["dimensions"]) for each in spec["dimensionSet"]["entities"]}
    for metric in spec["metric"]["entities"]:
        if metric["namespace"] in METRIC_NAMESPACES:
            used = spec["usesDimensionSet"]["forward"].get(metric["$id"], [])
            dimensions = found["metrics"].setdefault(metric["namespace"], {}).setdefault(metric["name"], [])
            dimensions += [sets[each["$ref"] if "$ref" in each else each["$id"]] for each in used]
    return found


def _properties(properties: dict[str, Any], waiting: list[str]) -> dict[str, Any]:
    return {
        name: {"type": _type(each["type"], waiting)} | ({"required": True} if each.get("required") else {})
        for name, each in properties.items()
    }


def _type(type_: dict[str, Any], waiting: list[str]) -> dict[str, Any]:
    match type_["type"]:
        case "ref":
            waiting.append(type_["reference"]["$ref"])
            return {"type": "ref", "to": type_["reference"]["$ref"]}
        case "array" | "map":
            return {"type": type_["type"], "element": _type(type_["element"], waiting)}
        case "union":
            return {"type": "union", "types": [_type(each, waiting) for each in type_["types"]]}
    allowed = {"allowed": type_["allowedValues"]} if "allowedValues" in type_ else {}
    return {"type": type_["type"], **allowed}


def _fields(details: dict[str, Any], reference: str) -> dict[str, Any]:
    """Return the fields of an event's detail; those without fields of their own are empty."""
    return {
        name: _fields(details, each["type"]["reference"]["$ref"]) if each["type"]["type"] == "ref" else {}
        for name, each in details[reference]["properties"].items()
    }


if __name__ == "__main__":
    main()
