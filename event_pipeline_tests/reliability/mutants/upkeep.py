"""Mutants of the order and the races of publication, of repair, housekeeping, retention and erasure."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_GOLD = "event_pipeline/engines/gold.py"
_SILVER = "event_pipeline/engines/silver.py"
_REPAIR = "event_pipeline/engines/repair.py"
_COMMITS = "event_pipeline/engines/commits.py"
_CATALOG = "event_pipeline/engines/local/catalog.py"
_KEEPING = "event_pipeline/engines/housekeeping.py"
_LEFTOVERS = "event_pipeline/engines/leftovers.py"
_PASSING = "event_pipeline/engines/local/passing.py"
_ERASER = "event_pipeline/engines/eraser.py"
_ERASURES = "event_pipeline/engines/erasures.py"
_ERASING = "event_pipeline/operations/erasing.py"
_HISTORY = "event_pipeline/dagster_instance/history.py"

_BEHAVIOUR = "event_pipeline_tests/engines/aws/test_engine_behaviour.py"
_UPKEEP = "event_pipeline_tests/engines/aws/test_engine_upkeep.py"
_HOUSE = "event_pipeline_tests/engines/test_local_housekeeping.py"
_ERASURE = "event_pipeline_tests/engines/aws/test_erasure.py"
_LOCKS = f"{_BEHAVIOUR}::test_every_commit_record_is_read_and_replaced_under_its_own_lock[local]"
_ORDER = f"{_BEHAVIOUR}::test_nothing_is_shown_before_it_is_committed[in memory]"

MUTANTS: tuple[Mutant, ...] = (
    # -- locks
    Mutant(
        "An hour is built without its lock",
        _SILVER,
        '                    locks.enter_context(self._lake.exclusive(f"hours/{hour}"))\n',
        "",
        _LOCKS,
    ),
    Mutant(
        "A partial is made without its lock",
        _GOLD,
        "        with self._lake.exclusive(partial_lock(name, hour)):\n",
        "        if True:\n",
        _LOCKS,
    ),
    Mutant(
        "A day is folded without its lock",
        _GOLD,
        "                with self._lake.exclusive(day_lock(self._table.name, day)):\n",
        "                if True:\n",
        _LOCKS,
    ),
    Mutant(
        "An hour is retired without its lock",
        _KEEPING,
        '        with self._lake.exclusive(f"hours/{hour}"):\n',
        "        if True:\n",
        _LOCKS,
    ),
    Mutant(
        "A day is retired without its lock",
        _KEEPING,
        "        with self._lake.exclusive(day_lock(table, day)):\n",
        "        if True:\n",
        _LOCKS,
    ),
    Mutant(
        "An hour is registered without a lock",
        _REPAIR,
        "                    locks.enter_context(self._lake.exclusive(lock))\n",
        "                    pass\n",
        _LOCKS,
    ),
    Mutant(
        "An hour is erased from without its lock",
        _ERASER,
        '        with self._lake.exclusive(f"hours/{hour}"):\n            published = self._commits.hour(hour)\n'
        "            commit = published.commit\n",
        "        if True:\n            published = self._commits.hour(hour)\n            commit = published.commit\n",
        f"{_ERASURE}::test_an_erasure_replaces_commit_records_under_their_locks[local]",
    ),
    # -- order
    Mutant(
        "A Gold day is registered before it is committed",
        _GOLD,
        "        self._commits.publish(commit, published.version)\n        self._show_newest(",
        "        self._catalog.change(self._catalog.entries_of(commit), ())\n"
        "        self._commits.publish(commit, published.version)\n        self._show_newest(",
        _ORDER,
    ),
    Mutant(
        "A partial is registered before it is committed",
        _GOLD,
        "            try:\n                self._commits.publish(commit, published.version)\n",
        "            self._catalog.change(self._catalog.entries_of(commit), ())\n"
        "            try:\n                self._commits.publish(commit, published.version)\n",
        _ORDER,
    ),
    Mutant(
        "The record of a day is read after its partials",
        _GOLD,
        "        published = self._commits.day(name, day)\n"
        "        commits = self._partials_of(day, published.commit)\n",
        "        commits = self._partials_of(day, self._commits.day(name, day).commit)\n"
        "        published = self._commits.day(name, day)\n",
        f"{_BEHAVIOUR}::test_a_day_that_another_hour_folds_after_its_partials_were_listed_is_folded_again_with_both"
        "[in memory]",
    ),
    Mutant(
        "A slower registration of a day points back to the older build",
        _GOLD,
        "            self._catalog.change(self._catalog.entries_of(published.commit), ())\n",
        "            self._catalog.change(self._catalog.entries_of(published.commit), ())\n"
        "            return published.commit\n",
        f"{_BEHAVIOUR}::test_a_slower_registration_does_not_take_a_day_back[in memory]",
    ),
    Mutant(
        "A slower registration of an hour points back to the older build",
        _REPAIR,
        "            subjects = [subject for subject in subjects if now[subject.key].version"
        " != published[subject.key].version]\n",
        "            subjects = []\n",
        f"{_BEHAVIOUR}::test_a_registration_that_is_overtaken_shows_the_newest_build[in memory]",
    ),
    Mutant(
        "Repair hides for a moment what was published while it looked",
        _REPAIR,
        "if place in wanted], dropped - moved)",
        "if place in wanted], dropped)",
        f"{_UPKEEP}::test_repair_never_drops_what_was_published_since_it_looked[in memory]",
    ),
    Mutant(
        "A partial of older Silver that overtook this one is kept as its own",
        _GOLD,
        "                if other is None or other.silver_build_id != built.build_id:\n                    raise\n",
        "                if other is None:\n                    raise\n",
        f"{_BEHAVIOUR}::test_who_is_overtaken_by_a_partial_of_older_silver_does_not_take_it_for_its_own[in memory]",
    ),
    Mutant(
        "A day that another process folded meanwhile is given up",
        _GOLD,
        "            except OvertakenError:\n                # Another hour folded",
        "            except OvertakenError:\n                return None\n                # Another hour folded",
        f"{_BEHAVIOUR}::test_a_day_that_another_hour_publishes_without_this_one_is_folded_again_with_both[in memory]",
    ),
    Mutant(
        "A file that a build does not name is published with it",
        _SILVER,
        "        if strays := self._commits.stray_files(commit):\n",
        "        if False and (strays := self._commits.stray_files(commit)):\n",
        f"{_BEHAVIOUR}::test_a_build_with_a_file_that_it_does_not_name_is_not_published_and_keeps_no_other_hour_back"
        "[in memory]",
    ),
    # -- completeness
    Mutant(
        "A partial outside the window is dropped from its day",
        _GOLD,
        "{*folded, *self._hours}",
        "{*self._hours}",
        f"{_BEHAVIOUR}::test_a_day_keeps_what_hours_have_of_it_that_wider_limits_accepted[local]",
    ),
    Mutant(
        "The hours that are refreshed are not folded where they are outside the window",
        _GOLD,
        "{*folded, *self._hours}",
        "{*folded}",
        f"{_BEHAVIOUR}::test_a_day_keeps_what_hours_have_of_it_that_wider_limits_accepted[local]",
    ),
    Mutant(
        "An hour with events that wider limits accepted is behind for ever in a range",
        _GOLD,
        "window = min([first, *known]), max([last, *known])",
        "window = first, last",
        f"{_BEHAVIOUR}::test_a_day_keeps_what_hours_have_of_it_that_wider_limits_accepted[local]",
    ),
    Mutant(
        "A day that an hour left is forgotten if the run that folds it is killed and limits become narrower",
        _GOLD,
        "{**dict.fromkeys(self._left_days(published.commit), 0), **written.days}",
        "written.days",
        f"{_BEHAVIOUR}::test_a_day_forgets_what_an_hour_lost_although_a_fold_was_killed_and_limits_are_narrower_since"
        "[local]",
    ),
    Mutant(
        "A day that an hour left is forgotten when the next run is killed as well",
        _GOLD,
        "if rows or self._is_folded_from(replaced.hour, day)]",
        "if rows]",
        f"{_BEHAVIOUR}::test_a_day_forgets_what_an_hour_lost_although_a_fold_was_killed_and_limits_are_narrower_since"
        "[local]",
    ),
    Mutant(
        "The landing hours that have the last events of a day are not looked at",
        _GOLD,
        "    return HourRange(first, last.plus(1))\n",
        "    return HourRange(first, last.plus(-1))\n",
        f"{_BEHAVIOUR}::test_a_day_has_the_events_of_the_first_and_of_the_last_hour_that_may_have_some[local]",
    ),
    Mutant(
        "The landing hour that has the first events of a day is not looked at",
        _GOLD,
        "    first = Hour.containing(start.start - limits.max_lead).plus(-1)\n",
        "    first = start\n",
        f"{_BEHAVIOUR}::test_a_day_has_the_events_of_the_first_and_of_the_last_hour_that_may_have_some[local]",
    ),
    Mutant(
        "Partials of the month before are not looked for",
        _COMMITS,
        'for month in sorted({hive_path_of(day).rpartition("/")[0] for day in days}):',
        'for month in sorted({hive_path_of(day).rpartition("/")[0] for day in days})[:1]:',
        f"{_BEHAVIOUR}::test_a_day_is_folded_from_hours_of_both_months_that_it_landed_in[in memory]",
    ),
    Mutant(
        "A day that an hour no longer touches keeps its rows",
        _GOLD,
        "return sorted({day for day in folded if day} | set(self._partial_days(hour)))",
        "return sorted(self._partial_days(hour))",
        f"{_BEHAVIOUR}::test_an_hour_whose_day_was_not_folded_is_behind_until_the_next_refresh_folds_it"
        "[no row of its day any more-local]",
    ),
    Mutant(
        "A file that was cut counts as there",
        _COMMITS,
        "if there.get(file.path) != file.size]",
        "if file.path not in there]",
        f"{_BEHAVIOUR}::test_a_file_that_is_not_what_was_committed_is_found_refused_and_healed[a_file_is_cut-local]",
    ),
    Mutant(
        "A partial whose file is gone is not made again",
        _GOLD,
        "                and not self._commits.missing_files(published.commit)\n            ):\n",
        "            ):\n",
        f"{_BEHAVIOUR}::test_a_gold_file_that_vanished_is_made_again[partials-partials1-days1-local]",
    ),
    Mutant(
        "A day whose file is gone is not folded again",
        _GOLD,
        "            and not self._commits.missing_files(published.commit)\n        ):\n            present",
        "        ):\n            present",
        f"{_BEHAVIOUR}::test_a_gold_file_that_vanished_is_made_again[days-partials0-days0-local]",
    ),
    Mutant(
        "An hour whose files are gone is left as it is",
        _SILVER,
        "(present.retired_at or not self._commits.missing_files(present))",
        "True",
        f"{_BEHAVIOUR}::test_a_file_that_is_not_what_was_committed_is_found_refused_and_healed[a_file_goes-local]",
    ),
    Mutant(
        "An hour whose files are gone is registered",
        _REPAIR,
        "            if commit is not None and (missing := self._commits.missing_files(commit)):\n"
        "                raise StorageError(files_gone_message(hour, missing))\n",
        "",
        f"{_BEHAVIOUR}::test_a_file_that_is_not_what_was_committed_is_found_refused_and_healed[a_file_goes-local]",
    ),
    # -- repair
    Mutant(
        "An entry with the right build and the wrong files is left alone",
        _REPAIR,
        "        differences = self._catalog.differences(wanted, present) if present else ()\n",
        "        differences: list[str] = []\n",
        f"{_UPKEEP}::test_files_of_another_build_under_the_name_of_the_right_one_are_named_and_replaced[local]",
    ),
    Mutant(
        "The files of an entry are not compared",
        _CATALOG,
        "differing = {catalog_table for catalog_table, _ in wanted.rows ^ present.rows}",
        'differing = {catalog_table for catalog_table, _ in wanted.rows ^ present.rows} - {"data_file"}',
        f"{_UPKEEP}::test_files_of_another_build_under_the_name_of_the_right_one_are_named_and_replaced[local]",
    ),
    Mutant(
        "The control totals of a dropped hour stay",
        _CATALOG,
        '    for each in _selections(place):\n        session.execute(f"DELETE',
        '    for each in _selections(place)[:2]:\n        session.execute(f"DELETE',
        f"{_UPKEEP}::test_an_entry_without_a_commit_record_is_named_and_dropped[local]",
    ),
    Mutant(
        "Repair leaves entries that no commit record publishes",
        _REPAIR,
        "            if place not in named:\n",
        "            if False:\n",
        f"{_UPKEEP}::test_an_entry_without_a_commit_record_is_named_and_dropped[local]",
    ),
    Mutant(
        "Repair shows hours whose files are gone",
        _REPAIR,
        "        sound = (commit for commit in commits if id(commit) not in damaged)\n",
        "        sound = commits\n",
        f"{_UPKEEP}::test_an_hour_whose_files_are_gone_is_dropped_and_no_other_one[in memory]",
    ),
    Mutant(
        "A refresh goes by what the catalog shows, not by what is committed",
        _GOLD,
        "        if not self._differs(commit, present):\n            return commit\n",
        "        if present is not None:\n            return commit\n",
        f"{_UPKEEP}::test_a_refresh_shows_again_what_is_committed_and_goes_by_it[Silver-local]",
    ),
    # -- housekeeping and retention
    Mutant(
        "The files of an hour that has just been retired go at once",
        _LEFTOVERS,
        "return (commit.retired_at if isinstance(commit, HourCommit) else None) or commit.committed_at",
        "return commit.committed_at",
        f"{_UPKEEP}::test_files_of_a_retired_hour_go_when_it_has_been_retired_for_the_grace_period[in memory]",
    ),
    Mutant(
        "A build that is just being made is taken for an abandoned one",
        _LEFTOVERS,
        "        if any(file.modified > until for file in found):\n            continue\n",
        "",
        f"{_UPKEEP}::test_a_build_that_nobody_committed_is_never_shown_and_goes_after_its_grace[in memory]",
    ),
    Mutant(
        "What the catalog still shows is removed because another build is committed",
        _KEEPING,
        "        needed.update(*(self._catalog.needed(entry) for entry in entries.values()))\n",
        "",
        f"{_UPKEEP}::test_what_the_catalog_still_shows_stays_although_another_build_is_committed[local]",
    ),
    Mutant(
        "The files of an hour past its retention are kept for ever",
        _KEEPING,
        "    if isinstance(commit, HourCommit) and commit.retired_at is not None:\n        return f",
        "    if False:\n        return f",
        f"{_UPKEEP}::test_files_of_a_retired_hour_go_when_it_has_been_retired_for_the_grace_period[in memory]",
    ),
    Mutant(
        "An hour is retired although Gold does not show it yet",
        _LEFTOVERS,
        "            and hour not in behind\n",
        "",
        f"{_UPKEEP}::test_an_hour_is_retired_once_queries_see_it_in_silver_and_in_all_of_gold[in memory]",
    ),
    Mutant(
        "An hour is retired although queries see an older build of it",
        _LEFTOVERS,
        "            and registered.get(hour) == commit.build_id\n",
        "",
        f"{_UPKEEP}::test_an_hour_is_retired_once_queries_see_it_in_silver_and_in_all_of_gold[in memory]",
    ),
    Mutant(
        "An hour is retired an hour too early",
        _LEFTOVERS,
        "            and is_past(hour.end, retention_days, now)\n",
        "            and is_past(hour.start, retention_days, now)\n",
        f"{_UPKEEP}::test_an_hour_past_its_retention_keeps_its_ledger_its_totals_its_gold_and_its_raw_objects"
        "[in memory]",
    ),
    Mutant(
        "A Gold day is retired while an hour of it still has Silver",
        _LEFTOVERS,
        "past = is_past(end, retention_days, now) and all(hour and hour.retired_at for hour in feeding)",
        "past = is_past(end, retention_days, now)",
        f"{_UPKEEP}::test_gold_days_past_their_retention_go_once_no_hour_feeds_them_and_nothing_brings_them_back"
        "[in memory]",
    ),
    Mutant(
        "A retirement that was broken off stays half done",
        _LEFTOVERS,
        "        if (done and hour in registered) or (\n",
        "        if (\n",
        f"{_UPKEEP}::test_a_retirement_that_is_broken_off_is_completed_by_the_next_round[in memory]",
    ),
    Mutant(
        "A lock that a process holds is removed",
        _PASSING,
        "        with storage_faults(path), lock:\n            path.unlink(missing_ok=True)\n",
        "        with storage_faults(path):\n            path.unlink(missing_ok=True)\n",
        f"{_HOUSE}::test_scratch_drafts_and_locks_of_killed_steps_go_after_a_day_and_held_locks_stay",
    ),
    Mutant(
        "A file that cannot be removed is reported as removed",
        "event_pipeline/engines/local/files.py",
        "            with storage_faults(path):\n                path.unlink(missing_ok=True)\n            remove",
        "            try:\n                path.unlink(missing_ok=True)\n            except OSError:\n"
        "                continue\n            _remove",
        f"{_HOUSE}::test_a_file_that_cannot_be_removed_is_named",
    ),
    Mutant(
        "Only the first file of a replaced build is removed",
        _KEEPING,
        "                self._lake.delete(leftover.paths)\n",
        "                self._lake.delete(leftover.paths[:1])\n",
        f"{_UPKEEP}::test_a_replaced_build_goes_after_its_grace_and_what_is_shown_never_does[in memory]",
    ),
    Mutant(
        "The run that made the newest materialization of an hour is forgotten",
        _HISTORY,
        "            if run.run_id not in known_by:\n",
        "            if True:\n",
        "event_pipeline_tests/operations/test_housekeeping.py"
        "::test_old_runs_are_forgotten_but_not_those_that_made_the_newest_materialization",
    ),
    # -- erasure
    Mutant(
        "A build that began before an erasure brings the person back",
        _SILVER,
        "        if self._erasures.read().version != due.input.erasures.version:\n",
        "        if False:\n",
        f"{_ERASURE}::test_a_build_that_began_before_cannot_bring_the_person_back[in memory]",
    ),
    Mutant(
        "A person is lost from the list when another one is entered at the same time",
        _ERASURES,
        'if self._lake.replace(layout.ERASED, f"{json.dumps(document, indent=1)}\\n".encode(), version):',
        'if self._lake.write(layout.ERASED, f"{json.dumps(document, indent=1)}\\n".encode()) is None:',
        f"{_ERASURE}::test_two_people_who_are_entered_at_the_same_time_are_both_on_the_list[in memory]",
    ),
    Mutant(
        "A damaged list of erased people counts as an empty one",
        _ERASURES,
        "        except (ValueError, KeyError, TypeError) as error:\n            raise StorageError(\n"
        '                f"{self._lake.url(layout.ERASED)}: the list',
        "        except (ValueError, KeyError, TypeError) as error:\n            return NOBODY, None\n"
        "            raise StorageError(\n"
        '                f"{self._lake.url(layout.ERASED)}: the list',
        "event_pipeline_tests/commands/test_erase.py"
        "::test_nothing_is_built_with_a_damaged_list_and_a_damaged_hour_is_named",
    ),
    Mutant(
        "Refused records of an erased person stay in quarantine",
        _ERASER,
        "            yield batch.filter(pc.invert(theirs))\n\n    def _rows",
        "            yield batch\n\n    def _rows",
        f"{_ERASURE}::test_killed_at_any_write_and_run_again_it_completes[in memory]",
    ),
    Mutant(
        "A receipt says that a person is erased although an hour could not be read",
        "event_pipeline/operations/erasing.py",
        "    if not damaged:\n        receipt = replace(receipt, finished_at=commit_time())\n",
        "    receipt = replace(receipt, finished_at=commit_time())\n",
        "event_pipeline_tests/commands/test_erase.py"
        "::test_nothing_is_built_with_a_damaged_list_and_a_damaged_hour_is_named",
    ),
    # -- broken off, and completed by the next run
    Mutant(
        "A partial whose registration broke off is not registered by the next refresh",
        _GOLD,
        "                if self._differs(published.commit, present):\n                    self._show_partial(hour)\n",
        "",
        f"{_UPKEEP}::test_a_partial_without_rows_whose_registration_broke_off_is_registered_by_the_next_refresh"
        "[in memory]",
    ),
    Mutant(
        "A day whose registration broke off is not registered by the next refresh",
        _GOLD,
        "            if self._differs(published.commit, present):\n"
        "                self._show_newest(lambda: self._commits.day(name, day))\n",
        "",
        f"{_UPKEEP}::test_a_registration_that_is_broken_off_is_completed_by_the_next_refresh[in memory]",
    ),
    Mutant(
        "A refresh of a retired hour asks for its Silver, and brings back days of it",
        _GOLD,
        "        return commit is not None and commit.retired_at is not None\n\n    def _touched_days",
        "        return False\n\n    def _touched_days",
        f"{_UPKEEP}::test_gold_days_past_their_retention_go_once_no_hour_feeds_them_and_nothing_brings_them_back"
        "[in memory]",
    ),
    Mutant(
        "The rows of a dropped hour stay while its files go",
        _CATALOG,
        '    for each in _selections(place):\n        session.execute(f"DELETE',
        '    for each in _selections(place)[1:]:\n        session.execute(f"DELETE',
        f"{_UPKEEP}::test_an_entry_without_a_commit_record_is_named_and_dropped[local]",
    ),
    Mutant(
        "An erasure removes a build that another process is about to publish",
        _KEEPING,
        "            and any(map(holds, each.paths))\n",
        "",
        "event_pipeline_tests/reliability/test_turns.py"
        "::test_an_erasure_beside_a_build_leaves_the_files_that_are_not_published_yet",
    ),
    Mutant(
        "A replaced file that cannot be read survives an erasure",
        _ERASER,
        "        return True\n    return False\n\n\ndef _divided",
        "        return False\n    return False\n\n\ndef _divided",
        f"{_ERASURE}::test_a_replaced_build_without_them_keeps_its_grace_period_and_one_that_cannot_be_read_goes"
        "[no_file-in memory]",
    ),
    Mutant(
        "Only the first file of a replaced build is asked for erased people",
        _KEEPING,
        "any(map(holds, each.paths))",
        "any(map(holds, each.paths[:1]))",
        f"{_ERASURE}::test_nothing_holds_an_erased_person_and_later_builds_leave_them_out[local]",
    ),
)
