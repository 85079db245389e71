"""Synthetic raw objects: every object is determined by its options and its key, byte for byte.

`generate` fills a raw folder for some hours, `generate_live` writes one object every few seconds, and `write_object`
writes a single object to any stream. Standard library and `event_pipeline.rules` only, because a Lambda function
(`lambda_handler.py`, with Lambda's own boto3) runs it.
Not here: choosing what to generate (`commands/`, the stack).
"""

from event_pipeline.generator.objects import RecordCounts, write_object
from event_pipeline.generator.options import GeneratorOptions, GeneratorOptionsError, Shape
from event_pipeline.generator.raw_folder import (
    BREAKAGES,
    GeneratedObject,
    GeneratedTotals,
    RawFolderError,
    generate,
    generate_live,
)

__all__ = [
    "BREAKAGES",
    "GeneratedObject",
    "GeneratedTotals",
    "GeneratorOptions",
    "GeneratorOptionsError",
    "RawFolderError",
    "RecordCounts",
    "Shape",
    "generate",
    "generate_live",
    "write_object",
]
