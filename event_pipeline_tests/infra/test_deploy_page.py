"""docs/deploy.md says what the template and the prices say."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from event_pipeline.settings import load_settings
from event_pipeline_tests.infra.checks import service_actions
from event_pipeline_tests.infra.daily_costs import table
from event_pipeline_tests.infra.template import TEMPLATE, Template

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
WITHOUT_PERMISSION = {"CloudFormation"}
"""Services whose resources the stack makes without calling them: a custom resource calls its function."""


def test_the_costs_of_a_day_are_worked_out_from_the_prices_of_the_settings() -> None:
    assert table(load_settings()) in PAGE, "python -m event_pipeline_tests.infra.daily_costs says what it must be"


def test_the_permissions_to_deploy_name_every_service_of_the_template() -> None:
    resources = Template(TEMPLATE.read_text(encoding="utf-8")).resources.values()
    services = {each["Type"].split("::")[1] for each in resources} - WITHOUT_PERMISSION
    section = PAGE.split("## Permissions needed to deploy")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert {service.lower() for service in services} - named == set()


def test_the_permissions_to_deploy_are_actions_that_exist() -> None:
    """AWS's reference, as cfn-lint ships it: `PutBucketEncryption` is a call, its action has another name."""
    section = PAGE.split("## Permissions needed to deploy")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    known = {service: service_actions(service) for service, _ in rows}
    unknown = [
        f"{service}:{action}"
        for service, actions in rows
        for action in re.findall(r"`([A-Z]\w+\*?)`", actions)
        if not fnmatch.filter(known[service], action.lower())
    ]
    assert unknown == []
    named = {f"{service}:{action}" for service, actions in rows for action in re.findall(r"`([A-Z]\w+)`", actions)}
    assert {"s3:PutEncryptionConfiguration", "s3:DeleteBucket", "iam:PassRole", "glue:GetJob"} <= named


def test_the_page_names_parameters_that_exist() -> None:
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    known = template.parameters.keys() | template.outputs.keys()
    pattern = r"`((?:Existing|Raw|Silver|Gold|Empty|Glue|Name|Database|Orchestrator|Analyst)[A-Z]\w+)(?:=\S+)?`"
    mentioned = set(re.findall(pattern, PAGE))
    assert mentioned - known == set()
    assert {"ExistingRawBucket", "EmptyBucketsOnDelete", "RawRetentionDays"} <= mentioned
