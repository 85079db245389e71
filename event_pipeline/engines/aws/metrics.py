"""CloudWatch metrics for the stack's alarms, reported when hours are published."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.base import Progress, SilverBuild, SilverOutcome
from event_pipeline.errors import PipelineError
from event_pipeline.settings import PREFIX, Settings

QUARANTINED_SHARE = "QuarantinedShare"
"""Share of a landing hour's records that are in quarantine, 0 to 1; one data point per published hour."""
_TOLD_AGAIN = timedelta(hours=1)


def put_quarantined_shares(
    aws: Aws, settings: Settings, builds: Iterable[SilverBuild], now: datetime, progress: Progress
) -> None:
    """Report the quarantined share of each published hour, from its commit record.

    A run that died after publishing an hour may not have reported it, so for one hour it is reported again; the alarm
    uses the maximum, so repeats do not matter. The data is published either way, so an error is only logged.
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
        progress(
            f"the quarantined share was not reported to {PREFIX}METRIC_NAMESPACE={settings.metric_namespace}: {error}"
        )
