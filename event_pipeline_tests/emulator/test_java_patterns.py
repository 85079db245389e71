"""AWS's patterns are Java's: what they mean is kept, and what is not understood is never passed over."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.java_patterns import UntranslatablePatternError, translate
from event_pipeline_tests.emulator.request_parameters import service_model
from event_pipeline_tests.emulator.request_validation import patterns


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        ("[a-z]+", ["abc"], ["abc\n", "ABC", ""]),
        (r"\d{2}", ["12"], ["١٢"]),
        (r"\w+", ["a_1"], ["ä"]),
        (r"[^\W]", ["a"], ["ä"]),
        (r"\S", ["\u00a0"], [" "]),
        (r"[\p{L}\p{Z}]*", ["ä\u00a0Ж"], ["1"]),
        (r"\p{Alpha}+", ["abc"], ["ä"]),
        (r"\P{L}", ["1"], ["a"]),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", ["ä \t\U0001f600"], ["a\n", "\ufffe", "\x07"]),
        (r"\x41[\x{1F600}]", ["A\U0001f600"], ["A"]),
        (".", ["a", "\x0b"], ["\n", "\u0085", "\u2028"]),
        (r"[-a.]+|[\w-.]", ["-a.", "-"], ["b]"]),
        (r"^(?!\s*$).+$", ["a"], ["", "  "]),
        (r"arn:\b(aws|aws-cn)\b:x", ["arn:aws:x"], ["arn:awsx:x"]),
        (r"[!-\]]+", ["A]"], ["^"]),
    ],
)
def test_patterns_mean_what_they_mean_in_java(pattern: str, taken: list[str], refused: list[str]) -> None:
    translated = translate(pattern)
    assert [text for text in taken if not translated.fullmatch(text)] == []
    assert [text for text in refused if translated.fullmatch(text)] == []


@pytest.mark.parametrize(
    "pattern",
    [r"[a-z&&[^b]]", "[a[b]]", r"(a)\1", r"\p{IsLatin}", r"\R", "a{", r"\uD800", "(?<name>a)", r"\Qa\E", "[]a]"],
)
def test_a_pattern_that_may_mean_something_else_is_refused(pattern: str) -> None:
    with pytest.raises(UntranslatablePatternError):
        translate(pattern)


SERVICES = (
    *("athena", "cloudformation", "cloudwatch", "events", "glue", "iam", "lambda", "logs", "s3"),
    *("scheduler", "sns", "sqs", "ssm", "sts"),
)


@pytest.mark.parametrize("service", SERVICES)
def test_every_pattern_of_the_services_that_we_use_is_understood(service: str) -> None:
    model = service_model(service)
    for name in model.operation_names:
        for pattern in patterns(model.operation_model(name)):
            translate(pattern)


def test_patterns_are_found_however_deep_they_are() -> None:
    found = set(patterns(service_model("glue").operation_model("CreateTable")))
    assert r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*" in found


def test_a_pattern_that_is_not_understood_fails_what_runs_in_the_emulator() -> None:
    """Amplify's patterns are in a mode that nobody here has looked into."""
    with pytest.raises(UntranslatablePatternError, match="amplify.GetJob: .* teach it translate"), EmulatedAws() as aws:
        ask_for_a_job(aws)


def ask_for_a_job(aws: EmulatedAws) -> None:
    with pytest.raises(ClientError, match="EmulatorError"):
        aws.client("amplify").get_job(appId="a", branchName="b", jobId="1")
