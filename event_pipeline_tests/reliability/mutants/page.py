"""Mutants of the report's JavaScript, whose tests open the page in a real browser."""

from __future__ import annotations

from event_pipeline_tests.reliability.mutants.mutant import Mutant

_SCRIPT = "event_pipeline/report/web/report.js"
_BROWSER = "event_pipeline_tests/browser/test_report_in_a_browser.py"
_NUMBERS = f"{_BROWSER}::test_every_range_shows_the_numbers_of_gold"
_CATEGORIES = f"{_BROWSER}::test_categories_filter_numbers_and_names_that_are_markup_stay_text"
_CHARTS = f"{_BROWSER}::test_charts_are_drawn_in_both_schemes_with_a_table_behind_each"
_HEALTH = f"{_BROWSER}::test_health_shows_every_hour_and_what_was_refused"
_STATES = f"{_BROWSER}::test_costs_and_every_state_are_shown"
_KEYBOARD = f"{_BROWSER}::test_the_keyboard_reaches_everything_and_nothing_is_unnamed"
_SINGLE = f"{_BROWSER}::test_a_single_day_is_in_the_middle_of_its_chart"
_EMPTY = f"{_BROWSER}::test_an_empty_page_says_what_to_do"

MUTANTS: tuple[Mutant, ...] = (
    # -- numbers
    Mutant(
        "The page adds up whole dollars",
        _SCRIPT,
        "    sum.cents += BigInt(row[at + 7]);\n",
        "    sum.cents = sum.cents + BigInt(row[at + 7] - (row[at + 7] % 100));\n",
        _NUMBERS,
    ),
    Mutant(
        "The page cuts the cents of an average order off",
        _SCRIPT,
        "(cents * 2n + BigInt(orders)) / (2n * BigInt(orders))",
        "cents / BigInt(orders)",
        _NUMBERS,
    ),
    Mutant(
        "The page leaves the last chosen day out",
        _SCRIPT,
        "for (let day = first; day <= last; day++)",
        "for (let day = first; day < Math.max(last, first + 1); day++)",
        _NUMBERS,
    ),
    Mutant(
        "The page adds distinct users of several days up",
        _SCRIPT,
        "?? null;\n  }\n\n  function showOverview",
        "?? { users: answers.activity.reduce((sum, [users]) => sum + (users ?? 0), 0), sessions: 1, events: 1 };"
        "\n  }\n\n  function showOverview",
        _NUMBERS,
    ),
    Mutant(
        "The page ranks products that tie by the wrong name first",
        _SCRIPT,
        "b.views - a.views || one - other",
        "b.views - a.views || other - one",
        _NUMBERS,
    ),
    Mutant(
        "The page shows the revenue of an hour in the one after it",
        _SCRIPT,
        "ofDay[hour].cents += cents;",
        "ofDay[(hour + 1) % 24].cents += cents;",
        _NUMBERS,
    ),
    Mutant(
        "The page counts carts as views in the funnel",
        _SCRIPT,
        "      sum.views += row[at + 1];\n      sum.carts += row[at + 2];\n      sum.purchases += row[at + 3];\n",
        "      sum.views += row[at + 2];\n      sum.carts += row[at + 1];\n      sum.purchases += row[at + 3];\n",
        _NUMBERS,
    ),
    # -- what is chosen
    Mutant(
        "The page counts categories that are not chosen",
        _SCRIPT,
        "      if (!chosen.categories.has(row[at])) continue;\n      if (!sums.has",
        "      if (!sums.has",
        _CATEGORIES,
    ),
    Mutant(
        "The page ranks products of categories that are not chosen",
        _SCRIPT,
        "      if (!chosen.categories.has(category)) continue;\n",
        "",
        _CATEGORIES,
    ),
    Mutant(
        "The page filters by category and does not say that revenue by hour is not filtered",
        _SCRIPT,
        'byId("revenue-note").textContent = isAll() ? "" :',
        'byId("revenue-note").textContent = true ? "" :',
        _CATEGORIES,
    ),
    Mutant(
        "The page takes the name of a category for markup",
        _SCRIPT,
        'const named = (text) => el("bdi", text.length > LONG_NAME ? { class: "long" } : {}, text);',
        'const named = (text) => { const made = el("bdi"); made.innerHTML = text; return made; };',
        _CATEGORIES,
    ),
    # -- charts
    Mutant(
        "A chart of the page keeps the colours of the other scheme",
        _SCRIPT,
        '    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);\n',
        "",
        _CHARTS,
    ),
    Mutant(
        "A chart of the page has no description",
        _SCRIPT,
        '      canvas.setAttribute("aria-label", described(title, xs, lines, name, format));\n',
        "",
        _CHARTS,
    ),
    Mutant(
        "A chart of a single day shows years",
        _SCRIPT,
        "xs.length === 1 ? [xs[0] - step / 2, xs[0] + step / 2] : hasBars",
        "hasBars",
        _SINGLE,
    ),
    Mutant(
        "The chart of revenue by hour of the day is in cents",
        _SCRIPT,
        "values: ofDay.map(({ cents }) => Number(cents) / 100)",
        "values: ofDay.map(({ cents }) => Number(cents))",
        _NUMBERS,
    ),
    Mutant(
        "The chart of users shows sessions",
        _SCRIPT,
        "values: list.map(([users]) => users ?? null)",
        "values: list.map(([, users]) => users ?? null)",
        _NUMBERS,
    ),
    Mutant(
        "The chart of categories shows each day in the one after it",
        _SCRIPT,
        "if (values) values[day - chosen.first] = (values[day - chosen.first] ?? 0n) + BigInt(row[at + 7]);",
        "if (values) values[Math.min(day - chosen.first + 1, values.length - 1)] = BigInt(row[at + 7]);",
        _NUMBERS,
    ),
    Mutant(
        "The chart of what was refused shows duplicates as quarantined",
        _SCRIPT,
        'values: hours.map((each) => each.quarantined), colour: "s2"',
        'values: hours.map((each) => each.duplicates), colour: "s2"',
        _STATES,
    ),
    # -- health, and what is missing
    Mutant(
        "The page counts an hour that is missing as in order",
        _SCRIPT,
        '`${count(looked("good"))} of ${count(due)}`',
        "`${count(due)} of ${count(due)}`",
        _HEALTH,
    ),
    Mutant(
        "The page shows hours in another time zone than UTC",
        _SCRIPT,
        "[new Date(each.start * 1000).getUTCHours()] = each;",
        "[(new Date(each.start * 1000).getUTCHours() + 1) % 24] = null;",
        _HEALTH,
    ),
    Mutant(
        "The page shows only the first day of each reason",
        _SCRIPT,
        "reduce((whole, day) => whole + (day[reason] ?? 0), 0)]",
        "reduce((whole, day) => day[reason] ? 1 : whole, 0)]",
        _HEALTH,
    ),
    Mutant(
        "The page shows a thousandth of the cost",
        _SCRIPT,
        "values: health.cost.map(([, millionths]) => millionths / 1e6)",
        "values: health.cost.map(([, millionths]) => millionths / 1e9)",
        _STATES,
    ),
    Mutant(
        "The table of costs shows a tenth of them",
        _SCRIPT,
        "usd(millionths / 1e6)]",
        "usd(millionths / 1e7)]",
        _STATES,
    ),
    Mutant(
        "A state of an hour is missing in the legend",
        _SCRIPT,
        'return el("ul", { class: "legend" }, [...found].map(',
        'return el("ul", { class: "legend" }, [...found].slice(1).map(',
        _STATES,
    ),
    Mutant(
        "The keyboard cannot leave the choice of categories",
        _SCRIPT,
        '      panel.querySelector("summary").focus();\n',
        "",
        _KEYBOARD,
    ),
    Mutant(
        "A page without answers does not say what to do",
        _SCRIPT,
        '      byId("empty").hidden = false;\n',
        "",
        _EMPTY,
    ),
)
