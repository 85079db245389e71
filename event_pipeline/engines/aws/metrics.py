"""What the stack's alarms know of the data: CloudWatch metrics, put when hours are published."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.base import Progress, SilverBuild, SilverOutcome
from event_pipeline.errors import PipelineError
from event_pipeline.settings import PREFIX, Settings

QUARANTINED_SHARE = "QuarantinedShare"
"""Share of the records of a landing hour that are in quarantine, 0 to 1; one data point a published hour."""
_TOLD_AGAIN = timedelta(hours=1)


def put_quarantined_shares(
    aws: Aws, settings: Settings, builds: Iterable[SilverBuild], now: datetime, progress: Progress
) -> None:
    """Put the quarantined share of each hour that was published, as its commit record has it.

    An hour that was published by a run that died then may not have been told: for an hour it is told again, and the
    alarm's maximum stays the same. The data stands whatever CloudWatch says, so its refusal is told and fails nothing.
    """
    if not settings.metric_namespace:
        return
    told = [
        build.commit.account
        for build in builds
        if build.outcome is SilverOutcome.BUILT or now - build.commit.committed_at < _TOLD_AGAIN
    ]
    shares = [account.quarantined / account.records for account in told if account.records]
    if not shares:
        return
    points = [{"MetricName": QUARANTINED_SHARE, "Value": share} for share in shares]
    try:
        aws.call(
            "cloudwatch",
            "put_metric_data",
            f"namespace {settings.metric_namespace}",
            Namespace=settings.metric_namespace,
            MetricData=points,
        )
    except PipelineError as error:
        progress(f"the quarantined share was not put to {PREFIX}METRIC_NAMESPACE={settings.metric_namespace}: {error}")
