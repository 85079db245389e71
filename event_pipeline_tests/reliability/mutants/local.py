"""Mutants of the store, the catalog and the scratch files of one machine: durability, atomic writes, locks."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_LAYOUT = "event_pipeline/engines/host/layout.py"
_DURABILITY = "event_pipeline/engines/durability.py"
_FILES = "event_pipeline/engines/local/files.py"
_CATALOG = "event_pipeline/engines/local/catalog.py"
_CATALOG_FILE = "event_pipeline/engines/local/catalog_file.py"
_DECODED = "event_pipeline/engines/host/decoded.py"
_IMPORTING = "event_pipeline/operations/importing.py"

_PORTS = "event_pipeline_tests/engines/aws/test_ports.py"
_REPAIR = "event_pipeline_tests/engines/test_local_repair.py"
_OPEN = "event_pipeline_tests/engines/test_local_open_hours.py"
_POWER_CUT = f"{_PORTS}::test_what_a_folder_stores_survives_a_power_cut_once_the_call_has_ended"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "A commit record is renamed before its bytes are on the disk",
        _LAYOUT,
        "                os.fsync(file.fileno())\n            draft.replace(path)",
        "            draft.replace(path)",
        f"{_POWER_CUT}[replace]",
    ),
    Mutant(
        "The rename of a commit record is not made durable",
        _LAYOUT,
        "            draft.unlink(missing_ok=True)\n        sync_folder(path.parent)\n",
        "            draft.unlink(missing_ok=True)\n",
        f"{_POWER_CUT}[replace]",
    ),
    Mutant(
        "A commit record is written in place, so that a reader sees half of it",
        _LAYOUT,
        "            draft.replace(path)\n",
        "            path.write_bytes(draft.read_bytes())\n",
        f"{_POWER_CUT}[write]",
    ),
    Mutant(
        "A data file is taken into the lake without being synced",
        _FILES,
        "            sync_file(target)\n",
        "",
        f"{_POWER_CUT}[take]",
    ),
    Mutant(
        "Only the name of a data file is synced, not its bytes",
        _DURABILITY,
        '    with path.open("rb") as file:\n        os.fsync(file.fileno())\n    sync_folder(path.parent)',
        "    sync_folder(path.parent)",
        f"{_POWER_CUT}[take]",
    ),
    Mutant(
        "Only the bytes of a data file are synced, not its name",
        _DURABILITY,
        "        os.fsync(file.fileno())\n    sync_folder(path.parent)\n",
        "        os.fsync(file.fileno())\n",
        f"{_POWER_CUT}[take]",
    ),
    Mutant(
        "A new folder is not synced into the one above",
        _DURABILITY,
        "        each.mkdir(exist_ok=True)\n        sync_folder(each.parent)\n",
        "        each.mkdir(exist_ok=True)\n",
        f"{_REPAIR}::test_every_folder_that_a_build_makes_is_synced_into_the_one_above",
    ),
    Mutant(
        "The compare and the swap of a commit record are not under one lock",
        _FILES,
        "        with self._layout.lock(_REPLACING, self._lock_timeout_seconds):",
        '        with self._layout.lock(f"{_REPLACING}-{uuid.uuid4().hex}", self._lock_timeout_seconds):',
        f"{_PORTS}::test_who_replaces_a_file_while_another_one_does_waits_and_finds_it_replaced",
    ),
    Mutant(
        "A swap ignores that it lost",
        _FILES,
        "                return False\n            # A file",
        "                pass\n            # A file",
        f"{_PORTS}::test_a_replacement_needs_the_version_that_is_there[files]",
    ),
    Mutant(
        "Two versions of a commit record in one tick of the file system's clock look the same",
        _FILES,
        "max(time.time_ns(), present.st_mtime_ns + 1) if present else 0",
        "0",
        f"{_PORTS}::test_versions_in_a_folder_differ_within_one_tick_of_its_clock",
    ),
    Mutant(
        "The draft of a write that was killed is listed as an object",
        _FILES,
        '        if each.name.startswith("."):\n',
        '        if each.name == "..":\n',
        f"{_PORTS}::test_the_draft_of_a_killed_write_is_no_object",
    ),
    Mutant(
        "A folder of the lake is locked by nobody",
        _LAYOUT,
        "                lock.acquire()\n",
        "                pass\n",
        f"{_PORTS}::test_a_lock_of_a_folder_is_held_and_given_back",
    ),
    Mutant(
        "All hours of a lake wait for one lock",
        _LAYOUT,
        'path = self.root / "locks" / f"{name}.lock"',
        'path = self.root / "locks" / f"{name.split(\'/\')[0]}.lock"',
        f"{_PORTS}::test_a_lock_of_a_folder_is_held_and_given_back",
    ),
    Mutant(
        "The catalog drops entries in one transaction and shows others in the next",
        _CATALOG,
        "                _delete(session, place)\n            for entry in show:",
        "                _delete(session, place)\n        with self._session(write=True) as session:\n"
        "            for entry in show:",
        f"{_PORTS}::test_a_change_of_the_local_catalog_that_fails_changes_nothing",
    ),
    Mutant(
        "A change of the catalog that failed half way is committed",
        _CATALOG,
        '                        session.execute("ROLLBACK")',
        '                        session.execute("COMMIT")',
        f"{_PORTS}::test_a_change_of_the_local_catalog_that_fails_changes_nothing",
    ),
    Mutant(
        "The answers of a catalog that is not filled yet are taken for the truth",
        _CATALOG,
        'if complete and session.execute("PRAGMA user_version")',
        'if False and session.execute("PRAGMA user_version")',
        f"{_PORTS}::test_a_local_catalog_that_is_not_filled_yet_answers_nothing",
    ),
    Mutant(
        "A catalog without one of its tables counts as complete",
        _CATALOG,
        "return version == _SCHEMA_VERSION and _TABLES.keys() <= {name for (name,) in rows}",
        "return version == _SCHEMA_VERSION",
        f"{_REPAIR}::test_a_lost_catalog_is_filled_again_before_anything_reads_it[table lost]",
    ),
    Mutant(
        "A damaged catalog is thrown away instead of kept aside",
        _CATALOG_FILE,
        'self._set_aside(f".damaged-{new_build_id()}")',
        "self._set_aside(None)",
        f"{_REPAIR}::test_a_damaged_catalog_is_named_with_its_remedy_and_kept_aside",
    ),
    Mutant(
        "A rebuilt catalog shows hours whose files are gone",
        _CATALOG_FILE,
        "draft.fill(commit for commit in self._records() if not self._commits.missing_files(commit))",
        "draft.fill(self._records())",
        f"{_REPAIR}::test_a_lost_catalog_is_rebuilt_without_what_has_lost_its_files",
    ),
    Mutant(
        "A rebuilt catalog is not synced before it gets its name",
        _CATALOG_FILE,
        "                sync_file(draft.path)\n",
        "",
        f"{_REPAIR}::test_a_rebuilt_catalog_is_on_the_disk_before_it_gets_its_name",
    ),
    Mutant(
        "A decoded object is kept before its rows are on the disk",
        _DECODED,
        "            sync_file(draft / name)\n",
        "",
        f"{_OPEN}::test_what_is_kept_is_on_the_disk_before_it_gets_its_name",
    ),
    Mutant(
        "A decoded object is kept before its report is on the disk",
        _DECODED,
        "        sync_file(draft / _REPORT)\n",
        "",
        f"{_OPEN}::test_what_is_kept_is_on_the_disk_before_it_gets_its_name",
    ),
    Mutant(
        "A decoded object whose rows were cut is used",
        _DECODED,
        'if any((entry / name).stat().st_size != size for name, size in fields["sizes"].items()):',
        'if any(not (entry / name).exists() for name in fields["sizes"]):',
        f"{_OPEN}::test_what_is_kept_and_not_whole_is_decoded_again[cut_rows]",
    ),
    *(
        Mutant(
            f"Of equal records {what} stays",
            "event_pipeline/engines/host/pool_builder.py",
            "ORDER BY object, line_number) > 1",
            f"ORDER BY {order}) > 1",
            "event_pipeline_tests/engines/test_local_silver.py"
            "::test_the_first_of_equal_records_by_object_and_line_stays",
        )
        for what, order in {
            "the one of the last object": "object DESC, line_number",
            "the one with the lowest line, whatever its object,": "line_number, object",
            "the last one of an object": "object, line_number DESC",
        }.items()
    ),
    Mutant(
        "An imported file gets its name before its bytes are on the disk",
        _IMPORTING,
        "                os.fsync(written.fileno())\n",
        "                pass\n",
        "event_pipeline_tests/operations/test_importing.py::test_a_moved_file_survives_a_power_cut",
    ),
    Mutant(
        "A file is removed from the raw folder before the name of its copy is on the disk",
        _IMPORTING,
        "            sync_folder(target.parent)\n",
        "",
        "event_pipeline_tests/operations/test_importing.py::test_a_moved_file_survives_a_power_cut",
    ),
)
