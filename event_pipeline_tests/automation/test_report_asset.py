"""The report as Dagster refreshes it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from event_pipeline.definitions import build_definitions
from event_pipeline.engines.local import LocalEngine
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import GOLD, QUIET
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object
from event_pipeline_tests.report_page import read_report


def test_the_report_follows_gold_and_is_replaced_each_hour(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event(), purchase(second=1)])
    build(LocalEngine(settings), [HOUR])
    definitions = build_definitions(settings)
    spec = next(iter(definitions.resolve_assets_def("report").specs))
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == set(GOLD)
    job = definitions.resolve_job_def("refresh_report")
    (root / "report.html").write_text("the page of an hour ago")

    for _ in range(2):
        result = job.execute_in_process(run_config=QUIET, instance=instance)
        (materialization,) = result.asset_materializations_for_node("report")
        metadata = {name: value.value for name, value in materialization.metadata.items()}
        assert metadata["file"] == str(root / "report.html")
        assert str(metadata["summary"]).startswith("2025-12-07 to 2025-12-07, ")
        assert metadata["bytes"] == (root / "report.html").stat().st_size
        assert read_report(root / "report.html")["answers"]["days"] == ["2025-12-07"]
    assert not list(root.glob(".*.draft"))


def test_the_report_is_due_after_the_hours_of_its_hour() -> None:
    for minute, cron in ((10, "25 * * * *"), (50, "5 * * * *")):
        repository = build_definitions(load_settings(schedule_minute=minute)).get_repository_def()
        assert repository.get_schedule_def("report_schedule").cron_schedule == cron
