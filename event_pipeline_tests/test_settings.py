"""The settings: read from the environment, validated at once, and shown to people with what is allowed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from event_pipeline.reporting.settings_table import print_settings, setting_rows
from event_pipeline.reporting.terminal import output
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import SettingsError, load_settings, variable_names


def test_without_variables_every_setting_has_its_default() -> None:
    settings = load_settings()
    assert settings.root == Path("data")
    assert settings.first_partition == Hour.parse("2025-11-01T00")
    assert settings.event_time_limits.max_age == timedelta(days=7)
    assert settings.event_time_limits.max_lead == timedelta(minutes=5)


def test_a_variable_wins_over_the_default_and_an_argument_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_HOURS_PER_RUN", "6")
    assert load_settings().hours_per_run == 6
    assert load_settings(hours_per_run=12).hours_per_run == 12


def test_an_empty_variable_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_FIRST_PARTITION", "")
    assert load_settings().first_partition == Hour.parse("2025-11-01T00")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("EVENT_PIPELINE_WORKERS", "0", "EVENT_PIPELINE_WORKERS='0': Input should be greater than or equal to 1"),
        ("EVENT_PIPELINE_WORKERS", "two", "EVENT_PIPELINE_WORKERS='two': Input should be a valid integer"),
        ("EVENT_PIPELINE_QUARANTINE_WARN_SHARE", "1.5", "should be less than or equal to 1"),
        ("EVENT_PIPELINE_FIRST_PARTITION", "2025-11-01", "'2025-11-01' is not an hour: write YYYY-MM-DDTHH"),
        ("EVENT_PIPELINE_SCHEDULE_MINUTE", "60", "should be less than or equal to 59"),
        ("EVENT_PIPELINE_QUARANTINE_WARN_SHARE", "0.5", "is above EVENT_PIPELINE_QUARANTINE_ERROR_SHARE=0.05"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert said in str(refused.value)


def test_a_misspelt_variable_is_refused_and_the_nearest_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_WORKER", "2")
    with pytest.raises(SettingsError, match="WORKER is not a setting: did you mean EVENT_PIPELINE_WORKERS"):
        load_settings()


def test_all_faults_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_NONSENSE", "1")
    monkeypatch.setenv("EVENT_PIPELINE_WORKERS", "0")
    monkeypatch.setenv("EVENT_PIPELINE_DUCKDB_MEMORY_MB", "1")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert len(str(refused.value).splitlines()) == 3


def test_other_verdicts_follow_from_other_limits_so_the_rules_version_differs() -> None:
    versions = {load_settings(event_max_age_days=days).event_time_limits.rules_version for days in (6, 7)}
    assert len(versions) == 2


def test_every_variable_is_shown_with_what_it_means_and_allows() -> None:
    rows = {row.variable: row for row in setting_rows(load_settings())}
    assert rows.keys() == variable_names().keys()
    assert all(row.meaning and row.allowed for row in rows.values())
    workers = rows["EVENT_PIPELINE_WORKERS"]
    assert (workers.allowed, workers.source) == ("whole number, 1 to 64", "default")
    assert rows["EVENT_PIPELINE_EXPECTED_OBJECTS"].allowed == "whole number, 0 or more"
    assert rows["EVENT_PIPELINE_FIRST_PARTITION"].allowed == "YYYY-MM-DDTHH"


def test_a_setting_from_the_environment_is_told_apart_from_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_QUIET_SECONDS", "5")
    row = next(row for row in setting_rows(load_settings()) if row.variable == "EVENT_PIPELINE_QUIET_SECONDS")
    assert (row.value, row.default, row.source) == ("5", "60", "environment")


def test_the_address_of_the_webhook_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ALERT_WEBHOOK_URL", "https://hooks.example/services/s3cr3t")
    settings = load_settings()
    print_settings(settings, output())
    row = next(row for row in setting_rows(settings) if row.variable == "EVENT_PIPELINE_ALERT_WEBHOOK_URL")
    assert (row.value, row.default, row.source) == ("**********", "", "environment")
    assert "s3cr3t" not in capsys.readouterr().out + repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    "address",
    [
        "ftp://s3cr3t",
        "hooks.example/s3cr3t",
        "https://",
        "https://a/ s3cr3t\n",
        "https://a:99999/s3cr3t",
        "https://[s3cr3t",
    ],
)
def test_a_wrong_address_of_the_webhook_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ALERT_WEBHOOK_URL", address)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith("EVENT_PIPELINE_ALERT_WEBHOOK_URL=(a secret): an address begins with https://")
    assert "s3cr3t" not in str(refused.value)


def test_a_wrong_topic_is_refused() -> None:
    with pytest.raises(SettingsError, match="EVENT_PIPELINE_ALERT_TOPIC_ARN='alerts'"):
        load_settings(alert_topic_arn="alerts")


@pytest.mark.parametrize("width", [80, 140, 10_000])
def test_the_settings_fit_every_width(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    console = output()
    console.width = width
    print_settings(load_settings(), console)
    printed = capsys.readouterr().out
    assert all(len(line) <= width for line in printed.splitlines())
    assert all(variable in printed for variable in variable_names())
