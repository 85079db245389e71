"""Defects of the Gold tables: their SQL, what a partial and a fold may do, and the questions over ranges."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_GOLD = "event_pipeline/rules/gold"
_LOCAL = "event_pipeline_tests/engines/test_local_gold.py"
_BEHAVIOUR = "event_pipeline_tests/engines/aws/test_engine_behaviour.py"
_BY_HAND = f"{_LOCAL}::test_halves_ties_and_cuts_that_were_worked_out_by_hand_are_the_engines_as_well"

MUTANTS = (
    Mutant(
        "the average purchase is rounded half down",
        f"{_GOLD}/hourly_revenue.sql",
        "(CAST(total_revenue * 200 AS HUGEINT) + purchase_count) // (2 * purchase_count)",
        "(CAST(total_revenue * 200 AS HUGEINT) + purchase_count - 1) // (2 * purchase_count)",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "the average purchase is cut off",
        f"{_GOLD}/hourly_revenue.sql",
        "(CAST(total_revenue * 200 AS HUGEINT) + purchase_count) //",
        "CAST(total_revenue * 200 AS HUGEINT) //",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "the average purchase is computed in floating point",
        f"{_GOLD}/hourly_revenue.sql",
        "(CAST(total_revenue * 200 AS HUGEINT) + purchase_count) // (2 * purchase_count) AS DECIMAL(18, 0)",
        "round(CAST(total_revenue AS DOUBLE) * 100 / purchase_count) AS DECIMAL(18, 0)",
        f"{_LOCAL}::test_averages_are_exact_for_any_number_of_purchases",
    ),
    Mutant(
        "revenue is counted in the landing hour, not in the hour of the event",
        f"{_GOLD}/hourly_revenue.sql",
        "CAST(EXTRACT(HOUR FROM event_ts) AS INTEGER) AS event_hour",
        "CAST(hour AS INTEGER) AS event_hour",
        "event_pipeline_tests/engines/aws/test_ranges.py::test_ranges_of_every_table_are_what_the_oracle_computes[local]",
    ),
    Mutant(
        "items put into carts are sold",
        f"{_GOLD}/conversion_funnel.sql",
        "CAST(SUM(CASE WHEN event_type = 'purchase' THEN quantity ELSE 0 END) AS BIGINT) AS items_sold",
        "CAST(COALESCE(SUM(quantity), 0) AS BIGINT) AS items_sold",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "a rate without a denominator is 0 instead of null",
        f"{_GOLD}/conversion_funnel.sql",
        "CAST(purchases AS DOUBLE) / NULLIF(CAST(views AS DOUBLE), 0) AS view_to_purchase_rate",
        "COALESCE(CAST(purchases AS DOUBLE) / NULLIF(CAST(views AS DOUBLE), 0), 0) AS view_to_purchase_rate",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "the rate of carts to purchases is that of views to purchases",
        f"{_GOLD}/conversion_funnel.sql",
        "NULLIF(CAST(add_to_carts AS DOUBLE), 0) AS cart_to_purchase_rate",
        "NULLIF(CAST(views AS DOUBLE), 0) AS cart_to_purchase_rate",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "a product under two categories has one row",
        f"{_GOLD}/conversion_funnel.sql",
        "    SELECT\n        product_id,\n        category,\n",
        "    SELECT\n        product_id,\n        MIN(category) OVER (PARTITION BY product_id) AS category,\n",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "a tie in the ranking is broken by category first",
        f"{_GOLD}/top_products.sql",
        "ROW_NUMBER() OVER (ORDER BY view_count DESC, product_id, category)",
        "ROW_NUMBER() OVER (ORDER BY view_count DESC, category, product_id)",
        f"{_BY_HAND}[ties]",
    ),
    Mutant(
        "products with equally many views share a rank",
        f"{_GOLD}/top_products.sql",
        "ROW_NUMBER() OVER (ORDER BY view_count DESC, product_id, category)",
        "RANK() OVER (ORDER BY view_count DESC)",
        f"{_BY_HAND}[ties]",
    ),
    Mutant(
        "the ranking of the day has 101 products",
        f"{_GOLD}/top_products.sql",
        "WHERE view_rank <= 100 OR",
        "WHERE view_rank <= 101 OR",
        f"{_BY_HAND}[cuts]",
    ),
    Mutant(
        "the ranking of a category has 9 products",
        f"{_GOLD}/top_products.sql",
        "category_rank <= 10\n",
        "category_rank < 10\n",
        f"{_BY_HAND}[cuts]",
    ),
    Mutant(
        "products beyond the first 100 of the day are in no list of their category",
        f"{_GOLD}/top_products.sql",
        "WHERE view_rank <= 100 OR category_rank <= 10",
        "WHERE view_rank <= 100 AND category_rank <= 100",
        f"{_BY_HAND}[cuts]",
    ),
    Mutant(
        "a ranking counts every event of a product as a view",
        f"{_GOLD}/top_products.sql",
        "WHERE event_type = 'page_view'\n",
        "WHERE product_id IS NOT NULL\n",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "searches are in no category",
        f"{_GOLD}/category_performance.sql",
        "GROUP BY event_date, COALESCE(category, '(none)');",
        "GROUP BY event_date, COALESCE(category, '(none)') HAVING COUNT(category) > 0;",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "what is taken out of carts is counted as put in",
        f"{_GOLD}/category_performance.sql",
        "event_type = 'remove_from_cart' THEN 1",
        "event_type = 'add_to_cart' THEN 1",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "distinct users of a day are the sum of those of its hours",
        f"{_GOLD}/user_activity.sql",
        "FROM partials GROUP BY kind, id) AS ids",
        "FROM partials GROUP BY kind, id, events, uuid()) AS ids",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "events are counted once as a user's and once as a session's",
        f"{_GOLD}/user_activity.sql",
        "SUM(CASE WHEN kind = 'user' THEN events ELSE 0 END)",
        "SUM(events)",
        f"{_BY_HAND}[worked]",
    ),
    Mutant(
        "new SQL of a table is no other version: days stay as they are",
        "event_pipeline/rules/query.py",
        'made_by = "\\0".join((sections["partial"], sections["fold"],',
        'made_by = "\\0".join((sections["fold"],',
        f"{_LOCAL}::test_other_sql_makes_partials_and_days_again",
    ),
    Mutant(
        "a day that another hour folds meanwhile keeps what this one saw",
        "event_pipeline/engines/gold.py",
        "return (commit.partials, commit.sql_version) == (partials, sql_version)",
        "return commit.sql_version == sql_version",
        f"{_BEHAVIOUR}::test_a_day_that_an_hour_no_longer_touches_is_folded_again_without_it[in memory]",
    ),
    Mutant(
        "totals of replaced Silver pass for those of a fold",
        "event_pipeline/engines/gold.py",
        "        if partial is None or shown is None or shown[0] != partial.silver_build_id:\n            return None",
        "        if partial is None or shown is None:\n            return None",
        "event_pipeline_tests/assets/test_moving_totals.py::test_a_run_beside_does_not_fail_the_check_at_any_of_its_steps",
    ),
    Mutant(
        "the window of a day has no hours after its end",
        "event_pipeline/engines/gold.py",
        "last = Hour.containing(start.start + timedelta(days=1) + limits.max_age)",
        "last = Hour.containing(start.start + timedelta(days=1))",
        f"{_BEHAVIOUR}::test_a_day_has_the_events_of_the_first_and_of_the_last_hour_that_may_have_some[in memory]",
    ),
    Mutant(
        "the window of a day misses the hour before it",
        "event_pipeline/engines/gold.py",
        "first = Hour.containing(start.start - limits.max_lead).plus(-1)",
        "first = start",
        f"{_BEHAVIOUR}::test_a_day_has_the_events_of_the_first_and_of_the_last_hour_that_may_have_some[in memory]",
    ),
    Mutant(
        "users and sessions with one id are one",
        f"{_GOLD}/user_activity.sql",
        "SELECT kind, id, SUM(events) AS events FROM partials GROUP BY kind, id",
        "SELECT MIN(kind) AS kind, id, SUM(events) AS events FROM partials GROUP BY id",
        f"{_BY_HAND}[one id]",
    ),
    Mutant(
        "the reconciliation of revenue compares Gold with itself",
        f"{_GOLD}/hourly_revenue.sql",
        "(SELECT COALESCE(SUM(total_revenue), 0) FROM gold_day) AS gold, revenue AS silver",
        "revenue AS gold, revenue AS silver",
        f"{_LOCAL}::test_a_day_is_compared_with_the_control_totals_of_silver[a cent more]",
    ),
    Mutant(
        "the reconciliation overlooks views that a short ranking lost",
        f"{_GOLD}/top_products.sql",
        "CASE WHEN listed.products < 100 THEN page_views ELSE listed.views END AS silver",
        "listed.views AS silver",
        f"{_LOCAL}::test_a_day_is_compared_with_the_control_totals_of_silver[a view lost]",
    ),
    Mutant(
        "the reconciliation overlooks views that a ranking has too many",
        f"{_GOLD}/top_products.sql",
        "ELSE LEAST(listed.views, page_views) END AS gold",
        "ELSE listed.views END AS gold",
        f"{_LOCAL}::test_a_day_is_compared_with_the_control_totals_of_silver[more than all views]",
    ),
)
