"""Defects of what is special about AWS: S3's compare and swap, the Glue catalog, Athena, raw objects in a bucket."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_AWS = "event_pipeline/engines/aws"
_TESTS = "event_pipeline_tests/engines/aws"
_STORAGE = f"{_AWS}/storage.py"
_FAULTS = f"{_TESTS}/test_aws_faults.py"

MUTANTS = (
    *(
        Mutant(
            f"what a Glue run left for {what} is taken for other work",
            f"{_AWS}/glue_job.py",
            line,
            "",
            f"{_TESTS}/test_aws_silver.py::test_work_is_the_same_only_with_the_same_input_rules_lake_and_erasures",
        )
        for what, line in (
            ("other rules", '"rules": self._settings.event_time_limits.rules_version,'),
            ("an hour that was still open", '"open": [str(each.listing.hour) for each in inputs if each.open_at],'),
            ("a lake without an erasure", '"erased": _erasures(inputs).version,'),
        )
    ),
    Mutant(
        "a put whose answer was lost is taken for overtaken",
        _STORAGE,
        "return present is not None and present[0] == body",
        "return False",
        f"{_FAULTS}::test_a_conditional_put_whose_answer_was_lost_counts_as_done",
    ),
    Mutant(
        "a swap that was overtaken counts as done",
        _STORAGE,
        "return present is not None and present[0] == body",
        "return present is not None",
        f"{_FAULTS}::test_a_conditional_put_whose_answer_was_lost_counts_as_done",
    ),
    Mutant(
        "a replacement of an object does not ask for its version",
        _STORAGE,
        'if version is None else {"IfMatch": f\'"{version}"\'}',
        "if version is None else {}",
        f"{_FAULTS}::test_a_conditional_put_that_always_meets_another_request_is_a_passing_fault",
    ),
    Mutant(
        "a first write overwrites what another process wrote",
        _STORAGE,
        '{"IfNoneMatch": "*"} if version is None',
        "{} if version is None",
        f"{_FAULTS}::test_a_conditional_put_whose_answer_was_lost_counts_as_done",
    ),
    Mutant(
        "an object that cannot be deleted is not reported",
        _STORAGE,
        'for fault in answer.get("Errors", []):',
        'for fault in answer.get("Error", []):',
        f"{_FAULTS}::test_an_object_that_could_not_be_deleted_is_reported",
    ),
    Mutant(
        "an object that was replaced is read on under the old listing",
        _STORAGE,
        "                IfMatch=f'\"{etag}\"',\n",
        "",
        f"{_TESTS}/test_by_host.py::test_an_object_that_is_replaced_while_it_waits_to_be_read_is_not_mixed_up",
    ),
    Mutant(
        "after a lost connection an object is read from its start again, in the middle of a record",
        f"{_AWS}/raw.py",
        "self._body = self._open()\n            else:",
        "self._position = 0\n                self._body = self._open()\n            else:",
        f"{_TESTS}/test_by_host.py::test_an_object_whose_connection_breaks_is_read_on_from_there",
    ),
    Mutant(
        "partitions that a batch left unprocessed are forgotten",
        f"{_AWS}/catalog.py",
        'left = answer.get("UnprocessedKeys") or []',
        "left = []",
        f"{_FAULTS}::test_partitions_that_a_call_left_out_are_asked_for_again",
    ),
    Mutant(
        "a partition that cannot be updated is not reported",
        f"{_AWS}/catalog.py",
        'self._raise_item_errors(answer or {}, "BatchUpdatePartition", table, "PartitionValueList")',
        "pass",
        f"{_FAULTS}::test_a_partition_that_fails_alone_is_named",
    ),
    Mutant(
        "a partition that cannot be dropped is not reported",
        f"{_AWS}/catalog.py",
        'self._raise_item_errors({"Errors": faults}, "BatchDeletePartition", table, "PartitionValues")',
        "pass",
        f"{_FAULTS}::test_a_partition_that_fails_alone_is_named",
    ),
    Mutant(
        "hours beside a range are among its entries",
        f"{_AWS}/catalog.py",
        "            found = [entry for entry in found if Hour.of_hive_path(entry.partition) in hours]\n",
        "            pass\n",
        f"{_TESTS}/test_ports.py::test_entries_are_in_order_and_bounded_by_hours",
    ),
    Mutant(
        "a digest of an object that was replaced meanwhile passes for that of the listed one",
        f"{_AWS}/raw.py",
        "if found and found[1] == listed.etag else None",
        "if found else None",
        f"{_TESTS}/test_aws_copied_bucket.py::test_the_digest_of_an_object_that_was_replaced_is_not_given",
    ),
    Mutant(
        "the swap of the alert document overwrites what another process wrote",
        "event_pipeline/engines/document.py",
        "return self._store.replace(self._key, content, version)",
        "self._store.write(self._key, content)\n        return True",
        "event_pipeline_tests/engines/test_document.py::test_who_is_overtaken_changes_nothing",
    ),
    Mutant(
        "the swap of the alert document is a comparison and a write, not one step",
        "event_pipeline/engines/document.py",
        "return self._store.replace(self._key, content, version)",
        "present = self.read()\n"
        "        if (present[1] if present else None) != version:\n"
        "            return False\n"
        "        self._store.write(self._key, content)\n"
        "        return True",
        "event_pipeline_tests/engines/test_document.py::test_who_is_overtaken_in_the_middle_of_it_changes_nothing",
    ),
    Mutant(
        "a partition that another process added meanwhile is not repointed",
        f"{_AWS}/catalog.py",
        "            updated.append(inputs[partition])\n",
        "            pass\n",
        f"{_TESTS}/test_ports.py::test_a_glue_partition_that_another_process_added_meanwhile_is_repointed",
    ),
    Mutant(
        "a retired hour has its control totals where nobody finds them",
        f"{_AWS}/catalog.py",
        "bearer = SILVER_EVENTS.full_name if commit.retired_at is None else HOUR_LEDGER.full_name",
        "bearer = SILVER_EVENTS.full_name",
        f"{_TESTS}/test_ports.py::test_a_retired_hour_is_shown_by_its_ledger_alone_which_has_the_totals[glue]",
    ),
    Mutant(
        "partitions beyond the first page of a listing are forgotten",
        f"{_AWS}/catalog.py",
        'for page in pages for each in page.get("Partitions", [])]',
        'for page in list(pages)[:1] for each in page.get("Partitions", [])]',
        f"{_TESTS}/test_aws_gold.py::test_listings_of_many_pages_are_read_to_their_end",
    ),
    Mutant(
        "files of another build are no difference of a partition",
        f"{_AWS}/catalog.py",
        'found = ["files"] if present.location != wanted.location else []',
        "found = list[str]()",
        f"{_TESTS}/test_engine_upkeep.py"
        "::test_files_of_another_build_under_the_name_of_the_right_one_are_named_and_replaced"
        "[aws by its host with two tables]",
    ),
    Mutant(
        "a file that the manifest of Athena does not name is published",
        f"{_AWS}/athena_sql.py",
        "            if not odd:\n",
        "            if not odd or stored:\n",
        f"{_TESTS}/test_aws_unload.py::test_a_file_that_no_manifest_names_is_never_published",
    ),
    Mutant(
        "a statement of Athena that takes too long goes on",
        f"{_AWS}/athena.py",
        "            if time.monotonic() > deadline:\n                self._stop(execution_id)\n",
        "            if time.monotonic() > deadline:\n",
        f"{_TESTS}/test_aws_gold.py::test_a_query_that_is_still_running_after_the_timeout_is_stopped",
    ),
    Mutant(
        "a message that is no notice is deleted from the queue",
        f"{_AWS}/notices.py",
        "                    continue\n                for key in keys:\n",
        "                    keys = []\n                for key in keys:\n",
        f"{_TESTS}/test_aws_sensor.py::test_a_message_that_is_no_notice_is_logged_and_left_to_the_dead_letters",
    ),
    Mutant(
        "a notice names its object as it is written in a URL",
        f"{_AWS}/notices.py",
        'return [unquote_plus(record["s3"]["object"]["key"]) for record in message["Records"]]',
        'return [str(record["s3"]["object"]["key"]) for record in message["Records"]]',
        f"{_TESTS}/test_aws_sensor.py::test_notices_of_s3_and_of_eventbridge_name_their_objects",
    ),
    Mutant(
        "files that are copied from S3 are not held to their committed bytes",
        "event_pipeline/engines/host/duckdb_sql.py",
        "if committed is not None and file_digest(draft) != committed.sha256:",
        "if committed is not None and not draft.exists():",
        f"{_TESTS}/test_by_host.py::test_silver_with_other_bytes_than_were_committed_makes_no_gold",
    ),
)
