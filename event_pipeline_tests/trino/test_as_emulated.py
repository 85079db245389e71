"""What the emulated Athena answers, Trino answers: the same test bodies, so that the emulator is held to it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.conftest import Account, make_account
from event_pipeline_tests.emulator.test_athena import (  # noqa: F401
    test_a_partition_at_a_vanished_prefix_has_no_rows_and_no_error,
    test_a_query_is_queued_and_can_be_stopped,
    test_a_query_without_a_place_for_its_results_is_refused,
    test_a_quotient_of_whole_decimals_is_rounded_half_away_from_zero,
    test_a_token_of_a_failed_query_finds_the_failed_query,
    test_a_workgroup_that_enforces_its_output_location_wins_over_the_client,
    test_columns_are_matched_by_name_and_a_missing_one_is_null,
    test_ddl_makes_databases_tables_and_partitions,
    test_doubles_are_written_as_java_writes_them,
    test_msck_repair_adds_what_it_finds_and_drops_nothing,
    test_narrower_decimals_of_the_same_scale_are_read_as_the_wider_type_of_the_table,
    test_only_files_of_registered_partitions_are_seen,
    test_orphans_lie_beside_what_the_manifest_names,
    test_repointing_a_partition_shows_the_other_run,
    test_results_come_in_pages_and_only_of_succeeded_queries,
    test_the_same_token_is_the_same_execution,
    test_timestamps_have_milliseconds_and_finer_ones_are_rounded,
    test_unload_into_partitions_leaves_their_columns_out_of_the_files,
    test_unload_of_no_rows_writes_no_file,
    test_unload_that_fails_late_leaves_its_files_behind,
    test_values_of_every_type_are_shown_as_athena_shows_them,
    test_whole_numbers_divide_to_a_whole_number,
)
from event_pipeline_tests.trino.server import TrinoServer
from event_pipeline_tests.trino.statements import TrinoStatements

pytestmark = pytest.mark.trino


@pytest.fixture(scope="module")
def aws(trino: TrinoServer) -> Iterator[EmulatedAws]:
    """The account of those tests, with Trino behind its Athena."""
    with EmulatedAws(
        port=trino.aws_port,
        page_size=100,
        minute_seconds=1,
        job_unseen_seconds=0,
        statements=partial(TrinoStatements, server=trino),
    ) as emulated:
        make_account(emulated)
        yield emulated


@pytest.fixture
def account(aws: EmulatedAws) -> Iterator[Account]:
    """Shorthand over it."""
    yield Account(aws)
    aws.faults.clear()
