"""An SNS topic for alert messages."""

from __future__ import annotations

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.settings import Settings

_SUBJECT_CHARACTERS = 100


class Topic:
    """One topic, in the region of its own ARN."""

    def __init__(self, settings: Settings, arn: str) -> None:
        self._aws = Aws(settings.model_copy(update={"aws_region": arn.split(":")[3]}))
        self._arn = arn

    def publish(self, subject: str, text: str, message_id: str) -> None:
        """Send a message to all subscribers, with its id as the attribute `message_id`.

        Raises:
            PipelineError: SNS did not accept it.
        """
        # A FIFO topic itself drops repeats of the id within five minutes.
        fifo = {"MessageGroupId": "alerts", "MessageDeduplicationId": message_id.replace("/", "-")}
        # SNS refuses subjects that are not ASCII or contain line breaks.
        line = subject.encode("ascii", "replace").decode().replace("\n", " ")
        self._aws.call(
            "sns",
            "publish",
            self._arn,
            once=True,
            TopicArn=self._arn,
            Subject=line[:_SUBJECT_CHARACTERS],
            Message=text,
            MessageAttributes={"message_id": {"DataType": "String", "StringValue": message_id}},
            **(fifo if self._arn.endswith(".fifo") else {}),
        )
