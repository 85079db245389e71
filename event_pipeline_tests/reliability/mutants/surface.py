"""Mutants of the rooms around the data: errors, settings, generator, deployment, output, the web server."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_ERRORS = "event_pipeline/errors.py"
_SETTINGS = "event_pipeline/settings.py"
_SHIPPED = "event_pipeline/shipped.py"
_CLI = "event_pipeline/cli.py"
_DEFINITIONS = "event_pipeline/definitions.py"
_RESULTS = "event_pipeline/assets/results.py"
_RAW_FOLDER = "event_pipeline/generator/raw_folder.py"
_PACKAGING = "event_pipeline/infrastructure/packaging.py"
_DEPLOYMENT = "event_pipeline/infrastructure/deployment.py"
_TEXT = "event_pipeline/reporting/results.py"
_GUARD = "event_pipeline/webserver/guard.py"

_OF_CLI = "event_pipeline_tests/test_cli.py"
_OF_SETTINGS = "event_pipeline_tests/test_settings.py"
_OF_WHEEL = "event_pipeline_tests/test_wheel.py"
_OF_GENERATOR = "event_pipeline_tests/generator/test_generator.py"
_OF_PACKAGING = "event_pipeline_tests/infrastructure/test_packaging.py"
_OF_TEXT = "event_pipeline_tests/reporting/test_results.py"
_OF_GUARD = "event_pipeline_tests/webserver/test_webserver.py"
_OF_CHECKS = "event_pipeline_tests/assets/test_checks.py"
_HELD = f"{_OF_CLI}::test_what_another_process_holds_is_named"
_AGAIN = f"{_OF_GENERATOR}::test_generating_again_leaves_equal_files_alone_and_replaces_others"
_EXACT = f"{_OF_TEXT}::test_json_keeps_every_type_exact"

MUTANTS: tuple[Mutant, ...] = (
    # -- errors and exit codes
    Mutant(
        "A lock that another process holds is not tried again",
        _ERRORS,
        "class LockTimeoutError(TransientError):",
        "class LockTimeoutError(PipelineError):",
        _HELD,
    ),
    Mutant(
        "Hours that failed for one reason are named by the first of them",
        _ERRORS,
        "named = ((str(hours[0]) if len(hours) == 1 else hours_text(hours), reason)",
        "named = ((str(hours[0]), reason)",
        "event_pipeline_tests/assets/test_isolation.py::test_hours_that_all_fail_fail_the_step_with_every_reason",
    ),
    Mutant(
        "A command that may be repeated ends like one that must not",
        _CLI,
        "(TransientError, ExitCode.BUSY)",
        "(TransientError, ExitCode.REFUSED)",
        _HELD,
    ),
    Mutant(
        "A command whose data is damaged ends with 0",
        _CLI,
        "(StorageError, ExitCode.STORAGE)",
        "(StorageError, ExitCode.OK)",
        f"{_OF_CLI}::test_a_data_folder_of_another_version_is_named",
    ),
    # -- settings
    Mutant(
        "A misspelt setting is ignored",
        _SETTINGS,
        "if variable.startswith(PREFIX) and variable not in known:",
        "if variable.startswith(PREFIX) and not variable:",
        f"{_OF_SETTINGS}::test_a_misspelt_variable_is_refused_and_the_nearest_one_named",
    ),
    Mutant(
        "Only the first wrong setting is named",
        _SETTINGS,
        'raise SettingsError("\\n".join(faults))',
        "raise SettingsError(faults[0])",
        f"{_OF_SETTINGS}::test_all_faults_are_named_at_once",
    ),
    Mutant(
        "A wrong address of the webhook is shown with its secret",
        _SETTINGS,
        'shown = "(a secret)" if is_secret else repr(_shown(fault["input"]))',
        'shown = "(a secret)" if not place else repr(_shown(fault["input"]))',
        f"{_OF_SETTINGS}::test_a_wrong_address_of_the_webhook_is_refused_without_showing_it",
    ),
    # -- Dagster
    Mutant(
        "A check that must block an hour lets it pass",
        _RESULTS,
        'BLOCKING_CHECKS = frozenset(("conservation_law", "partition_readable"))',
        'BLOCKING_CHECKS = frozenset(("partition_readable",))',
        f"{_OF_CHECKS}::test_a_commit_record_that_counts_other_rows_than_the_files_hold_breaks_the_law",
    ),
    Mutant(
        "A partition that cannot be read does not keep Gold back",
        _RESULTS,
        'BLOCKING_CHECKS = frozenset(("conservation_law", "partition_readable"))',
        'BLOCKING_CHECKS = frozenset(("conservation_law",))',
        f"{_OF_CHECKS}::test_a_partition_that_cannot_be_read_stops_gold",
    ),
    Mutant(
        "The code location has no alerts",
        _DEFINITIONS,
        "            alerts_sensor(gold_tables, settings),\n",
        "",
        "event_pipeline_tests/test_definitions.py::test_what_the_code_location_holds",
    ),
    # -- generator
    Mutant(
        "An object that is generated again with the same bytes counts as new",
        _RAW_FOLDER,
        "if target.exists() and filecmp.cmp(temporary, target, shallow=False):",
        "if target.exists() and not temporary.exists():",
        _AGAIN,
    ),
    Mutant(
        "An object that is generated again with other bytes is left as it is",
        _RAW_FOLDER,
        "if target.exists() and filecmp.cmp(temporary, target, shallow=False):",
        "if target.exists():",
        _AGAIN,
    ),
    Mutant(
        "The generator repeats records across hours, where nobody removes them",
        _RAW_FOLDER,
        "known = previous if previous and Hour.containing(previous) == hour else None",
        "known = previous",
        f"{_OF_GENERATOR}::test_duplicates_reach_across_the_objects_of_an_hour_and_not_across_hours",
    ),
    # -- what is shipped and deployed
    Mutant(
        "A checkout looks for the files around the package inside of it",
        _SHIPPED,
        "folder = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent",
        "folder = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE",
        f"{_OF_WHEEL}::test_in_the_checkout_the_files_are_those_at_its_top_level",
    ),
    Mutant(
        "An installation that lacks a file is whole to the doctor",
        _SHIPPED,
        "return [path for path in map(shipped_file, SHIPPED_FILES) if not path.is_file()]",
        "return [path for path in map(shipped_file, SHIPPED_FILES) if not path.name]",
        f"{_OF_WHEEL}::test_doctor_names_a_file_that_an_installation_lacks",
    ),
    Mutant(
        "A wheel with other bytes than the published one runs with the role of the job",
        _PACKAGING,
        "    if found != published:\n",
        "    if not found:\n",
        f"{_OF_PACKAGING}::test_a_wheel_that_somebody_changed_is_not_shipped",
    ),
    Mutant(
        "Equal sources are another package when a file is written again",
        _PACKAGING,
        "entry = zipfile.ZipInfo(path.relative_to(PACKAGE.parent).as_posix(), _FIRST_ZIP_TIME)",
        "entry = zipfile.ZipInfo.from_file(path, path.relative_to(PACKAGE.parent).as_posix())",
        f"{_OF_PACKAGING}::test_equal_sources_give_equal_bytes_whatever_their_times",
    ),
    Mutant(
        "A stack is deleted with its data although nobody confirmed it",
        _DEPLOYMENT,
        "    if empties and not delete_data:\n",
        "    if empties and delete_data is None:\n",
        "event_pipeline_tests/emulator/test_stack.py::test_data_is_not_lost_without_saying_so_twice",
    ),
    # -- output
    Mutant(
        "Money is written as a double",
        _TEXT,
        'else lambda value: format(value, "f")',
        "else float",
        _EXACT,
    ),
    Mutant(
        "An instant of another zone is written in it",
        _TEXT,
        "value = value.astimezone(UTC).replace(tzinfo=None)",
        "value = value.replace(tzinfo=None)",
        _EXACT,
    ),
    Mutant(
        "Microseconds are cut off where a result is written",
        _TEXT,
        'timespec="microseconds" if value.microsecond % 1_000 else "milliseconds"',
        'timespec="milliseconds"',
        _EXACT,
    ),
    Mutant(
        "A row of nothing but null is missing from a CSV file",
        _TEXT,
        'file.write((line or \'""\') + "\\r\\n")',
        'file.write(line + "\\r\\n")',
        f"{_OF_TEXT}::test_csv_of_one_null_column_keeps_its_rows",
    ),
    Mutant(
        "A result that broke off takes the place of the file before",
        "event_pipeline/reporting/result_files.py",
        "                if kind is None:\n                    os.replace",
        "                if self._draft:\n                    os.replace",
        f"{_OF_CLI}::test_query_writes_files_that_are_complete_or_absent",
    ),
    Mutant(
        "The status does not name gaps",
        "event_pipeline/reporting/status.py",
        "    gaps = [each.hour for each in status.hours if each.gap]\n",
        "    gaps = [each.hour for each in status.hours if each.gap and each.objects]\n",
        "event_pipeline_tests/reporting/test_status.py"
        "::test_a_gap_between_hours_with_raw_objects_is_marked_built_or_not",
    ),
    # -- web server
    Mutant(
        "A page of another name that leads to this machine may command",
        _GUARD,
        "if len(hosts) != 1 or not self._is_own(hosts[0], own):",
        "if len(hosts) != 1:",
        f"{_OF_GUARD}::test_strangers_neither_command_nor_ask",
    ),
    Mutant(
        "A link can start and delete runs",
        _GUARD,
        "node.operation is not OperationType.QUERY:",
        "node.operation is OperationType.SUBSCRIPTION:",
        f"{_OF_GUARD}::test_get_reads_and_never_commands",
    ),
    Mutant(
        "A form of another site can start and delete runs",
        _GUARD,
        'if types == ["application/json"] or (not types and not asks_graphql):',
        'if types in (["application/json"], ["text/plain"]) or (not types and not asks_graphql):',
        f"{_OF_GUARD}::test_what_a_form_can_send_is_no_command",
    ),
)
