"""Mutants of the Glue job: what it reads, keeps of open hours, shuffles, writes and takes from earlier attempts."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_JOB = "glue_scripts/silver_events.py"

_OF_JOB = "event_pipeline_tests/glue_scripts/test_silver_events.py"
_BROKEN = f"{_OF_JOB}::test_a_connection_that_breaks_is_read_again_and_not_taken_for_a_truncated_object"
_OTHER_BUILD = f"{_OF_JOB}::test_a_manifest_is_taken_from_the_target_only_if_it_is_of_the_planned_build"
_ONE_FILE = f"{_OF_JOB}::test_a_file_leaves_out_repeated_lines_and_sums_the_days_of_all_its_batches"
_WHOLE = f"{_OF_JOB}::test_an_hour_leaves_its_duplicates_out_and_its_target_has_the_files_of_its_manifest_alone"
_NOT_FITTING = f"{_OF_JOB}::test_a_report_that_does_not_fit_is_not_trusted"
_STANDING = "standing = (found.hour, found.build_id, found.fingerprint, found.rules_version)"

MUTANTS: tuple[Mutant, ...] = (
    # -- reading
    Mutant(
        "The Glue job reads whatever is under the key of a listed object",
        _JOB,
        'Key=key, IfMatch=f\'"{listed.etag}"\')["Body"]',
        'Key=key)["Body"]',
        _BROKEN,
    ),
    Mutant(
        "The Glue job takes a lost connection for a truncated object",
        _JOB,
        "            if attempt == READ_ATTEMPTS:\n                raise\n            time.sleep(attempt)\n"
        "        finally:\n",
        '            account = ObjectAccount(listed.key, listed.etag, listed.size, unreadable="truncated_gzip")\n'
        "        finally:\n",
        _BROKEN,
    ),
    Mutant(
        "The Glue job takes other rows of the same size for those that it kept",
        _JOB,
        'if [found["ContentLength"], found["ETag"]] != fields["streams"][kind]:',
        'if found["ContentLength"] != fields["streams"][kind][0]:',
        f"{_OF_JOB}::test_other_rows_of_the_same_size_are_not_taken_for_those_that_were_kept",
    ),
    Mutant(
        "The Glue job takes kept rows of another size",
        _JOB,
        'if [found["ContentLength"], found["ETag"]] != fields["streams"][kind]:',
        'if not found["ETag"]:',
        f"{_OF_JOB}::test_what_is_kept_of_an_open_hour_and_is_not_whole_is_made_again[events.arrow-half]",
    ),
    Mutant(
        "The Glue job keeps a report before the rows that it names",
        _JOB,
        "            streams = {\n",
        "            if planned.decoded:\n"
        '                nothing = {"events": (0, ""), "quarantine": (0, "")}\n'
        "                keep_decoded(s3, planned, number, account, rows.order, nothing)\n"
        "            streams = {\n",
        f"{_OF_JOB}::test_a_task_that_dies_before_its_report_is_written_leaves_nothing_that_counts[1]",
    ),
    Mutant(
        "The Glue job takes kept rows of another format",
        _JOB,
        'if fields["format"] != DECODED_FORMAT or account.unaccounted:',
        "if account.unaccounted:",
        f"{_NOT_FITTING}[change0]",
    ),
    Mutant(
        "The Glue job takes a kept report whose records do not add up",
        _JOB,
        'if fields["format"] != DECODED_FORMAT or account.unaccounted:',
        'if fields["format"] != DECODED_FORMAT:',
        f"{_NOT_FITTING}[change1]",
    ),
    Mutant(
        "The Glue job finds kept rows by a name without the rules and the etag",
        _JOB,
        "name = decoded_name(planned.hour, rules, erased, listed.key, listed.etag, listed.size)",
        'name = decoded_name(planned.hour, "", erased, listed.key, "", listed.size)',
        f"{_OF_JOB}::test_what_other_rules_or_another_etag_made_is_not_taken",
    ),
    # -- duplicates and files
    Mutant(
        "The Glue job keeps the last of equal records",
        _JOB,
        'key=lambda piece: (piece[0], piece[1].column("line_number")[0].as_py())',
        'key=lambda piece: (-piece[0], piece[1].column("line_number")[0].as_py())',
        f"{_OF_JOB}::test_pieces_of_the_shuffle_are_compared_in_the_order_of_objects_and_lines",
    ),
    Mutant(
        "The Glue job compares the pieces of an object as the shuffle delivers them",
        _JOB,
        'key=lambda piece: (piece[0], piece[1].column("line_number")[0].as_py())',
        "key=lambda piece: piece[0]",
        f"{_OF_JOB}::test_pieces_of_the_shuffle_are_compared_in_the_order_of_objects_and_lines",
    ),
    Mutant(
        "The Glue job writes duplicates that it has found",
        _JOB,
        "events = without_lines(accepted, lines) if len(lines) else accepted",
        "events = accepted",
        _ONE_FILE,
    ),
    Mutant(
        "The Glue job counts the days of the last batch of a file alone",
        _JOB,
        "                add_days(days, day_totals(rows))\n",
        "                days.update(day_totals(rows))\n",
        _ONE_FILE,
    ),
    Mutant(
        "The Glue job counts the rows of the last batch of an object alone",
        _JOB,
        "                written += rows.num_rows\n",
        "                written = rows.num_rows\n",
        _ONE_FILE,
    ),
    Mutant(
        "The Glue job does not look for duplicates",
        _JOB,
        "doubtful = doubtful_objects([order for _, order, _, _ in judged])",
        "doubtful = list[int]()",
        _WHOLE,
    ),
    Mutant(
        "The Glue job counts the days of the last file of an hour alone",
        _JOB,
        "            add_days(days, more)\n        now =",
        "            days = dict(more)\n        now =",
        _WHOLE,
    ),
    Mutant(
        "The Glue job puts objects without accepted rows into files of events",
        _JOB,
        "with_rows = [number for number, size in enumerate(sizes) if size]",
        "with_rows = [number for number, size in enumerate(sizes)]",
        f"{_OF_JOB}::test_an_hour_has_one_file_now_and_files_of_the_bound_at_a_hundred_times_the_volume",
    ),
    # -- manifests
    *(
        Mutant(
            f"The Glue job takes a manifest of {what} for its own",
            _JOB,
            _STANDING,
            standing,
            _OTHER_BUILD,
        )
        for what, standing in {
            "another build": _STANDING.replace("found.build_id", "planned.build_id"),
            "other input": _STANDING.replace("found.fingerprint", "planned.fingerprint"),
            "other rules": _STANDING.replace("found.rules_version", "planned.limits.rules_version"),
        }.items()
    ),
    Mutant(
        "The Glue job leaves files of an attempt that died beside those of its manifest",
        _JOB,
        'for each in page.get("Contents", []) if each["Key"] not in named]',
        'for each in page.get("Contents", []) if each["Key"] not in named and "/scratch/" in each["Key"]]',
        _WHOLE,
    ),
    Mutant(
        "A plan of another run is followed",
        _JOB,
        'if document["token"] != token:',
        'if not document["token"]:',
        f"{_OF_JOB}::test_a_plan_that_cannot_be_followed_is_refused_before_spark_starts",
    ),
)
