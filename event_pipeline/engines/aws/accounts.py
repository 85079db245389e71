"""What steps on AWS used, kept as cost records in the lake, and what CloudWatch is told of published hours."""

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
    """Speaks `engines.silver.Spending`: a meter whose shares are kept as cost records."""

    def __init__(self, aws: Aws, settings: Settings, costs: CostStore) -> None:
        super().__init__(aws, settings)
        self._costs = costs

    def shared(self, step: str, hours: Sequence[Hour], build_id: str) -> Cost:
        """Keep what was used for each of the hours, and return the share of one."""
        share = shared(self.cost(), len(hours))
        for hour in hours:
            self._costs.write(StepCost(hour, step, build_id, share))
        return share


class AwsAccounts:
    """Speaks `engines.silver.Accounts` over one account."""

    def __init__(self, aws: Aws, settings: Settings, costs: CostStore, clock: Callable[[], datetime]) -> None:
        self._aws = aws
        self._settings = settings
        self._costs = costs
        self._clock = clock

    def spending(self) -> AwsSpending:
        """Begin to count for one step."""
        return AwsSpending(self._aws, self._settings, self._costs)

    def tell(self, builds: Sequence[SilverBuild], progress: Progress) -> None:
        """Put the quarantined share of each hour to CloudWatch."""
        put_quarantined_shares(self._aws, self._settings, builds, self._clock(), progress)
