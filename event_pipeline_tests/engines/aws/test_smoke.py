"""The smoke test for a real account works in the emulated one, and leaves nothing there."""

from __future__ import annotations

import pytest

from event_pipeline_tests import smoke_aws
from event_pipeline_tests.emulator import EmulatedAws


@pytest.mark.spark
def test_the_smoke_test_passes_and_cleans_up(aws: EmulatedAws, capsys: pytest.CaptureFixture[str]) -> None:
    before = what_there_is(aws)
    role = "arn:aws:iam::123456789012:role/glue"
    assert smoke_aws.main(["--region", aws.region, "--glue-role", role]) == 0
    assert "every table equals the oracle's" in capsys.readouterr().out
    assert what_there_is(aws) == before


def what_there_is(aws: EmulatedAws) -> dict[str, list[str]]:
    """Names of buckets, databases, workgroups and jobs."""
    glue = aws.client("glue")
    return {
        "buckets": sorted(each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]),
        "databases": sorted(each["Name"] for each in glue.get_databases()["DatabaseList"]),
        "workgroups": sorted(each["Name"] for each in aws.client("athena").list_work_groups()["WorkGroups"]),
        "jobs": sorted(glue.list_jobs()["JobNames"]),
    }
