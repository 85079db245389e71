"""Errors of the stack's options; importing them does not need boto3."""

from __future__ import annotations


class StackOptionError(ValueError):
    """A given parameter, name or region cannot be used."""
