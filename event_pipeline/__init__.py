"""From a stream of raw e-commerce events to an analytics dataset people can trust."""

from importlib.metadata import version

__version__ = version("event-pipeline")
