"""The smoke test for a real account works in the emulated one, and leaves nothing there, however it ends."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from event_pipeline.cli import main
from event_pipeline.infrastructure import shipment
from event_pipeline.infrastructure.packaging import script_artifact
from event_pipeline_tests import smoke_aws
from event_pipeline_tests.emulator import EmulatedAws, Fault
from event_pipeline_tests.emulator.deployed import put_stand_in_wheels
from event_pipeline_tests.engines.aws import plain_job

pytestmark = pytest.mark.long

ANYBODY = "arn:aws:iam::123456789012:root"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[EmulatedAws]:
    """An empty account that boto3 finds, with stand-ins for wheels and job: neither pip nor Spark is asked."""
    put_stand_in_wheels(root / "wheels")
    # Other tests run the script itself: here its starts of Spark would take most of the time.
    plain = replace(script_artifact(), content=Path(plain_job.__file__).read_bytes())
    monkeypatch.setattr(shipment, "script_artifact", lambda: plain)
    # A result still has several pages; the oracle reads all of it twice.
    monkeypatch.setattr(smoke_aws, "DIRTY", replace(smoke_aws.DIRTY, events_per_file=400))
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(root))
    with EmulatedAws() as account:
        for name, value in account.environment().items():
            monkeypatch.setenv(name, value)
        yield account


def test_the_smoke_test_passes_and_cleans_up(aws: EmulatedAws, capsys: pytest.CaptureFixture[str]) -> None:
    code = smoke_aws.main(["--region", aws.region, "--principal", ANYBODY])
    printed = capsys.readouterr()
    assert code == 0, printed.err + printed.out
    assert "every table equals the oracle's" in printed.out
    assert re.search(r"events/\S+[.]gz: [5-7]\d\d,\d{3} records, [1-9]\d,\d{3},\d{3} bytes", printed.out), printed.out
    # Two hours, one of them again, and both told again by the run that changed nothing; the rest is AWS's own.
    assert "QuarantinedShare: OK, 5 data points" in printed.out
    assert printed.out.count("alarm on ") == 7
    assert "ended FAILED: " in printed.out
    assert printed.out.count("refused: ") == 3
    assert "everything removed" in printed.out
    assert not any(left_in(aws).values()), left_in(aws)


def test_what_was_made_is_removed_after_a_failure(aws: EmulatedAws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.fail_next("sqs.CreateQueue", Fault.ACCESS_DENIED, times=None, containing="-listener")
    assert smoke_aws.main(["--region", aws.region, "--principal", ANYBODY]) == 3
    printed = capsys.readouterr()
    assert "smoke-aws: " in printed.err
    assert "everything removed" in printed.out
    assert not any(left_in(aws).values()), left_in(aws)


def test_what_is_kept_goes_by_the_command_that_is_printed(
    aws: EmulatedAws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke_aws, "try_everything", lambda account, root, queue: None)
    assert smoke_aws.main(["--region", aws.region, "--principal", ANYBODY, "--keep"]) == 0
    left, said = left_in(aws), capsys.readouterr().out
    assert left["buckets"]
    assert left["subscriptions"] == []
    (command,) = re.findall(r"remove it with: event-pipeline (.*)", said)
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--yes", "--really-delete-data"])
    assert ended.value.code == 0
    assert not any(left_in(aws).values()), left_in(aws)


@pytest.mark.parametrize(("signum", "at"), [(signal.SIGTERM, "sns.Subscribe"), (signal.SIGINT, "glue.StartJobRun")])
def test_what_was_made_is_removed_when_it_is_interrupted(
    aws: EmulatedAws, capsys: pytest.CaptureFixture[str], signum: signal.Signals, at: str
) -> None:
    held = aws.hold_next(at)

    def interrupt() -> None:
        held.wait_until_reached()
        os.kill(os.getpid(), signum)
        held.release()

    before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        code = smoke_aws.main(["--region", aws.region, "--principal", ANYBODY])
    finally:
        thread.join()
        for each, handler in before.items():
            signal.signal(each, handler)
    printed = capsys.readouterr()
    assert (code, printed.err) == (130, "smoke-aws: interrupted\n"), printed.out
    assert "everything removed" in printed.out
    assert not any(left_in(aws).values()), left_in(aws)


def test_whoever_no_role_can_trust_is_named(aws: EmulatedAws, capsys: pytest.CaptureFixture[str]) -> None:
    # moto's own user has an ARN of STS, as federated users have.
    assert smoke_aws.main(["--region", aws.region]) == 2
    assert "give the ARN of one by --principal" in capsys.readouterr().err


def test_without_credentials_nothing_is_made(
    aws: EmulatedAws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert smoke_aws.main(["--region", aws.region]) == 3
    assert "Unable to locate credentials" in capsys.readouterr().err


def left_in(aws: EmulatedAws) -> dict[str, list[str]]:
    """Names of what a stack and its trial can leave."""
    glue = aws.client("glue")
    return {
        "buckets": [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]],
        "databases": [each["Name"] for each in glue.get_databases()["DatabaseList"]],
        "jobs": glue.list_jobs()["JobNames"],
        "queues": aws.client("sqs").list_queues().get("QueueUrls", []),
        "topics": [each["TopicArn"] for each in aws.client("sns").list_topics()["Topics"]],
        "subscriptions": [each["Endpoint"] for each in aws.client("sns").list_subscriptions()["Subscriptions"]],
        "roles": [each["RoleName"] for each in aws.client("iam").list_roles()["Roles"]],
        "rules": [each["Name"] for each in aws.client("events").list_rules()["Rules"]],
    }
