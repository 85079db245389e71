"""The emulated CloudFormation works intrinsics out as the real one does, and refuses what it does not know."""

from __future__ import annotations

from typing import Any

import pytest

from event_pipeline_tests.emulator.stack_resources import Given, ResourceFailedError
from event_pipeline_tests.emulator.stack_template import Made, StackTemplate
from event_pipeline_tests.emulator.wire import AwsError

PSEUDO = {"AWS::Region": "eu-central-1", "AWS::AccountId": "123456789012"}
HEAD = """
Parameters:
  Days: {Type: Number, Default: 7, MinValue: 1, MaxValue: 30}
  Keys: {Type: CommaDelimitedList, Default: 'a, b'}
  Name: {Type: String, Default: '', AllowedPattern: '[a-z]*'}
Conditions:
  Named: !Not [!Equals [!Ref Name, '']]
  Week: !And [!Equals [!Ref Days, 7], !Or [Condition: Named, !Equals [yes, yes]]]
Mappings:
  Sizes: {small: {workers: 2}}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: {QueueName: first}
  Optional:
    Type: AWS::SQS::Queue
    Condition: Named
"""


def worked_out(value: str, **parameters: str) -> Any:
    """Work out one value as a property of a resource."""
    body = f"{HEAD}  Subject:\n    Type: AWS::SQS::Queue\n    Properties:\n      Value: {value}\n"
    template = StackTemplate(body, parameters, PSEUDO)
    template.check()
    return template.properties("Subject", lambda name: Made(f"{name}-made", {"Arn": f"arn:{name}"})).get("Value")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("!Ref Queue", "Queue-made"),
        ("!Ref Days", 7),
        ("!Ref Keys", ["a", "b"]),
        ("!Ref AWS::Region", "eu-central-1"),
        ("!Ref AWS::NoValue", None),
        ("[one, !Ref AWS::NoValue, two]", ["one", "two"]),
        ("!GetAtt Queue.Arn", "arn:Queue"),
        ("!Sub '${Queue}/${Queue.Arn}/${Days}/${!Literal}'", "Queue-made/arn:Queue/7/${Literal}"),
        ("!Sub ['${x}-${Days}', {x: !Ref Queue}]", "Queue-made-7"),
        ("!Join ['-', [a, !Ref Queue, 3]]", "a-Queue-made-3"),
        ("!Select [1, !Split [',', 'x,y']]", "y"),
        ("!FindInMap [Sizes, small, workers]", 2),
        ("!If [Week, {a: 1}, {a: 2}]", {"a": 1}),
        ("!If [Named, there, !Ref AWS::NoValue]", None),
        ("2012-10-17", "2012-10-17"),
    ],
)
def test_an_intrinsic_is_worked_out(value: str, expected: Any) -> None:
    assert worked_out(value) == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("!Ref Nobody", "Unresolved resource dependencies"),
        ("!Ref Optional", "Unresolved resource dependencies"),
        ("!ImportValue other", "the intrinsic Fn::ImportValue is not emulated"),
        ("!If [Unknown, 1, 2]", "Unresolved condition Unknown"),
        ("!Join ['-', [{a: 1}]]", "must be a string"),
        ("!Ref Subject", "Circular dependency"),
        ("!FindInMap [Sizes, large, workers]", "Unable to get mapping"),
    ],
)
def test_what_cannot_be_worked_out_is_refused(value: str, said: str) -> None:
    with pytest.raises(AwsError, match=said):
        worked_out(value)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"Days": "31"}, "'Days' must be a number from 1 to 30"),
        ({"Days": "many"}, "'Days' must be a number"),
        ({"Name": "A"}, r"must match pattern \[a-z\]"),
        ({"Other": "1"}, r"Parameters: \[Other\] do not exist"),
    ],
)
def test_a_parameter_that_is_not_allowed_is_refused(parameters: dict[str, str], said: str) -> None:
    with pytest.raises(AwsError, match=said):
        worked_out("x", **parameters)


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("Rules: {}", "Rules"),
        ("Transform: AWS::LanguageExtensions", "Transform"),
        ("  Odd: {Type: AWS::SQS::Queue, Colour: red}", "Colour"),
        ("  Odd: {Type: AWS::SQS::Queue, DeletionPolicy: Maybe}", "DeletionPolicy of Odd"),
        ("  Odd: {Type: AWS::SQS::Queue, DependsOn: Nobody}", "Unresolved resource dependencies"),
    ],
)
def test_what_is_not_known_is_not_ignored(added: str, said: str) -> None:
    with pytest.raises(AwsError, match=said):
        StackTemplate(f"{HEAD}{added}\n", {}, PSEUDO).check()


def test_a_property_that_nobody_takes_fails_its_resource() -> None:
    given = Given({"Known": 1, "Unknown": 2})
    assert given.take("Known") == 1
    with pytest.raises(ResourceFailedError, match="unsupported property Unknown"):
        given.done()
