"""Mutants of what decides that something is built again: raw identity, states of hours, partials and days behind."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_RAW = "event_pipeline/engines/local/raw.py"
_DIGESTS = "event_pipeline/engines/digests.py"
_DECODED = "event_pipeline/engines/host/decoded.py"
_ACCOUNTING = "event_pipeline/rules/accounting.py"
_STATE = "event_pipeline/engines/state.py"
_GOLD = "event_pipeline/engines/gold.py"
_SILVER = "event_pipeline/engines/silver.py"

_BEHAVIOUR = "event_pipeline_tests/engines/aws/test_engine_behaviour.py"
_COPIED = "event_pipeline_tests/automation/test_copied_folder.py"
_OPEN = "event_pipeline_tests/engines/test_local_open_hours.py"
_SENSOR = "event_pipeline_tests/automation/test_sensor.py"
_LOCAL_SILVER = "event_pipeline_tests/engines/test_local_silver.py"
_LOCAL_GOLD = "event_pipeline_tests/engines/test_local_gold.py"
_LOCAL_RAW = "event_pipeline_tests/engines/test_local_raw.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "An object that is replaced within the same second by one of the same size counts as the same",
        _RAW,
        'return RawObject(key, f"{status.st_mtime_ns:x}", status.st_size',
        'return RawObject(key, f"{int(status.st_mtime):x}", status.st_size',
        f"{_BEHAVIOUR}::test_an_object_that_is_replaced_within_one_second_by_one_of_its_size_is_built_again[local]",
    ),
    Mutant(
        "An object that is replaced by a rename while it is read is not noticed",
        _RAW,
        "replaced = describe(self.listed.key, self.path.stat()) != self.listed or now != self.listed",
        "replaced = now != self.listed",
        f"{_LOCAL_SILVER}::test_an_object_replaced_while_it_is_read_is_a_passing_fault[by a rename]",
    ),
    Mutant(
        "An object that is rewritten in place while it is read is not noticed",
        _RAW,
        "replaced = describe(self.listed.key, self.path.stat()) != self.listed or now != self.listed",
        "replaced = self.path.stat().st_ino != os.stat(self.path).st_ino",
        f"{_LOCAL_SILVER}::test_an_object_replaced_while_it_is_read_is_a_passing_fault[in place]",
    ),
    Mutant(
        "An object that was replaced since it was listed is digested under the old etag",
        _RAW,
        "return digest if now == listed else None",
        "return digest",
        f"{_LOCAL_RAW}::test_an_object_that_was_replaced_since_it_was_listed_has_no_digest_and_is_not_rewritten",
    ),
    Mutant(
        "An object that was replaced since it was listed is overwritten by an erasure",
        _RAW,
        "            if describe(listed.key, path.lstat()) != listed:\n                return False\n",
        "",
        f"{_LOCAL_RAW}::test_an_object_that_was_replaced_since_it_was_listed_has_no_digest_and_is_not_rewritten",
    ),
    Mutant(
        "A digest is found by key and size, whatever the etag",
        _DIGESTS,
        "    return each.key, each.etag, each.size\n",
        '    return each.key, "", each.size\n',
        f"{_COPIED}::test_a_digest_that_was_noted_is_of_that_version_of_the_object_alone",
    ),
    Mutant(
        "A decoded object is found by a name without the etag, and nobody compares its bytes",
        _DECODED,
        '            if not task.source.has_digest(fields["account"]["sha256"]):\n                return None\n',
        "",
        f"{_COPIED}::test_what_is_decoded_of_an_open_hour_does_not_hide_other_bytes",
    ),
    *(
        Mutant(
            f"A decoded object is found by a name without {what}",
            _ACCOUNTING,
            'f"{hour}\\0{rules_version}\\0{erased}\\0{key}\\0{etag}\\0{size}"',
            name,
            f"{_OPEN}::test_the_name_of_a_decoded_object_follows_all_that_it_depends_on",
        )
        for what, name in {
            "its size": 'f"{hour}\\0{rules_version}\\0{erased}\\0{key}\\0{etag}"',
            "anything but its size": 'f"{size}"',
            "its etag": 'f"{hour}\\0{rules_version}\\0{erased}\\0{key}\\0{size}"',
            "the rules": 'f"{hour}\\0{erased}\\0{key}\\0{etag}\\0{size}"',
            "the list of erased people": 'f"{hour}\\0{rules_version}\\0{key}\\0{etag}\\0{size}"',
        }.items()
    ),
    Mutant(
        "A copied folder is taken for unchanged without comparing the bytes",
        _STATE,
        "    if any(found.get(each.key) != built[each.key].sha256 for each in moved):\n        return listing\n",
        "",
        f"{_COPIED}::test_other_bytes_of_the_same_size_and_another_time_are_a_change",
    ),
    Mutant(
        "An hour that lost an object counts as changed, and is built without it",
        _STATE,
        "    if lost_objects(listing, commit):\n        return HourState.LOST_OBJECTS\n",
        "",
        f"{_SENSOR}::test_an_hour_that_lost_objects_is_never_requested",
    ),
    Mutant(
        "An unreadable object that was removed counts as lost",
        _STATE,
        "if not each.unreadable and each.key not in listed]",
        "if each.key not in listed]",
        f"{_BEHAVIOUR}::test_removing_an_unreadable_object_loses_nothing_and_is_allowed[local]",
    ),
    Mutant(
        "A replaced object does not make its hour due",
        _STATE,
        "    if listing.fingerprint != commit.fingerprint:\n        return HourState.CHANGED\n",
        "    if len(listing.objects) != len(commit.account.objects):\n        return HourState.CHANGED\n",
        f"{_SENSOR}::test_a_replaced_object_makes_a_built_hour_due_again",
    ),
    Mutant(
        "An hour that was built while it was open is not built whole when it is over",
        _STATE,
        "    if now and commit.hour.is_closed(now) and not commit.hour.is_closed(commit.committed_at):\n"
        "        return HourState.PROVISIONAL\n",
        "",
        f"{_OPEN}::test_an_hour_that_is_over_is_built_whole_once_and_what_was_kept_is_dropped",
    ),
    Mutant(
        "An hour that was committed and not registered counts as ready",
        _STATE,
        "(registered.get(hour) != commit.build_id or hour in misshown)",
        "hour in misshown",
        f"{_SENSOR}::test_an_hour_whose_run_broke_off_after_silver_is_requested[committed]",
    ),
    Mutant(
        "An hour that Gold does not show counts as ready",
        _STATE,
        "        elif state is HourState.READY and hour in behind:\n            state = HourState.GOLD_BEHIND\n",
        "",
        f"{_SENSOR}::test_an_hour_whose_run_broke_off_after_silver_is_requested[registered]",
    ),
    Mutant(
        "The commit record of an hour is read after its listing",
        _SILVER,
        "        published = self._commits.hour(hour)\n"
        "        listing, present = self._raw.list_hour(hour), published.commit\n",
        "        listing, published = self._raw.list_hour(hour), self._commits.hour(hour)\n"
        "        present = published.commit\n",
        f"{_BEHAVIOUR}::test_who_listed_the_hour_before_newer_input_was_published_publishes_nothing[in memory]",
    ),
    Mutant(
        "A build of older input that was overtaken takes the newer one for its own",
        _SILVER,
        "            if other.commit and (other.commit.fingerprint, other.commit.rules_version) == (\n"
        "                commit.fingerprint,\n                rules_version,\n            ):\n",
        "            if other.commit:\n",
        f"{_BEHAVIOUR}::test_who_is_overtaken_by_newer_input_publishes_nothing[in memory]",
    ),
    Mutant(
        "A rebuilt hour is not behind although its partial is older",
        _GOLD,
        "if made is None or (made.made_from, made.version) != (entry.build_id, table.version):",
        "if made is None or made.version != table.version:",
        f"{_BEHAVIOUR}::test_an_hour_is_behind_until_its_partial_and_its_days_are_of_its_silver_and_sql[local]",
    ),
    Mutant(
        "An hour whose partial is of other SQL is not behind where the partial has no rows",
        _GOLD,
        "if made is None or (made.made_from, made.version) != (entry.build_id, table.version):",
        "if made is None or made.made_from != entry.build_id:",
        f"{_BEHAVIOUR}::test_an_hour_without_rows_of_a_table_is_behind_once_the_sql_is_another[local]",
    ),
    Mutant(
        "An hour whose day was not folded again is not behind",
        _GOLD,
        "if fold is None or fold.version != table.version or fold.partials.get(path) != partial.build_id:",
        "if fold is None or fold.version != table.version:",
        f"{_BEHAVIOUR}::test_an_hour_whose_day_was_not_folded_is_behind_until_the_next_refresh_folds_it"
        "[more rows-local]",
    ),
    Mutant(
        "An hour that a day still holds, although it has no rows of it any more, is not behind",
        _GOLD,
        "            if folded is None or day not in folded.days:\n",
        "            if folded is None:\n",
        f"{_BEHAVIOUR}::test_an_hour_whose_day_was_not_folded_is_behind_until_the_next_refresh_folds_it"
        "[no row of its day any more-local]",
    ),
    Mutant(
        "Days before the first hour of a range are not looked at",
        _GOLD,
        "first, last = (hours.first.start - limits.max_age).date(), (hours.last.end",
        "first, last = hours.first.start.date(), (hours.last.end",
        f"{_BEHAVIOUR}::test_an_hour_whose_day_was_not_folded_is_behind_until_the_next_refresh_folds_it"
        "[no row of its day any more-local]",
    ),
    Mutant(
        "A partial of older Silver is taken for one of the Silver there is",
        _GOLD,
        "                and (published.commit.silver_build_id, published.commit.sql_version) == made\n",
        "                and published.commit.sql_version == self._table.version\n",
        f"{_BEHAVIOUR}::test_an_hour_is_behind_until_its_partial_and_its_days_are_of_its_silver_and_sql[local]",
    ),
    Mutant(
        "A day is not folded again when a partial of it was replaced",
        _GOLD,
        "return (commit.partials, commit.sql_version) == (partials, sql_version)",
        "return (commit.partials.keys(), commit.sql_version) == (partials.keys(), sql_version)",
        f"{_BEHAVIOUR}::test_an_hour_is_behind_until_its_partial_and_its_days_are_of_its_silver_and_sql[local]",
    ),
    Mutant(
        "The partial that one attempt at a day has read is used by the next, whatever its version",
        _GOLD,
        "if known is None or known.version != versions[hour]:",
        "if known is None:",
        f"{_BEHAVIOUR}::test_a_partial_that_is_replaced_between_two_attempts_at_a_day_is_read_again[in memory]",
    ),
    Mutant(
        "A day that another version folded from the same partials is not folded again",
        _GOLD,
        "return (commit.partials, commit.sql_version) == (partials, sql_version)",
        "return commit.partials == partials",
        "event_pipeline_tests/engines/test_local_gold.py"
        "::test_a_day_that_another_version_folded_from_the_same_partials_is_folded_again",
    ),
    Mutant(
        "An hour whose commit record is damaged looks like a new one",
        _STATE,
        "HourState.DAMAGED if hour in damaged else input_state",
        "input_state",
        "event_pipeline_tests/test_cli.py::test_a_damaged_commit_record_hides_no_other_hour",
    ),
)
