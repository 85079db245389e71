/* Draws the report from the JSON beside it. Text from data becomes text nodes only; money is added up as whole cents. */
"use strict";
(() => {
  const { generated, answers, health } = JSON.parse(document.getElementById("content").textContent);
  const DAY = 86_400;
  const MOST_LINES = 6;
  const MOST_PRODUCTS = 25;
  const HOURLY_DAYS = 14;
  const PRINTED_WIDTH = 660;
  const LONG_NAME = 28;
  const MOST_GROWTH = 10;
  const byId = (id) => document.getElementById(id);

  // -- text

  const COUNT = new Intl.NumberFormat("en-US");
  const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
  const SHARE = new Intl.NumberFormat("en-US", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const FINE_SHARE = new Intl.NumberFormat("en-US", { style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const RATE = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const NAMED_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  const SHORT_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

  const count = (number) => COUNT.format(number);
  const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
  const ratio = (part, whole, format = SHARE) => (whole ? format.format(part / whole) : "–");
  const money = (cents) => {
    const digits = (cents < 0n ? -cents : cents).toString().padStart(3, "0");
    return `${cents < 0n ? "-" : ""}$${COUNT.format(BigInt(digits.slice(0, -2)))}.${digits.slice(-2)}`;
  };
  const dollars = (number) => `$${RATE.format(number)}`;
  const shortDollars = (number) => `$${SHORT.format(number)}`;
  // As the fold of gold.hourly_revenue rounds: half up.
  const average = (cents, orders) => (orders ? (cents * 2n + BigInt(orders)) / (2n * BigInt(orders)) : null);
  const instant = (day) => Date.parse(`${day}T00:00:00Z`) / 1000;
  const namedDay = (seconds) => NAMED_DAY.format(seconds * 1000);
  const namedHour = (seconds) => `${namedDay(seconds)} ${new Date(seconds * 1000).toISOString().slice(11, 16)}`;
  const namedInstant = (text) => `${namedHour(Date.parse(text) / 1000)} UTC`;
  const duration = (seconds) => {
    if (seconds < 120) return "a moment";
    if (seconds < 2 * 3600) return plural(Math.round(seconds / 60), "minute");
    return seconds < 2 * DAY ? plural(Math.round(seconds / 3600), "hour") : plural(Math.round(seconds / DAY), "day");
  };

  // -- elements

  /** Return an element; strings become text nodes, never markup. */
  function el(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children.flat().filter((each) => each !== null && each !== undefined));
    return made;
  }

  /** Return a bar whose width is a share of the widest. */
  function bar(share) {
    const made = el("span", { class: "bar", "aria-hidden": "true" });
    made.style.width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
    return made;
  }

  const named = (text) => el("bdi", text.length > LONG_NAME ? { class: "long" } : {}, text);
  const tile = (name, value, more = "", look = "") =>
    el("div", {}, el("dt", {}, name), el("dd", { class: `value ${look}` }, value), el("dd", { class: "more" }, more));

  /** Return a table: columns are [heading, is text]; the first cell of a row is its heading. */
  function table(caption, columns, rows, foot = null) {
    const kind = (number) => (columns[number][1] ? { class: columns[number][1] === true ? "text" : columns[number][1] } : {});
    const line = (cells) =>
      el("tr", {}, cells.map((cell, number) =>
        number ? el("td", kind(number), cell) : el("th", { scope: "row", ...kind(number) }, cell)));
    return el("table", { class: "data" },
      el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, columns.map(([heading], number) => el("th", { scope: "col", ...kind(number) }, heading)))),
      el("tbody", {}, rows.map(line)),
      foot ? el("tfoot", {}, line(foot)) : null);
  }

  /** Return the table behind a chart, which is made when it is opened. */
  function behind(caption, columns, rows) {
    const place = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption });
    const made = el("details", {}, el("summary", {}, `Table: ${caption}`), place);
    made.addEventListener("toggle", () => {
      if (made.open && !place.firstChild) place.append(table(caption, columns, rows()));
    });
    return made;
  }

  // -- charts

  const charts = new Map();
  const observer = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const drawn = charts.get(target);
      if (drawn && !printing && contentRect.width && Math.abs(drawn.width - contentRect.width) > 1) {
        drawn.setSize({ width: contentRect.width, height: drawn.height });
      }
    }
  });
  const redraws = new Map();
  const TICKS = {
    ofDay: [1, 2, 3, 6, 12],
    hours: [1, 3, 6, 12, 24, 48, 7 * 24, 14 * 24].map((hours) => hours * 3600),
    days: [1, 2, 7, 14, 28, 56, 91, 182].map((days) => days * DAY),
  };
  let printing = false;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function timeTicks(chart, splits, axis, space, step) {
    return splits.map((each) => {
      const time = new Date(each * 1000);
      return step >= DAY || time.getUTCHours() === 0 ? SHORT_DAY.format(time) : time.toISOString().slice(11, 16);
    });
  }

  /**
   * Draw a chart with its table into a place, instead of what was there.
   *
   * `lines` are {name, values, colour, bars}; `xs` are seconds, or hours of the day if `ofDay`.
   */
  function draw(place, { title, xs, lines, format, short, columns, rows, ofDay = false }) {
    const plot = el("div", { class: "plot" });
    const titleId = `${place.id}-title`;
    const open = place.querySelector("details")?.open;
    const details = behind(title, columns, rows);
    place.replaceChildren(el("figure", { "aria-labelledby": titleId }, el("figcaption", { id: titleId }, title), plot, details));
    if (open) details.open = true;
    const paint = () => {
      const before = charts.get(plot);
      if (before) before.destroy();
      const ink = colour("quiet");
      const axis = { stroke: ink, grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      const step = xs.length > 1 ? xs[1] - xs[0] : ofDay ? 1 : DAY;
      const hasBars = lines.some((each) => each.bars);
      const name = ofDay ? (value) => (value === null ? "" : `${String(value).padStart(2, "0")}:00 UTC`)
        : (value) => (value === null ? "" : step < DAY ? namedHour(value) : namedDay(value));
      const drawn = new uPlot({
        width: printing ? PRINTED_WIDTH : plot.clientWidth || 600,
        height: 200,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        cursor: { drag: { x: false, y: false }, points: { size: 7 } },
        legend: { live: !printing },
        scales: {
          // Of a single day, uPlot would show years.
          x: { time: !ofDay, range: (chart, low, high) => xs.length === 1 ? [xs[0] - step / 2, xs[0] + step / 2] : hasBars ? [low - step / 2, high + step / 2] : [low, high] },
          y: { range: (chart, low, high) => [0, high > 0 ? high * 1.08 : 1] },
        },
        axes: [
          { ...axis, size: 28, space: 64, incrs: TICKS[ofDay ? "ofDay" : step < DAY ? "hours" : "days"], ...(ofDay ? { values: (chart, splits) => splits.map((each) => (Number.isInteger(each) ? String(each).padStart(2, "0") : "")) } : { values: timeTicks }) },
          { ...axis, size: 58, values: (chart, splits) => splits.map(short) },
        ],
        series: [
          { label: ofDay ? "Hour" : step < DAY ? "Hour" : "Day", value: (chart, value) => name(value) },
          ...lines.map((each) => ({
            label: each.name,
            stroke: colour(each.colour),
            width: each.bars ? 0 : 2,
            fill: each.bars ? colour(each.colour) : undefined,
            paths: each.bars ? uPlot.paths.bars({ size: [0.8, 48], align: 0 }) : undefined,
            points: { show: !each.bars && xs.length <= 40, size: 5 },
            value: (chart, value) => (value === null || value === undefined ? "–" : format(value)),
          })),
        ],
      }, [xs, ...lines.map((each) => each.values)], plot);
      // Its values follow the pointer; the table below has them all.
      plot.querySelector(".u-legend").setAttribute("aria-hidden", "true");
      const [canvas] = plot.getElementsByTagName("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", described(title, xs, lines, name, format));
      charts.set(plot, drawn);
    };
    forget(place);
    redraws.set(place, { plot, paint });
    paint();
    observer.observe(plot);
  }

  /** Drop the chart of a place, which is about to show something else. */
  function forget(place) {
    const before = redraws.get(place);
    if (!before) return;
    observer.unobserve(before.plot);
    charts.get(before.plot)?.destroy();
    charts.delete(before.plot);
    redraws.delete(place);
  }

  function described(title, xs, lines, name, format) {
    const said = lines.map((each) => {
      let best = -1;
      each.values.forEach((value, number) => {
        if (value !== null && (best < 0 || value > each.values[best])) best = number;
      });
      return best < 0 ? `${each.name}: no values` : `${each.name}: highest ${format(each.values[best])} at ${name(xs[best])}`;
    });
    return `${title}, ${name(xs[0])} to ${name(xs[xs.length - 1])}. ${said.join(". ")}. The table below has every value.`;
  }

  function repaint() {
    for (const { paint } of redraws.values()) paint();
  }

  // -- what is chosen

  const chosen = { first: 0, last: 0, categories: new Set() };
  const names = answers ? [...answers.categories, ...(answers.hasOthers ? ["other categories"] : [])] : [];
  const isAll = () => chosen.categories.size === names.length;
  const label = (category) => names[category];

  /** Yield the values of the chosen days' rows, `width` to a row, with the day's number. */
  function* rowsOf(list, width, first = chosen.first, last = chosen.last) {
    for (let day = first; day <= last; day++) {
      const values = list[day];
      for (let at = 0; at < values.length; at += width) yield [day, values, at];
    }
  }

  const nothing = () => ({ events: 0, views: 0, carts: 0, removes: 0, purchases: 0, searches: 0, cents: 0n });

  /** Add up the chosen days by category; a category that is not chosen is left out. */
  function byCategory(first, last) {
    const sums = new Map();
    for (const [, row, at] of rowsOf(answers.performance, 8, first, last)) {
      if (!chosen.categories.has(row[at])) continue;
      if (!sums.has(row[at])) sums.set(row[at], nothing());
      add(sums.get(row[at]), row, at);
    }
    return sums;
  }

  function add(sum, row, at) {
    sum.events += row[at + 1];
    sum.views += row[at + 2];
    sum.carts += row[at + 3];
    sum.removes += row[at + 4];
    sum.purchases += row[at + 5];
    sum.searches += row[at + 6];
    sum.cents += BigInt(row[at + 7]);
  }

  function together(sums) {
    const whole = nothing();
    for (const sum of sums.values()) for (const name of Object.keys(whole)) whole[name] += sum[name];
    return whole;
  }

  /** Add up gold.conversion_funnel by category and by product. */
  function funnel() {
    const categories = new Map();
    const products = new Map();
    const most = { known: true, views: 0 };
    const into = (sums, key, row, at) => {
      if (!sums.has(key)) sums.set(key, { views: 0, carts: 0, purchases: 0, cents: 0n });
      const sum = sums.get(key);
      sum.views += row[at + 1];
      sum.carts += row[at + 2];
      sum.purchases += row[at + 3];
      sum.cents += BigInt(row[at + 4]);
    };
    for (const [, row, at] of rowsOf(answers.productDays, 5)) {
      const category = answers.products[row[at]][1];
      if (!chosen.categories.has(category)) continue;
      into(categories, category, row, at);
      into(products, row[at], row, at);
    }
    // A product that is not in the page has at most the sum of what the best of them had each day.
    let ofDay = -1;
    let best = 0;
    for (const [day, row, at] of rowsOf(answers.otherProducts, 6)) {
      if (!chosen.categories.has(row[at])) continue;
      into(categories, row[at], row, at);
      most.known = false;
      if (day !== ofDay) {
        most.views += best;
        best = 0;
        ofDay = day;
      }
      best = Math.max(best, row[at + 5]);
    }
    most.views += best;
    return { categories, products, most };
  }

  // -- sections

  const days = () => chosen.last - chosen.first + 1;
  const rangeText = () => {
    const [first, last] = [answers.days[chosen.first], answers.days[chosen.last]];
    return first === last ? namedDay(instant(first)) : `${namedDay(instant(first))} to ${namedDay(instant(last))}`;
  };

  /** Return how a sum differs from that of as many days before; nothing if they, or a day that is not over, decide. */
  function change(now, before) {
    const over = health?.newest && Date.parse(health.newest.end) / 1000 >= instant(answers.days[chosen.last]) + DAY;
    if (chosen.first < days() || !before || !over) return "";
    const share = Number(now) / Number(before) - 1;
    if (share > MOST_GROWTH) return "";
    const text = SHARE.format(Math.abs(share));
    return `${share < 0 ? "▼" : "▲"} ${text} on the ${days() === 1 ? "day" : `${days()} days`} before`;
  }

  function people() {
    if (chosen.first === chosen.last) {
      const [users, sessions, events] = answers.activity[chosen.first];
      return users === undefined ? null : { users, sessions, events };
    }
    return answers.distinct.find((each) => each.first === chosen.first && each.last === chosen.last) ?? null;
  }

  function showOverview(sums) {
    const now = together(sums);
    const before = chosen.first >= days() ? together(byCategory(chosen.first - days(), chosen.first - 1)) : nothing();
    const orderValue = average(now.cents, now.purchases);
    const found = people();
    byId("tiles").replaceChildren(
      tile("Revenue", money(now.cents), change(now.cents, before.cents)),
      tile("Purchases", count(now.purchases), change(now.purchases, before.purchases)),
      tile("Average order", orderValue === null ? "–" : money(orderValue), "revenue / purchases"),
      tile("Page views", count(now.views), change(now.views, before.views)),
      tile("Views to purchases", ratio(now.purchases, now.views, FINE_SHARE), "purchases / page views"),
      tile("All events", count(now.events), change(now.events, before.events)),
      tile("Distinct users", found ? count(found.users) : "–", found ? "all categories" : "not in the page for this range"),
      tile("Distinct sessions", found ? count(found.sessions) : "–", found ? "all categories" : "see User activity"),
    );
    byId("status").textContent = `${rangeText()}, ${chosenText()}: revenue ${money(now.cents)}, ${plural(now.purchases, "purchase")}.`;
  }

  function showRevenue() {
    const hours = new Map();
    const ofDay = Array.from({ length: 24 }, () => ({ cents: 0n, purchases: 0, items: 0 }));
    let newest = -1;
    for (const [day, row, at] of rowsOf(answers.hours, 4)) {
      const [hour, cents, purchases, items] = [row[at], BigInt(row[at + 1]), row[at + 2], row[at + 3]];
      newest = Math.max(newest, day * 24 + hour);
      hours.set(day * 24 + hour, { cents, purchases, items });
      ofDay[hour].cents += cents;
      ofDay[hour].purchases += purchases;
      ofDay[hour].items += items;
    }
    byId("revenue-note").textContent = isAll() ? "" :
      "Gold keeps the revenue of hours for all categories together: this section is not filtered by category.";
    const columns = [["Hour, UTC", true], ["Revenue"], ["Purchases"], ["Items"], ["Average order"]];
    const cells = ({ cents, purchases, items }) =>
      [money(cents), count(purchases), count(items), purchases ? money(average(cents, purchases)) : "–"];
    const perHour = days() <= HOURLY_DAYS;
    const start = instant(answers.days[0]);
    const [first, end] = [chosen.first * 24, (chosen.last + 1) * 24];
    const [xs, values] = [[], []];
    for (let at = first; at < end; at += perHour ? 1 : 24) {
      let cents = 0n;
      for (let hour = at; hour < at + (perHour ? 1 : 24); hour++) cents += hours.get(hour)?.cents ?? 0n;
      xs.push(start + at * 3600);
      values.push(at > newest ? null : Number(cents) / 100);
    }
    draw(byId("revenue-time"), {
      title: perHour ? "Revenue per hour" : "Revenue per day",
      xs,
      lines: [{ name: "Revenue", values, colour: "s1", bars: true }],
      format: dollars,
      short: shortDollars,
      columns,
      rows: () => [...hours].map(([at, row]) => [namedHour(start + at * 3600), ...cells(row)]),
    });
    draw(byId("revenue-hours"), {
      title: "Revenue by hour of the day, whole range",
      xs: ofDay.map((_, hour) => hour),
      lines: [{ name: "Revenue", values: ofDay.map(({ cents }) => Number(cents) / 100), colour: "s7", bars: true }],
      format: dollars,
      short: shortDollars,
      ofDay: true,
      columns,
      rows: () => ofDay.map((row, hour) => [`${String(hour).padStart(2, "0")}:00`, row])
        .filter(([, row]) => row.purchases).map(([hour, row]) => [hour, ...cells(row)]),
    });
  }

  function showFunnel({ categories }) {
    const whole = { views: 0, carts: 0, purchases: 0, cents: 0n };
    for (const sum of categories.values()) for (const name of Object.keys(whole)) whole[name] += sum[name];
    const step = (name, number, more) => el("li", {},
      el("div", { class: "head" }, el("span", {}, name), el("span", { class: "value" }, count(number)), el("span", { class: "quiet" }, more)),
      bar(number / Math.max(whole.views, whole.carts, whole.purchases)));
    const columns = [["Category", true], ["Views"], ["Put into carts"], ["Purchases"], ["View to cart"], ["Cart to purchase"], ["View to purchase"], ["Revenue"]];
    byId("funnel-steps").replaceChildren(
      el("ol", { class: "steps", id: "funnel-bars" },
        step("Page views", whole.views, ""),
        step("Put into carts", whole.carts, `${ratio(whole.carts, whole.views)} of views`),
        step("Purchases", whole.purchases, `${ratio(whole.purchases, whole.carts)} of carts, ${ratio(whole.purchases, whole.views)} of views`)),
      behind("the funnel by category", columns, () =>
        [...categories].sort(([, one], [, other]) => other.views - one.views).map(([category, sum]) => [named(label(category)), ...funnelCells(sum)])));
  }

  const funnelCells = (sum) => [count(sum.views), count(sum.carts), count(sum.purchases), ratio(sum.carts, sum.views),
    ratio(sum.purchases, sum.carts), ratio(sum.purchases, sum.views), money(sum.cents)];

  function showProducts({ products, most }) {
    // Products are numbered in the order of their names, which breaks ties, as in gold.top_products.
    const ranked = [...products].filter(([, sum]) => sum.views).sort(([one, a], [other, b]) => b.views - a.views || one - other);
    const certain = most.known ? ranked : ranked.filter(([, sum]) => sum.views > most.views);
    const shown = certain.slice(0, MOST_PRODUCTS);
    const command = `event-pipeline query --name top_products --from ${answers.days[chosen.first]} --to ${answers.days[chosen.last]}`;
    const more = shown.length < ranked.length || !most.known
      ? [`The first ${count(shown.length)} by page views. `,
        most.known ? "" : `The page has the days of ${plural(answers.products.length, "product")}; any other has at most ${count(most.views)} views here, so what follows is not ranked. `,
        el("code", {}, command), " lists more."]
      : ["Every product with page views, most viewed first."];
    byId("products-note").replaceChildren(...more.filter(Boolean));
    const best = shown.length ? shown[0][1].views : 0;
    byId("products-table").replaceChildren(shown.length
      ? scrollable("Top products", table("Top products by page views",
        [["#"], ["Product", true], ["Category", true], ["", "barcell"], ["Views"], ["Put into carts"], ["Purchases"], ["View to cart"], ["View to purchase"], ["Revenue"]],
        shown.map(([product, sum], number) => [String(number + 1), named(answers.products[product][0]), named(label(answers.products[product][1])),
          bar(sum.views / best), count(sum.views), count(sum.carts), count(sum.purchases), ratio(sum.carts, sum.views), ratio(sum.purchases, sum.views), money(sum.cents)])))
      : el("p", {}, "No product was viewed in this range and these categories."));
  }

  const scrollable = (name, content) => el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": name }, content);

  function showCategories(sums) {
    const ranked = [...sums].sort(([one, a], [other, b]) => (b.cents > a.cents ? 1 : b.cents < a.cents ? -1 : b.events - a.events || one - other));
    const whole = together(sums);
    const lines = ranked.filter(([, sum]) => sum.cents).slice(0, MOST_LINES);
    const xs = answers.days.slice(chosen.first, chosen.last + 1).map(instant);
    const found = new Map(lines.map(([category]) => [category, xs.map((_, day) => (answers.activity[chosen.first + day].length ? 0n : null))]));
    for (const [day, row, at] of rowsOf(answers.performance, 8)) {
      const values = found.get(row[at]);
      if (values) values[day - chosen.first] = (values[day - chosen.first] ?? 0n) + BigInt(row[at + 7]);
    }
    const place = byId("categories-time");
    if (lines.length) {
      draw(place, {
        title: `Revenue per day${ranked.length > lines.length ? `, the ${lines.length} categories that earned most` : " and category"}`,
        xs,
        lines: lines.map(([category], number) => ({
          name: label(category),
          colour: `s${number + 1}`,
          values: found.get(category).map((each) => (each === null ? null : Number(each) / 100)),
        })),
        format: dollars,
        short: shortDollars,
        columns: [["Day", true], ...lines.map(([category]) => [label(category)])],
        rows: () => xs.map((day, number) => [namedDay(day), ...lines.map(([category]) => {
          const cents = found.get(category)[number];
          return cents === null ? "–" : money(cents);
        })]),
      });
    } else {
      forget(place);
      place.replaceChildren(el("p", {}, "Nothing was sold in this range and these categories."));
    }
    const cells = (sum) => [money(sum.cents), whole.cents ? SHARE.format(Number(sum.cents) / Number(whole.cents)) : "–",
      count(sum.events), count(sum.views), count(sum.carts), count(sum.removes), count(sum.purchases), count(sum.searches)];
    const best = ranked.length ? Number(ranked[0][1].cents) : 0;
    byId("categories-table").replaceChildren(scrollable("Categories", table("Category performance",
      [["Category", true], ["", "barcell"], ["Revenue"], ["Share"], ["Events"], ["Views"], ["Put into carts"], ["Taken out"], ["Purchases"], ["Searches"]],
      ranked.map(([category, sum]) => [named(label(category)), best ? bar(Number(sum.cents) / best) : "", ...cells(sum)]),
      ["Together", "", ...cells(whole)])));
  }

  function showUsers() {
    const xs = answers.days.slice(chosen.first, chosen.last + 1).map(instant);
    const list = answers.activity.slice(chosen.first, chosen.last + 1);
    const found = people();
    const command = `event-pipeline query --name user_activity --from ${answers.days[chosen.first]} --to ${answers.days[chosen.last]}`;
    byId("users-note").replaceChildren(...(found
      ? [`${plural(found.users, "distinct user")} in ${plural(found.sessions, "session")} did ${plural(found.events, "event")}: ` +
        `${RATE.format(found.events / found.users)} events a user, ${RATE.format(found.events / found.sessions)} a session, ${RATE.format(found.sessions / found.users)} sessions a user. `]
      : ["Distinct users of several days are not the sum of the days, and this range was not counted for this page. ", el("code", {}, command), " counts it. "]),
    isAll() ? "" : "Users are not kept by category: this section is not filtered.");
    draw(byId("users-time"), {
      title: "Distinct users and sessions of each day",
      xs,
      lines: [
        { name: "Users", values: list.map(([users]) => users ?? null), colour: "s1" },
        { name: "Sessions", values: list.map(([, sessions]) => sessions ?? null), colour: "s2" },
      ],
      format: count,
      short: (number) => SHORT.format(number),
      columns: [["Day", true], ["Users"], ["Sessions"], ["Events"], ["Events a user"], ["Events a session"], ["Sessions a user"]],
      rows: () => list.map(([users, sessions, events], number) => users === undefined ? [namedDay(xs[number]), "–", "–", "–", "–", "–", "–"]
        : [namedDay(xs[number]), count(users), count(sessions), count(events), RATE.format(events / users), RATE.format(events / sessions), RATE.format(sessions / users)]),
    });
  }

  function chosenText() {
    if (isAll()) return "all categories";
    if (!chosen.categories.size) return "no category";
    return chosen.categories.size <= 2 ? [...chosen.categories].map(label).join(", ") : `${chosen.categories.size} of ${names.length} categories`;
  }

  function show() {
    const sums = byCategory();
    const found = funnel();
    byId("from").value = answers.days[chosen.first];
    byId("to").value = answers.days[chosen.last];
    byId("chosen").textContent = chosenText();
    for (const button of byId("presets").children) {
      button.setAttribute("aria-pressed", String(Number(button.value) === days() && chosen.last === answers.days.length - 1));
    }
    showOverview(sums);
    showRevenue();
    showFunnel(found);
    showProducts(found);
    showCategories(sums);
    showUsers();
  }

  function startFilters() {
    const all = answers.days.length;
    const lengths = [...new Set([1, answers.opens, 7, 28, all])].filter((length) => length <= all).sort((one, other) => one - other);
    const text = (length) => (length === all ? (all === 1 ? "1 day" : `All ${all} days`) : length === 1 ? "Last day" : `${length} days`);
    byId("presets").append(...lengths.map((length) => {
      const button = el("button", { type: "button", value: String(length) }, text(length));
      button.addEventListener("click", () => choose(all - length, all - 1));
      return button;
    }));
    for (const id of ["from", "to"]) {
      byId(id).min = answers.days[0];
      byId(id).max = answers.days[all - 1];
      byId(id).addEventListener("change", (event) => {
        const day = answers.days.indexOf(event.target.value);
        if (day < 0) return;
        if (id === "from") choose(day, Math.max(day, chosen.last));
        else choose(Math.min(day, chosen.first), day);
      });
    }
    const boxes = names.map((_, category) => {
      const box = el("input", { type: "checkbox", value: String(category) });
      box.addEventListener("change", () => {
        chosen.categories[box.checked ? "add" : "delete"](category);
        show();
      });
      return box;
    });
    byId("categories-list").append(...boxes.map((box, category) => el("label", {}, box, " ", named(label(category)))));
    const setAll = (checked) => {
      boxes.forEach((box, category) => {
        box.checked = checked;
        chosen.categories[checked ? "add" : "delete"](category);
      });
    };
    byId("every").addEventListener("click", () => { setAll(true); show(); });
    byId("no").addEventListener("click", () => { setAll(false); show(); });
    const panel = byId("choice");
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      panel.open = false;
      panel.querySelector("summary").focus();
    });
    document.addEventListener("click", (event) => { if (!panel.contains(event.target)) panel.open = false; });
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    setAll(true);
    byId("filters").hidden = false;
  }

  function choose(first, last) {
    [chosen.first, chosen.last] = [first, last];
    show();
  }

  // -- health

  const MARKS = { good: "", none: "", open: "·", warn: "!", bad: "×" };

  function showHealth() {
    const hours = health.hours.map(([hour, state, objects, records, quarantined, duplicates]) =>
      ({ start: Date.parse(`${hour}:00:00Z`) / 1000, state, objects, records, quarantined, duplicates, look: health.looks[state] }));
    const sum = (name) => hours.reduce((whole, each) => whole + (each[name] ?? 0), 0);
    const [records, quarantined, duplicates] = [sum("records"), sum("quarantined"), sum("duplicates")];
    const looked = (look) => hours.filter((each) => each.look === look).length;
    const due = hours.filter((each) => each.look !== "none" && each.state !== "open").length;
    const [first, last] = [hours[0].start, hours[hours.length - 1].start];
    byId("health-note").textContent = `Landing hours of ${namedDay(first)} to ${namedDay(last)}, whatever range is chosen above.`;
    const lag = health.newest ? (Date.parse(generated) - Date.parse(health.newest.end)) / 1000 : 0;
    byId("health-tiles").replaceChildren(
      tile("Published up to", health.newest ? namedHour(Date.parse(health.newest.end) / 1000) : "–", health.newest ? `${duration(lag)} before this page was written` : "nothing is published"),
      tile("Hours in order", `${count(looked("good"))} of ${count(due)}`, "published as they are now"),
      tile("Hours to look at", count(looked("warn") + looked("bad")), "event-pipeline status names them", looked("bad") ? "bad" : ""),
      tile("Records", count(records), plural(sum("objects"), "raw object")),
      tile("Quarantined", ratio(quarantined, records, FINE_SHARE), plural(quarantined, "record")),
      tile("Duplicates", ratio(duplicates, records, FINE_SHARE), plural(duplicates, "record")),
      tile("Unknown fields", count(health.driftFields), health.driftFields ? "schema drift" : "no schema drift"),
      tile("Keys not read", count(health.unmatched), "under events/"),
    );
    byId("strip").replaceChildren(strip(hours), legend(hours));
    const columns = [["Landing hour, UTC", true], ["State", true], ["Objects"], ["Records"], ["Quarantined"], ["Duplicates"]];
    const known = (value) => (value === null ? "–" : count(value));
    const rows = () => hours.map((each) => [namedHour(each.start), each.state, count(each.objects), known(each.records), known(each.quarantined), known(each.duplicates)]);
    const xs = hours.map((each) => each.start);
    const short = (number) => SHORT.format(number);
    draw(byId("records-time"), {
      title: "Records per landing hour", xs, format: count, short, columns, rows,
      lines: [{ name: "Records", values: hours.map((each) => each.records), colour: "s3", bars: true }],
    });
    draw(byId("refused-time"), {
      title: "Quarantined and duplicate records per landing hour", xs, format: count, short, columns, rows,
      lines: [
        { name: "Quarantined", values: hours.map((each) => each.quarantined), colour: "s2" },
        { name: "Duplicates", values: hours.map((each) => each.duplicates), colour: "s4" },
      ],
    });
    showReasons(records);
    byId("drift").replaceChildren(health.drift.length
      ? scrollable("Schema drift", table("Fields outside the contract", [["Field", true], ["Records"], ["Example", true]],
        health.drift.map((each) => [named(each.field), count(each.records), named(each.example)])))
      : el("p", {}, "No field outside the contract."));
    showCost();
    byId("unmatched").replaceChildren(...(health.unmatched
      ? [el("h3", {}, "Keys that are not read"), scrollable("Keys that are not read", table("Keys that are not read", [["Key", true], ["Why", true]],
        health.firstUnmatched.map(([key, reason]) => [named(key), named(reason)])))] : []));
    byId("health").hidden = false;
  }

  /** Return the hours as a table of days x 24 hours. */
  function strip(hours) {
    const rows = new Map();
    for (const each of hours) {
      const day = new Date(each.start * 1000).toISOString().slice(0, 10);
      if (!rows.has(day)) rows.set(day, Array(24).fill(null));
      rows.get(day)[new Date(each.start * 1000).getUTCHours()] = each;
    }
    const cell = (each, hour) => each === null ? el("td") : el("td", {
      class: each.look, title: `${namedHour(each.start)}: ${each.state}${each.records === null ? "" : `, ${plural(each.records, "record")}`}`,
    }, el("span", { "aria-hidden": "true" }, MARKS[each.look]), el("span", { class: "hidden" }, each.state));
    return el("table", { class: "strip", "aria-labelledby": "strip-title" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Day"), Array.from({ length: 24 }, (_, hour) => el("th", { scope: "col" }, String(hour).padStart(2, "0"))))),
      el("tbody", {}, [...rows].reverse().map(([day, cells]) => el("tr", {}, el("th", { scope: "row" }, SHORT_DAY.format(instant(day) * 1000)), cells.map(cell)))));
  }

  function legend(hours) {
    const found = new Map();
    for (const { state, look } of hours) found.set(state, { look, hours: (found.get(state)?.hours ?? 0) + 1 });
    return el("ul", { class: "legend" }, [...found].map(([state, { look, hours: number }]) =>
      el("li", {}, el("span", { class: `mark ${look}`, "aria-hidden": "true" }, MARKS[look]), `${state} (${count(number)})`)));
  }

  function showReasons(records) {
    const sums = health.reasons.map((reason) =>
      [reason, Object.values(health.quarantined).reduce((whole, day) => whole + (day[reason] ?? 0), 0)]).sort(([, one], [, other]) => other - one);
    const best = sums.length ? sums[0][1] : 0;
    byId("reasons").replaceChildren(...(sums.length
      ? [scrollable("Quarantine by reason", table("Quarantined records by reason", [["Reason", true], ["", "barcell"], ["Records"], ["Share"]],
        sums.map(([reason, number]) => [reason, bar(number / best), count(number), ratio(number, records, FINE_SHARE)]))),
      behind("quarantined records by landing day", [["Day", true], ...sums.map(([reason]) => [reason])],
        () => Object.entries(health.quarantined).map(([day, found]) => [namedDay(instant(day)), ...sums.map(([reason]) => count(found[reason] ?? 0))]))]
      : [el("p", {}, "No record is quarantined.")]));
  }

  function showCost() {
    const place = byId("cost");
    if (!health.cost) return place.replaceChildren(el("p", {}, "Nothing is billed where this pipeline runs."));
    if (!health.cost.length) return place.replaceChildren(el("p", {}, "No step of these hours has recorded a cost."));
    const usd = (number) => `$${number.toFixed(number >= 1 ? 2 : 4)}`;
    return draw(place, {
      title: "Estimated cost of building, USD",
      xs: health.cost.map(([day]) => instant(day)),
      lines: [{ name: "USD", values: health.cost.map(([, millionths]) => millionths / 1e6), colour: "s5", bars: true }],
      format: usd,
      short: usd,
      columns: [["Landing day", true], ["USD"]],
      rows: () => health.cost.map(([day, millionths]) => [namedDay(instant(day)), usd(millionths / 1e6)]),
    });
  }

  // -- start

  function start() {
    const age = (Date.now() - Date.parse(generated)) / 1000;
    byId("written").textContent = `Written ${namedInstant(generated)}${age > 3600 ? `, ${duration(age)} ago` : ""}`;
    if (answers) {
      const [first, last] = [answers.days[0], answers.days[answers.days.length - 1]];
      byId("scope").textContent = `${namedDay(instant(first))} to ${namedDay(instant(last))}, by the day of the event` +
        (answers.daysCut ? `; ${plural(answers.daysCut, "earlier day")} left out of this page` : "");
      byId("answers").hidden = false;
      startFilters();
      choose(answers.days.length - answers.opens, answers.days.length - 1);
    } else {
      byId("empty").hidden = false;
      for (const link of document.querySelectorAll("nav a")) link.hidden = !health || link.hash !== "#health";
    }
    if (health) showHealth();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    addEventListener("beforeprint", () => { printing = true; repaint(); });
    addEventListener("afterprint", () => { printing = false; repaint(); });
  }

  start();
})();
