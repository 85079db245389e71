"""Opens the engine and the documents of the settings; an engine's dependencies are imported only when it is opened."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from event_pipeline.engines.base import Engine
from event_pipeline.engines.document import Document
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.rules.query import GOLD_FOLDER, load_gold_tables
from event_pipeline.settings import Environment, Settings


def open_engine(settings: Settings, gold_folder: Path = GOLD_FOLDER) -> Engine:
    """Return the engine of EVENT_PIPELINE_ENV, without reading or calling anything yet."""
    match settings.env:
        case Environment.LOCAL:
            from event_pipeline.engines.local import LocalEngine

            return LocalEngine(settings, gold_folder)
        case Environment.AWS:
            from event_pipeline.engines.aws import AwsEngine

            return AwsEngine(settings, gold_folder)


def open_pipeline(settings: Settings, gold_folder: Path = GOLD_FOLDER) -> Pipeline:
    """Return the engine of EVENT_PIPELINE_ENV with its Gold tables and settings.

    Raises:
        GoldFileError: a Gold table's file does not have the layout.
    """
    return Pipeline(open_engine(settings, gold_folder), load_gold_tables(gold_folder), settings)


def with_first_partition(settings: Settings) -> Settings:
    """Return the settings with the first partition of the data folder; one that is set stays, and so does AWS's.

    Hours before it are then not read: for a process that offers partitions, and so may not change its mind.

    Raises:
        StorageError: the data folder cannot be read or is damaged.
    """
    if settings.env is not Environment.LOCAL or "first_partition" in settings.model_fields_set:
        return settings
    from event_pipeline.engines.host.first_partition import find_first_partition
    from event_pipeline.engines.host.layout import Layout

    layout = Layout(settings.root)
    found = find_first_partition(layout, settings.raw_folder, settings.first_partition, datetime.now(UTC))
    return settings if found is None else settings.model_copy(update={"first_partition": found})


def remember_first_partition(settings: Settings) -> None:
    """Keep the first partition in the data folder once it is known: raw objects may be removed later.

    Raises:
        StorageError: the data folder cannot be read or written, or is damaged.
    """
    if settings.env is not Environment.LOCAL or "first_partition" in settings.model_fields_set:
        return
    from event_pipeline.engines.host.first_partition import keep_first_partition
    from event_pipeline.engines.host.layout import Layout

    keep_first_partition(Layout(settings.root), settings.raw_folder, settings.first_partition, datetime.now(UTC))


def open_document(settings: Settings, name: str) -> Document:
    """Return a small document of the data folder or the lake bucket, without reading or calling anything yet."""
    match settings.env:
        case Environment.LOCAL:
            from event_pipeline.engines.host.layout import Layout
            from event_pipeline.engines.local.files import FileStore

            # It contains the texts of alerts, and the answers of message receivers.
            layout = Layout(settings.root)
            return Document(FileStore(layout.root, layout, settings.lock_timeout_seconds, private=True), name)
        case Environment.AWS:
            from event_pipeline.engines.aws.clients import Aws
            from event_pipeline.engines.aws.storage import Bucket

            return Document(Bucket(Aws(settings), settings.lake_bucket), name)


def publish_to_topic(settings: Settings, subject: str, text: str, message_id: str) -> None:
    """Send a message to the SNS topic of the settings, with either engine.

    Raises:
        PipelineError: SNS did not accept it.
    """
    from event_pipeline.engines.aws.topic import Topic

    Topic(settings, settings.alert_topic_arn).publish(subject, text, message_id)
