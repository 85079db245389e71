"""From a stream of raw e-commerce events to an analytics dataset people can trust."""

__version__ = "0.1.0"
"""Written out because the package also runs from a zip file inside the Glue job, where no metadata is installed."""
