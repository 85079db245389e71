"""What goes wrong with the stack, in words that say what to do; boto3 is not needed to know these."""

from __future__ import annotations


class StackOptionError(ValueError):
    """A parameter, name or region that was given cannot be used."""
