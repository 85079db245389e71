"""Lets all botocore sessions of a process share what they find and read: megabytes of JSON, 400 folders."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.loaders import Loader, create_loader


def share_service_models(patched: pytest.MonkeyPatch) -> None:
    """Read each model of AWS's services once, until the patch is undone."""
    kept: dict[str | None, dict[Any, Any]] = {}

    def create(search_path: str | None = None) -> Loader:
        loader = create_loader(search_path)
        # A session's clients share these models, too; what botocore adds to a model it adds when it reads it.
        loader._cache = kept.setdefault(search_path, {})
        return loader

    patched.setattr(botocore.session, "create_loader", create)
