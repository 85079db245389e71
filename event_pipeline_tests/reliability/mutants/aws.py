"""Defects of what is special about AWS: S3's compare and swap, the Glue catalog, Athena, raw objects in a bucket."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_AWS = "event_pipeline/engines/aws"
_TESTS = "event_pipeline_tests/engines/aws"
_STORAGE = f"{_AWS}/storage.py"
_FAULTS = f"{_TESTS}/test_aws_faults.py"

MUTANTS = (
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
)
