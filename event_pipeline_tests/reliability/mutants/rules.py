"""Defects of the rules: verdicts, the fast path, instants and money, duplicates, the account of an hour, samples."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_RULES = "event_pipeline/rules"
_TESTS = "event_pipeline_tests/rules"

MUTANTS = (
    Mutant(
        "instants before 1970 are truncated toward the future",
        f"{_RULES}/arrow.py",
        'pc.floor_temporal(instants, unit="millisecond"), pa.timestamp("ms"))',
        'instants, pa.timestamp("ms"), safe=False)',
        f"{_TESTS}/test_arrow.py::test_instants_are_truncated_toward_the_past_and_stay_in_their_day",
    ),
    Mutant(
        "instants are rounded to the millisecond, not truncated",
        f"{_RULES}/arrow.py",
        "pc.floor_temporal(",
        "pc.round_temporal(",
        f"{_TESTS}/test_arrow.py::test_instants_are_truncated_toward_the_past_and_stay_in_their_day",
    ),
    Mutant(
        "the fast path accepts any third decimal place of a price",
        f"{_RULES}/certificates.py",
        "pc.less_equal(dust, _constant(kind.DUST_CENTS, pa.float64()))",
        "pc.less_equal(dust, _constant(0.5, pa.float64()))",
        f"{_TESTS}/test_kinds.py::test_what_the_certificate_accepts_is_what_the_reference_makes_of_it",
    ),
    Mutant(
        "the reference cuts cents off instead of rounding them",
        f"{_RULES}/kinds.py",
        "cents = round(value * 100)",
        "cents = int(value * 100)",
        f"{_TESTS}/test_kinds.py::test_the_reference_reads",
    ),
    Mutant(
        "an offset is added to an instant instead of subtracted",
        f"{_RULES}/kinds.py",
        'return instant - offset if zone[0] == "+" else instant + offset',
        'return instant + offset if zone[0] == "+" else instant - offset',
        f"{_TESTS}/test_kinds.py::test_the_reference_reads",
    ),
    Mutant(
        "letters beyond ASCII are lower-cased: a Kelvin sign becomes a k",
        f"{_RULES}/kinds.py",
        "return text.encode().lower().decode()",
        "return text.lower()",
        f"{_TESTS}/test_kinds.py::test_the_reference_reads",
    ),
    Mutant(
        "texts are trimmed of every Unicode white space",
        f"{_RULES}/kinds.py",
        "return decode_string(json_text).strip(ASCII_WHITE_SPACE) or None",
        "return decode_string(json_text).strip() or None",
        f"{_TESTS}/test_kinds.py::test_the_reference_reads",
    ),
    Mutant(
        "the fast path accepts an event at the end of its range, which is exclusive",
        f"{_RULES}/certified.py",
        "pc.less(instants, _instant(accepted.end_us))",
        "pc.less_equal(instants, _instant(accepted.end_us))",
        f"{_TESTS}/test_validation.py::test_limits_of_zero_accept_the_landing_hour_alone",
    ),
    Mutant(
        "the reference accepts an event at the end of its range, which is exclusive",
        f"{_RULES}/record.py",
        "accepted.first_us <= int(value or 0) < accepted.end_us",
        "accepted.first_us <= int(value or 0) <= accepted.end_us",
        f"{_TESTS}/test_validation.py::test_limits_of_zero_accept_the_landing_hour_alone",
    ),
    Mutant(
        "the accepted range starts at the end of the landing hour minus the age",
        f"{_RULES}/record.py",
        "return cls(start_us - limits.max_age // MICROSECOND,",
        "return cls(end_us - limits.max_age // MICROSECOND,",
        f"{_TESTS}/test_validation.py::test_limits_of_zero_accept_the_landing_hour_alone",
    ),
    Mutant(
        "the fast path keeps a price that the event type does not have",
        f"{_RULES}/certified.py",
        "pc.if_else(pc.and_(certain, is_carried), values[name], null)",
        "pc.if_else(certain, values[name], null)",
        f"{_TESTS}/test_validation.py::test_fast_path_and_reference_agree_on_mutated_lines",
    ),
    Mutant(
        "the last of two equal keys of a record wins",
        f"{_RULES}/json_object.py",
        'if key in members or after == "]":',
        'if after == "]":',
        f"{_TESTS}/test_json_object.py::test_a_key_that_stands_twice_is_refused_however_it_is_spelled",
    ),
    Mutant(
        "a byte order mark is stripped at every chunk's start",
        f"{_RULES}/raw_object.py",
        "at_start = False",
        "at_start = True",
        f"{_TESTS}/test_raw_object.py::test_only_a_byte_order_mark_at_the_start_is_left_out",
    ),
    Mutant(
        "an object that ends inside a gzip member is read up to there",
        f"{_RULES}/raw_object.py",
        'elif at_end and not member.eof:\n                raise UnreadableObjectError("truncated_gzip")',
        "elif at_end and not member.eof:\n                return",
        f"{_TESTS}/test_raw_object.py::test_an_object_cut_anywhere_is_truncated",
    ),
    Mutant(
        "only the first gzip member of an object is read",
        f"{_RULES}/raw_object.py",
        '        data = data.lstrip(b"\\0")\n        first_member = False',
        "        return",
        f"{_TESTS}/test_raw_object.py::test_members_may_cut_lines_anywhere",
    ),
    Mutant(
        "the rest of a line beyond the limit is read as lines of its own",
        f"{_RULES}/raw_object.py",
        "start = position = len(lines) if end < 0 else end + 1",
        "start = position = min(len(lines), position + self._max_line_bytes + 1)",
        f"{_TESTS}/test_limits.py::test_lines_beyond_the_limit_are_quarantined_by_their_head_and_all_others_judged",
    ),
    Mutant(
        "blank lines are not counted in line numbers",
        f"{_RULES}/validation.py",
        '            self._next_line += chunk.count(b"\\n")\n            return',
        "            return",
        f"{_TESTS}/test_validation.py::test_rows_are_in_the_order_of_their_lines_and_numbered_by_them",
    ),
    Mutant(
        "the rows of a chunk's slow lines come after all others of the chunk",
        f"{_RULES}/validation.py",
        '_table(judged, EVENTS_SCHEMA)]).sort_by("line_number")',
        "_table(judged, EVENTS_SCHEMA)])",
        f"{_TESTS}/test_validation.py::test_rows_are_in_the_order_of_their_lines_and_numbered_by_them",
    ),
    Mutant(
        "rows that wait are lost when an object ends",
        f"{_RULES}/validation.py",
        "        if self._quarantine:\n            self._sink",
        "        if len(self._quarantine) >= BATCH_ROWS:\n            self._sink",
        f"{_TESTS}/test_validation.py::test_rows_are_in_the_order_of_their_lines_and_numbered_by_them",
    ),
    Mutant(
        "duplicates are told apart by fewer fields than all",
        f"{_RULES}/duplicates.py",
        "fields = list(EVENT_FIELDS)",
        "fields = list(EVENT_FIELDS)[:-1]",
        f"{_TESTS}/test_duplicates.py::test_later_equals_are_the_positions_that_python_finds",
    ),
    Mutant(
        "the last of equal records stays instead of the first",
        f"{_RULES}/duplicates.py",
        '.aggregate([("position", "min")]).column("position_min")',
        '.aggregate([("position", "max")]).column("position_max")',
        f"{_TESTS}/test_duplicates.py::test_later_equals_are_the_positions_that_python_finds",
    ),
    Mutant(
        "objects whose spans touch in one instant are not in doubt",
        f"{_RULES}/duplicates.py",
        "if latest and first <= latest[0]:",
        "if latest and first < latest[0]:",
        f"{_TESTS}/test_duplicates.py::test_objects_that_touch_or_stand_still_do_not_prove_it",
    ),
    Mutant(
        "a span is compared with its neighbour only, not with the longest before it",
        f"{_RULES}/duplicates.py",
        "latest = max(latest or (last, number), (last, number))",
        "latest = (last, number)",
        f"{_TESTS}/test_duplicates.py::test_an_object_is_in_doubt_when_it_stands_still_or_its_span_touches_another",
    ),
    Mutant(
        "equal instants in one object count as rising",
        f"{_RULES}/duplicates.py",
        "pc.greater(microseconds[1:], microseconds[:-1])",
        "pc.greater_equal(microseconds[1:], microseconds[:-1])",
        f"{_TESTS}/test_duplicates.py::test_objects_that_touch_or_stand_still_do_not_prove_it",
    ),
    Mutant(
        "two parts of an object that meet in one instant count as rising",
        f"{_RULES}/duplicates.py",
        "and before.last < after.first",
        "and before.last <= after.first",
        f"{_TESTS}/test_duplicates.py::test_the_parts_of_an_object_are_ordered_as_the_whole_is",
    ),
    Mutant(
        "sums of money are rounded to 28 digits",
        f"{_RULES}/accounting.py",
        "_MONEY = Context(prec=38, traps=[Rounded])",
        "_MONEY = Context(prec=28)",
        f"{_TESTS}/test_accounting.py::test_sums_of_money_are_exact_to_38_digits",
    ),
    Mutant(
        "the law of an object leaves its duplicates out",
        f"{_RULES}/accounting.py",
        "return self.records - self.silver_rows - self.quarantined - self.duplicates - self.erased",
        "return self.records - max(self.records - self.erased, self.silver_rows + self.quarantined) - self.erased",
        "event_pipeline_tests/assets/test_checks.py::test_records_without_a_verdict_break_the_law_and_nobody_sees_the_hour",
    ),
    Mutant(
        "the control totals of an object replace those of the objects before it",
        f"{_RULES}/accounting.py",
        "days[day] = days.get(day, DayTotals()) + totals",
        "days[day] = totals",
        "event_pipeline_tests/rules/test_accounting.py::test_totals_of_a_day_in_several_objects_are_added",
    ),
    Mutant(
        "revenue is computed in floating-point dollars",
        f"{_RULES}/arrow.py",
        "    return pc.if_else(is_purchase, pc.multiply(events[PRICE.name], quantity), pa.scalar(None, pa.int64()))",
        "    dollars = pc.divide(pc.cast(events[PRICE.name], pa.float64()), 100.0)\n"
        "    cents = pc.cast(pc.floor(pc.multiply(pc.multiply(dollars, quantity), 100.0)), pa.int64())\n"
        "    return pc.if_else(is_purchase, cents, pa.scalar(None, pa.int64()))",
        f"{_TESTS}/test_arrow.py::test_money_is_exact_to_the_cent",
    ),
    Mutant(
        "items of a day count what was put into carts as well",
        f"{_RULES}/arrow.py",
        "purchases = sales.filter(pc.equal(rows[event_type], PURCHASE.name))",
        "purchases = sales.filter(pc.is_valid(rows[quantity]))",
        f"{_TESTS}/test_arrow.py::test_totals_count_every_type_on_its_own_day",
    ),
    Mutant(
        "what is put into a cart earns revenue",
        f"{_RULES}/arrow.py",
        "return pc.if_else(is_purchase, pc.multiply(",
        "return pc.if_else(pc.or_(is_purchase, pc.is_valid(quantity)), pc.multiply(",
        f"{_TESTS}/test_arrow.py::test_only_purchases_have_revenue",
    ),
    Mutant(
        "the fingerprint of an hour depends on keys and etags only",
        f"{_RULES}/accounting.py",
        'digest.update(f"{key}\\0{etag}\\0{size}\\n".encode())',
        'digest.update(f"{key}\\0{etag}\\n".encode())',
        f"{_TESTS}/test_accounting.py::test_every_part_of_an_objects_identity_changes_digests",
    ),
    Mutant(
        "an object replaced by one of another size has its decoded rows",
        f"{_RULES}/accounting.py",
        'f"{hour}\\0{rules_version}\\0{erased}\\0{key}\\0{etag}\\0{size}".encode()',
        'f"{hour}\\0{rules_version}\\0{erased}\\0{key}\\0{etag}".encode()',
        f"{_TESTS}/test_accounting.py::test_every_part_of_an_objects_identity_changes_digests",
    ),
    Mutant(
        "decoded rows made under other rules are used",
        f"{_RULES}/accounting.py",
        'f"{hour}\\0{rules_version}\\0{erased}\\0{key}',
        'f"{hour}\\0{erased}\\0{key}',
        f"{_TESTS}/test_accounting.py::test_every_part_of_an_objects_identity_changes_digests",
    ),
    Mutant(
        "a key outside the layout with a real hour in it is read",
        f"{_RULES}/hour.py",
        "match = _RAW_KEY.fullmatch(key)",
        "match = _RAW_KEY.match(key)",
        f"{_TESTS}/test_hour.py::test_keys_outside_the_layout_belong_to_no_hour",
    ),
    Mutant(
        "an hour is closed a moment before its end",
        f"{_RULES}/hour.py",
        "return self.end <= now",
        "return self.end <= now + timedelta(seconds=1)",
        f"{_TESTS}/test_hour.py::test_an_hour_is_closed_from_its_end_on",
    ),
    Mutant(
        "a record sent twice in one hour counts as sent again by another",
        f"{_RULES}/resent.py",
        "{k: v for k, v in sample.cents.items() if k not in seen}",
        "dict(sample.cents)",
        f"{_TESTS}/test_resent.py::test_records_of_two_objects_are_sampled_for_the_first_of_them",
    ),
    Mutant(
        "an erased person's broken lines stay in quarantine",
        f"{_RULES}/validation.py",
        "for number, line in split.others if self._erasures.has_record(_as_text(line))]",
        'for number, line in split.others if self._erasures.has_record(_as_text(line)) and line[:1] == b"{"]',
        f"{_TESTS}/test_erasure.py::test_what_the_reference_erases_is_erased_and_all_else_is_as_if_those_lines_were_blank",
    ),
    Mutant(
        "unknown fields are rescued in the order of their runs, not of the record",
        f"{_RULES}/rescue.py",
        "    if several:\n",
        "    if several and False:\n",
        f"{_TESTS}/test_validation.py::test_unknown_fields_anywhere_are_rescued_as_the_reference_does",
    ),
    Mutant(
        "the text of an unknown field is rescued without its escapes",
        f"{_RULES}/rescue.py",
        'if len(names) != 1 or b"\\\\" in block:',
        "if len(names) != 1:",
        f"{_TESTS}/test_validation.py::test_one_unknown_field_of_texts_is_rescued_as_the_reference_does",
    ),
    Mutant(
        "an unknown field with a null among texts is not rescued",
        f"{_RULES}/rescue.py",
        "if values.null_count and block.count(",
        "if False and block.count(",
        f"{_TESTS}/test_validation.py::test_one_unknown_field_of_texts_is_rescued_as_the_reference_does",
    ),
    Mutant(
        "a byte order mark is stripped from every line",
        "event_pipeline/rules/raw_object.py",
        "        if start < len(lines):\n            yield lines[start:]\n",
        '        if start < len(lines):\n            yield lines[start:].replace(b"\\n\\xef\\xbb\\xbf", b"\\n")\n',
        "event_pipeline_tests/rules/test_raw_object.py::test_only_a_byte_order_mark_at_the_start_is_left_out",
    ),
    Mutant(
        "the builder takes records that differ below the millisecond for duplicates: rows are lost",
        "event_pipeline/engines/host/pool_builder.py",
        "rows = rows.append_column(SCRATCH_SCHEMA.field(name), events.column(name))",
        "rows = rows.append_column(\n"
        "                SCRATCH_SCHEMA.field(name),\n"
        "                events.column(name) if name != INSTANT\n"
        '                else pc.floor_temporal(events.column(name), unit="millisecond"),\n'
        "            )",
        "event_pipeline_tests/inspection/test_verification.py"
        "::test_records_that_differ_below_the_millisecond_are_no_duplicates_to_anybody",
    ),
    Mutant(
        "the builder tells records of repeated instants apart by the millisecond",
        "event_pipeline/engines/host/pool_builder.py",
        "_EQUAL_IN = [INSTANT, *(field.column.name for field in FIELDS if field is not EVENT_TIME)]",
        "_EQUAL_IN = [field.column.name for field in FIELDS]",
        "event_pipeline_tests/inspection/test_verification.py"
        "::test_records_that_differ_below_the_millisecond_are_no_duplicates_to_anybody",
    ),
    Mutant(
        "the job tells records apart by the millisecond",
        "event_pipeline/rules/duplicates.py",
        'suspects = events.select(fields).append_column("position"',
        "suspects = events.set_column(\n"
        "        events.schema.get_field_index(EVENT_TIME.name),\n"
        "        EVENT_TIME.name,\n"
        '        pc.floor_temporal(instants, unit="millisecond"),\n'
        '    ).select(fields).append_column("position"',
        "event_pipeline_tests/rules/test_duplicates.py::test_later_equals_are_the_positions_that_python_finds",
    ),
)
