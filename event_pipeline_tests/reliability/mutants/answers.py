"""Mutants of what people ask and get: queries and ranges, data frames, the report, explanations, comparisons."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_GOLD = "event_pipeline/engines/gold.py"
_QUERY = "event_pipeline/engines/host/query.py"
_FILES = "event_pipeline/engines/host/lake_files.py"
_DUCKDB = "event_pipeline/engines/host/duckdb_sql.py"
_LAKE = "event_pipeline/lake.py"
_QUESTIONS = "event_pipeline/queries/queries.sql"
_REPORT = "event_pipeline/report"
_LINEAGE = "event_pipeline/inspection/lineage.py"
_COMPARISON = "event_pipeline/inspection/comparison.py"
_IMPORTING = "event_pipeline/operations/importing.py"

_RANGES = "event_pipeline_tests/engines/aws/test_ranges.py"
_OF_QUERIES = "event_pipeline_tests/engines/test_local_queries.py"
_HOSTILE = "event_pipeline_tests/engines/test_hostile_sql.py"
_OF_LAKE = "event_pipeline_tests/test_lake.py"
_OF_PACK = "event_pipeline_tests/test_query_pack.py"
_COUNTED = f"{_OF_PACK}::test_a_question_is_answered_as_the_oracle_counts"
_OF_REPORT = "event_pipeline_tests/report/test_page.py"
_OF_LINEAGE = "event_pipeline_tests/inspection/test_lineage.py"
_OF_COMPARISON = "event_pipeline_tests/inspection/test_comparison.py"
_OF_IMPORT = "event_pipeline_tests/operations/test_importing.py"
_A_YEAR = f"{_OF_REPORT}::test_a_year_of_many_products_is_small_exact_and_says_what_is_left_out"
_TOO_LARGE = f"{_OF_REPORT}::test_a_page_that_would_be_too_large_leaves_out_its_oldest_days"
_HEALTH = f"{_OF_REPORT}::test_health_counts_what_happened_to_each_hour"
_PLACED = f"{_OF_IMPORT}::test_files_are_placed_once_and_what_is_not_placed_is_named"

MUTANTS: tuple[Mutant, ...] = (
    # -- ranges
    Mutant(
        "A range brings back days that are past their retention",
        _DUCKDB,
        'WHERE event_date IN ({among})")',
        'WHERE {bool(among)}")',
        f"{_RANGES}::test_a_range_has_only_published_days_and_says_which[local]",
    ),
    Mutant(
        "A range is answered although one of its partials is lost",
        _GOLD,
        "        if lost := sorted({hour.hive_path for hour in hours} - {entry.partition for entry in partials}):\n",
        "        if lost := sorted(hour.hive_path for hour in hours if not partials):\n",
        f"{_RANGES}::test_a_range_without_one_of_its_partials_is_refused[local]",
    ),
    Mutant(
        "A range has the newest landing hour of its days alone",
        _GOLD,
        "            hours |= folded\n",
        "            hours |= {max(folded)}\n",
        f"{_RANGES}::test_ranges_of_every_table_are_what_the_oracle_computes[local]",
    ),
    Mutant(
        "A range of landing hours has the days whole",
        _GOLD,
        "folded = {hour for hour in folded if landed is None or hour in landed}",
        "folded = {hour for hour in folded if landed is None or folded}",
        f"{_OF_COMPARISON}::test_on_clean_lines_all_three_layers_answer_every_question_alike",
    ),
    # -- queries
    Mutant(
        "A statement of several is judged by its first",
        _QUERY,
        'if kinds not in (["SELECT"], ["EXPLAIN"]):',
        'if kinds[:1] not in (["SELECT"], ["EXPLAIN"]):',
        f"{_OF_QUERIES}::test_anything_but_one_select_is_refused",
    ),
    Mutant(
        "A query may call any function that gives a table",
        _QUERY,
        "if function.lower() not in _TABLE_FUNCTIONS:",
        "if not function:",
        f"{_OF_QUERIES}::test_sql_mistakes_and_other_files_give_the_engines_message",
    ),
    Mutant(
        "A data file that leads out of the lake is read",
        _FILES,
        "if not file.resolve().is_relative_to(top.resolve()):",
        "if not file.is_relative_to(top):",
        f"{_OF_QUERIES}::test_a_link_out_of_the_lake_is_not_read",
    ),
    Mutant(
        "A query may write through the file system of the lake",
        _FILES,
        '        if mode != "rb":\n',
        '        if mode == "ab":\n',
        f"{_HOSTILE}::test_the_file_system_of_a_query_knows_no_writing_and_no_other_file",
    ),
    Mutant(
        "A result beyond its limit is cut without a word",
        _QUERY,
        "            if size > self._result_mb << 20:\n                raise LimitError(\n",
        "            if size > self._result_mb << 20:\n                return\n                raise LimitError(\n",
        "event_pipeline_tests/commands/test_query_limits.py"
        "::test_a_query_beyond_a_limit_ends_with_1_and_names_the_setting",
    ),
    # -- ready questions
    Mutant(
        "Weekly users are the sum of those of the days",
        _QUESTIONS,
        "AS week,\n    COUNT(DISTINCT user_id) AS active_users",
        "AS week,\n    COUNT(DISTINCT user_id || CAST(event_date AS VARCHAR)) AS active_users",
        f"{_COUNTED}[sample-weekly_active_users]",
    ),
    Mutant(
        "A week is compared with the one that earned next less",
        _QUESTIONS,
        "            THEN revenue - LAG(revenue) OVER (ORDER BY week)\n",
        "            THEN revenue - LAG(revenue) OVER (ORDER BY revenue)\n",
        f"{_COUNTED}[hostile-revenue_week_over_week]",
    ),
    Mutant(
        "After a gap, a month is compared with one of long before",
        _QUESTIONS,
        "        WHEN LAG(month) OVER (ORDER BY month) = CAST(month - INTERVAL '1' MONTH AS DATE)\n",
        "        WHEN LAG(month) OVER (ORDER BY month) < month\n",
        f"{_COUNTED}[hostile-revenue_month_over_month]",
    ),
    Mutant(
        "A weekday counts its hours as days",
        _QUESTIONS,
        "    COUNT(DISTINCT event_date) AS days,\n",
        "    COUNT(event_date) AS days,\n",
        f"{_COUNTED}[hostile-revenue_by_weekday]",
    ),
    Mutant(
        "The last seven days of categories are eight",
        _QUESTIONS,
        "    event_date > (SELECT CAST(MAX(days.event_date)",
        "    event_date >= (SELECT CAST(MAX(days.event_date)",
        f"{_COUNTED}[hostile-best_category_last_week]",
    ),
    Mutant(
        "The share of a category is one of the best category",
        _QUESTIONS,
        "CAST(SUM(SUM(revenue)) OVER () AS DOUBLE)",
        "CAST(MAX(SUM(revenue)) OVER () AS DOUBLE)",
        f"{_COUNTED}[hostile-category_share_of_revenue]",
    ),
    Mutant(
        "Categories without a view convert best",
        _QUESTIONS,
        "ORDER BY purchases_per_view DESC NULLS LAST, category",
        "ORDER BY purchases_per_view DESC NULLS FIRST, category",
        f"{_COUNTED}[hostile-category_conversion]",
    ),
    Mutant(
        "Of 50 best-selling products there are 5",
        _QUESTIONS,
        "ORDER BY revenue DESC, product_id, category\nLIMIT 50;",
        "ORDER BY revenue DESC, product_id, category\nLIMIT 5;",
        f"{_COUNTED}[hostile-best_selling_products]",
    ),
    Mutant(
        "Of products that are viewed equally often the last are named",
        _QUESTIONS,
        "ORDER BY views DESC, product_id, category\n",
        "ORDER BY views DESC, product_id DESC, category\n",
        f"{_COUNTED}[hostile-viewed_but_never_bought]",
    ),
    Mutant(
        "The newest day with a product passes for the newest one",
        _QUESTIONS,
        "(SELECT MAX(all_days.event_date) AS newest FROM gold.category_performance AS all_days)",
        "(SELECT MAX(all_days.event_date) AS newest FROM gold.conversion_funnel AS all_days)",
        f"{_COUNTED}[bare-product_day_over_day]",
    ),
    Mutant(
        "Who views a product twice is two viewers",
        _QUESTIONS,
        "    COUNT(DISTINCT CASE WHEN event_type = 'page_view' THEN user_id END) AS viewers,\n"
        "    COUNT(DISTINCT CASE WHEN event_type = 'purchase'",
        "    COUNT(CASE WHEN event_type = 'page_view' THEN user_id END) AS viewers,\n"
        "    COUNT(DISTINCT CASE WHEN event_type = 'purchase'",
        f"{_COUNTED}[hostile-unique_viewers_by_product]",
    ),
    Mutant(
        "Five views are among six to twenty",
        _QUESTIONS,
        "WHEN views <= 5 THEN '2-5'",
        "WHEN views < 5 THEN '2-5'",
        f"{_COUNTED}[hostile-views_per_user]",
    ),
    Mutant(
        "Twenty events are among those of more",
        _QUESTIONS,
        "WHEN events <= 20 THEN '6-20'",
        "WHEN events < 20 THEN '6-20'",
        f"{_COUNTED}[hostile-events_per_session]",
    ),
    Mutant(
        "A session counts once for each of its events",
        _QUESTIONS,
        "    COUNT(DISTINCT session_id) AS sessions,\n    COUNT(DISTINCT CASE",
        "    COUNT(session_id) AS sessions,\n    COUNT(DISTINCT CASE",
        f"{_COUNTED}[hostile-funnel_in_sessions]",
    ),
    Mutant(
        "A cart over midnight is one of the second day",
        _QUESTIONS,
        "MIN(CASE WHEN event_type = 'add_to_cart' THEN event_date END)",
        "MAX(CASE WHEN event_type = 'add_to_cart' THEN event_date END)",
        f"{_COUNTED}[hostile-abandoned_carts]",
    ),
    Mutant(
        "A product that is bought without a cart counts as one in a cart",
        _QUESTIONS,
        "WHERE in_cart = 1\n",
        "WHERE in_cart + bought > 0\n",
        f"{_COUNTED}[hostile-abandoned_products]",
    ),
    Mutant(
        "Who buys three times is among those who buy twice",
        _QUESTIONS,
        "WHEN purchases = 2 THEN '2'",
        "WHEN purchases <= 3 THEN '2'",
        f"{_COUNTED}[hostile-repeat_buyers]",
    ),
    Mutant(
        "A basket of exactly 100 is among the smaller ones",
        _QUESTIONS,
        "WHEN basket < 100 THEN",
        "WHEN basket <= 100 THEN",
        f"{_COUNTED}[hostile-basket_value_bands]",
    ),
    Mutant(
        "A pair of products stands there twice",
        _QUESTIONS,
        "one.product_id < other.product_id",
        "one.product_id <> other.product_id",
        f"{_COUNTED}[hostile-bought_together]",
    ),
    Mutant(
        "A session that buys a product twice is two for its pairs",
        _QUESTIONS,
        "FROM (SELECT DISTINCT session_id, product_id FROM silver.events WHERE event_type = 'purchase') AS one",
        "FROM (SELECT session_id, product_id FROM silver.events WHERE event_type = 'purchase') AS one",
        f"{_COUNTED}[hostile-bought_together]",
    ),
    Mutant(
        "Who comes for the first time is also one who comes back",
        _QUESTIONS,
        "WHEN event_date > first_day THEN 1",
        "WHEN event_date >= first_day THEN 1",
        f"{_COUNTED}[hostile-new_and_returning_users]",
    ),
    Mutant(
        "Who searches for a term twice is two people",
        _QUESTIONS,
        "AS searches, COUNT(DISTINCT user_id) AS users",
        "AS searches, COUNT(user_id) AS users",
        f"{_COUNTED}[hostile-search_terms]",
    ),
    Mutant(
        "A purchase at the instant of a search follows it",
        _QUESTIONS,
        "CASE WHEN last_purchase > event_ts",
        "CASE WHEN last_purchase >= event_ts",
        f"{_COUNTED}[hostile-searches_without_purchase]",
    ),
    Mutant(
        "Of users with equally many events the last are named",
        _QUESTIONS,
        "ORDER BY events DESC, user_id\n",
        "ORDER BY events DESC, user_id DESC\n",
        f"{_COUNTED}[hostile-busiest_users]",
    ),
    Mutant(
        "Sales at one price are different prices",
        _QUESTIONS,
        "COUNT(DISTINCT price) AS prices",
        "COUNT(price) AS prices",
        f"{_COUNTED}[hostile-several_prices]",
    ),
    Mutant(
        "An event that lands before its day is late",
        _QUESTIONS,
        "> event_date THEN 1 ELSE 0 END) AS late,",
        "<> event_date THEN 1 ELSE 0 END) AS late,",
        f"{_COUNTED}[hostile-late_share]",
    ),
    Mutant(
        "Each refused record has an object of its own",
        _QUESTIONS,
        "COUNT(DISTINCT source_object) AS objects",
        "COUNT(source_object) AS objects",
        f"{_COUNTED}[hostile-quarantine_by_reason]",
    ),
    Mutant(
        "A refused purchase is overlooked where its type is in capital letters",
        _QUESTIONS,
        "LOWER(TRIM(event_type)) = 'purchase'",
        "event_type = 'purchase'",
        f"{_COUNTED}[hostile-revenue_in_quarantine]",
    ),
    Mutant(
        "The share of records sent twice is one of the records that are kept",
        _QUESTIONS,
        "CAST(SUM(duplicates) AS DOUBLE) / NULLIF(CAST(SUM(records) AS DOUBLE), 0)",
        "CAST(SUM(duplicates) AS DOUBLE) / NULLIF(CAST(SUM(records - quarantined) AS DOUBLE), 0)",
        f"{_COUNTED}[hostile-quality_by_day]",
    ),
    Mutant(
        "An hour with as many records as the one before has few",
        _QUESTIONS,
        "WHERE records < records_before",
        "WHERE records <= records_before",
        f"{_COUNTED}[hostile-hours_with_few_records]",
    ),
    # -- data frames
    Mutant(
        "Days of a table do not include the last one",
        _LAKE,
        'zip((">=", "<="), days or (), strict=False)',
        'zip((">=", "<"), days or (), strict=False)',
        f"{_OF_LAKE}::test_a_table_has_all_days_or_those_asked_for",
    ),
    Mutant(
        "A table of landing days is cut by event days",
        _LAKE,
        "\"CAST(year || '-' || month || '-' || day AS DATE)\"",
        '"event_date"',
        f"{_OF_LAKE}::test_a_table_has_all_days_or_those_asked_for",
    ),
    Mutant(
        "An answer of several days is that of the first",
        _LAKE,
        "begin, end = day_range((first, first if last is None else last))",
        "begin, end = day_range((first, first))",
        f"{_OF_LAKE}::test_an_answer_counts_a_person_of_two_days_once",
    ),
    # -- the report
    Mutant(
        "Money of the report is a double where it has more than 16 digits",
        f"{_REPORT}/answers.py",
        "return cents if abs(cents) <= _LARGEST_EXACT else str(cents)",
        "return cents",
        f"{_OF_REPORT}::test_money_is_whole_cents_and_text_where_a_double_would_round",
    ),
    Mutant(
        "Money of the report is rounded to 28 digits",
        f"{_REPORT}/answers.py",
        "cents = numerator * 100 // denominator",
        "cents = int(amount * 100) if denominator else numerator",
        f"{_OF_REPORT}::test_money_is_whole_cents_and_text_where_a_double_would_round",
    ),
    Mutant(
        "The report leaves out what the categories beyond the first ones earned",
        f"{_REPORT}/sql/categories.sql",
        "LEFT JOIN kept ON days.category = kept.category",
        "INNER JOIN kept ON days.category = kept.category",
        _A_YEAR,
    ),
    Mutant(
        "The report names the categories with the fewest events",
        f"{_REPORT}/sql/kept_categories.sql",
        "ORDER BY SUM(total_events) DESC, category",
        "ORDER BY SUM(total_events), category",
        _A_YEAR,
    ),
    Mutant(
        "The report says of no product that is left out how often it was viewed",
        f"{_REPORT}/sql/products.sql",
        "    MAX(days.views) AS most_views,\n",
        "    MIN(days.views) AS most_views,\n",
        _A_YEAR,
    ),
    Mutant(
        "The report has the oldest days instead of the newest",
        f"{_REPORT}/page.py",
        "**{name: answers[name][cut:] for name in _OF_DAYS},",
        "**{name: answers[name][: len(answers[name]) - cut] for name in _OF_DAYS},",
        _TOO_LARGE,
    ),
    Mutant(
        "A report without its oldest days has their distinct users under other days",
        f"{_REPORT}/page.py",
        'each | {"first": each["first"] - cut, "last": each["last"] - cut}',
        "each",
        _TOO_LARGE,
    ),
    Mutant(
        "Text of the data can end the script of the report",
        f"{_REPORT}/page.py",
        'for character in "<>&\\u2028\\u2029\\x7f"}',
        'for character in "&\\u2028\\u2029\\x7f"}',
        f"{_OF_REPORT}::test_escaped_json_reads_as_it_was",
    ),
    Mutant(
        "A gap between hours is shown as an hour without anything",
        f"{_REPORT}/health.py",
        'state = f"run {status.run}" if status.run else GAP if status.gap else status.state.value',
        'state = f"run {status.run}" if status.run else status.state.value',
        _HEALTH,
    ),
    Mutant(
        "The report shows quarantined records of one reason as those of all",
        f"{_REPORT}/health.py",
        "        reasons[str(hour.start.date())].update(commit.account.quarantined_by_reason)\n",
        "        reasons[str(hour.start.date())].update(list(commit.account.quarantined_by_reason)[:1])\n",
        _HEALTH,
    ),
    Mutant(
        "Readers see a report that is written half",
        f"{_REPORT}/page.py",
        "        draft.replace(path)\n",
        "        path.write_bytes(page)\n",
        f"{_OF_REPORT}::test_who_reads_the_page_while_it_is_written_reads_the_old_one",
    ),
    # -- explanations and comparisons
    Mutant(
        "An explanation overlooks published rows that Silver does not give",
        _LINEAGE,
        "        if not self.retired and self.published != self.recomputed:\n",
        "        if not self.retired and len(self.published) != len(self.recomputed):\n",
        f"{_OF_LINEAGE}::test_silver_that_the_day_was_not_folded_from_is_a_difference",
    ),
    Mutant(
        "An explanation overlooks hours that the day was not folded from",
        _LINEAGE,
        "        if self.not_folded:\n",
        "        if self.not_folded and not self.sources:\n",
        f"{_OF_LINEAGE}::test_silver_that_the_day_was_not_folded_from_is_a_difference",
    ),
    Mutant(
        "An explanation counts views as purchases",
        _LINEAGE,
        "SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS purchases",
        "SUM(CASE WHEN event_type <> 'search' THEN 1 ELSE 0 END) AS purchases",
        f"{_OF_LINEAGE}::test_every_step_has_counts_that_add_up",
    ),
    Mutant(
        "A comparison overlooks that Gold is not what Silver gives",
        _COMPARISON,
        "return self.answers[layer].in_order == self.answers[Layer.GOLD].in_order",
        "return len(self.answers[layer].in_order) == len(self.answers[Layer.GOLD].in_order)",
        f"{_OF_COMPARISON}::test_gold_that_is_not_what_silver_gives_ends_with_1",
    ),
    Mutant(
        "A comparison asks Bronze for a minute that nobody can read",
        _COMPARISON,
        'unreadable = "".join(f" AND NOT ({_minute_of(hour, key)})" for hour, key in _unreadable(commits))',
        'unreadable = "".join(f" AND NOT ({_minute_of(hour, key)})" for hour, key in ())',
        f"{_OF_COMPARISON}::test_refused_records_duplicates_and_broken_objects_account_for_bronze",
    ),
    # -- import and export
    Mutant(
        "An import replaces an object that is there already",
        _IMPORTING,
        "return _compared(refused, target) if target.exists() else replace(refused, placing=Placing.NEW)",
        "return replace(refused, placing=Placing.NEW)",
        _PLACED,
    ),
    Mutant(
        "Of two imports for one place the second wins",
        _IMPORTING,
        "        os.link(copy, target)\n",
        "        copy.replace(target)\n",
        f"{_OF_IMPORT}::test_of_two_imports_at_once_for_one_place_the_second_is_refused[True]",
    ),
    Mutant(
        "A file that another import was faster with is removed from the raw folder although its content is another",
        _IMPORTING,
        "if raw_folder in each.file.absolute().parents and done[-1].placing is not Placing.CONFLICT:",
        "if raw_folder in each.file.absolute().parents:",
        f"{_OF_IMPORT}::test_of_two_imports_at_once_for_one_place_the_second_is_refused[True]",
    ),
    Mutant(
        "A file with two times in its name is placed by one of them",
        _IMPORTING,
        "    if len(found) > 1:\n",
        "    if len(found) > 2:\n",
        f"{_OF_IMPORT}::test_the_time_of_a_file_is_in_its_name",
    ),
    Mutant(
        "Imported files that are in the raw layout are placed by their names, not by their folders",
        _IMPORTING,
        "    key = _key_in(file)\n    if key is None:\n",
        "    key = None\n    if key is None:\n",
        _PLACED,
    ),
    Mutant(
        "An export that failed takes the place of the one before",
        "event_pipeline/commands/export.py",
        "    try:\n        yield draft\n        if target.is_dir():\n",
        "    if target.is_dir():\n        shutil.rmtree(target)\n    target.unlink(missing_ok=True)\n"
        "    try:\n        yield draft\n        if target.is_dir():\n",
        "event_pipeline_tests/commands/test_export.py::test_after_an_error_the_old_snapshot_stands_and_no_draft",
    ),
)
