"""An SNS topic: where messages for people go on AWS."""

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
        """Send one message to all who subscribed; the id goes along as the attribute `message_id`.

        Raises:
            PipelineError: SNS did not take it.
        """
        # A FIFO topic drops a repeat of the id within five minutes by itself.
        fifo = {"MessageGroupId": "alerts", "MessageDeduplicationId": message_id.replace("/", "-")}
        # Subjects are ASCII without line breaks, or SNS refuses the message.
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
