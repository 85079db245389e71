"""The template deployed into the emulated account by the code that `event-pipeline stack deploy` calls, unasked."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.infrastructure import packaging
from event_pipeline.infrastructure.deployment import Hooks, Wanted, deploy
from event_pipeline.infrastructure.environment import environment
from event_pipeline.infrastructure.packaging import WHEELS, wheel_prefix
from event_pipeline.infrastructure.stack import Stack
from event_pipeline.infrastructure.template import load_template
from event_pipeline.settings import load_settings

_WAIT_MINUTES = 5


def deploy_template(region: str, wheel_folder: Path) -> dict[str, str]:
    """Deploy the stack where boto3 finds AWS, and return the variables that make the pipeline work there."""
    put_stand_in_wheels(wheel_folder)
    stack = Stack(Aws(load_settings(aws_region=region)), "event-pipeline", _WAIT_MINUTES)
    hooks = Hooks(say=lambda _: None, show=lambda _: None)
    state = deploy(stack, load_template(), Wanted({}, None, wheel_folder), lambda _: None, hooks)
    return environment(state, region)


def put_stand_in_wheels(folder: Path) -> None:
    """Put wheels that hold nothing where a deployment keeps them: the emulated job has the packages, and pip rests."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in WHEELS:
        # A build of its own: the digest of the published wheel stays known.
        path = folder / f"{wheel_prefix(name)}0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            entry = zipfile.ZipInfo("stand-in.txt", (1980, 1, 1, 0, 0, 0))
            wheel.writestr(entry, f"the emulated runtime has {name}")
        packaging.WHEEL_DIGESTS[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
