"""Bookkeeping of steps on AWS: cost records in the lake, and CloudWatch metrics of published hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.costs import CostStore, Meter, shared
from event_pipeline.engines.aws.metrics import put_quarantined_shares
from event_pipeline.engines.base import Cost, Progress, SilverBuild, StepCost
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings


class AwsSpending(Meter):
    """Implements `engines.silver.Spending`: a meter that stores shares as cost records."""

    def __init__(self, aws: Aws, settings: Settings, costs: CostStore) -> None:
        super().__init__(aws, settings)
        self._costs = costs

    def shared(self, step: str, hours: Sequence[Hour], build_id: str) -> Cost:
        """Record each hour's share of the cost, and return one share."""
        share = shared(self.cost(), len(hours))
        for hour in hours:
            self._costs.write(StepCost(hour, step, build_id, share))
        return share


class AwsAccounts:
    """Implements `engines.silver.Accounts` for one AWS account."""

    def __init__(self, aws: Aws, settings: Settings, costs: CostStore, clock: Callable[[], datetime]) -> None:
        self._aws = aws
        self._settings = settings
        self._costs = costs
        self._clock = clock

    def spending(self) -> AwsSpending:
        """Start measuring one step."""
        return AwsSpending(self._aws, self._settings, self._costs)

    def tell(self, builds: Sequence[SilverBuild], progress: Progress) -> None:
        """Report the quarantined share of each hour to CloudWatch."""
        put_quarantined_shares(self._aws, self._settings, builds, self._clock(), progress)
