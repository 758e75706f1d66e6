// When each attempt waited and ran: a row a job, by stage. Only what is in sight is drawn.

import { age, h, jobAddress } from "./dom.js";
import { ask, listen, now, store } from "./store.js";

const HEIGHT = 28;
const SPARE = 10;
const SHORTEST_MS = 3000; // between two readings of the journal
const SHARE = 20; // and reading it takes at most so small a part of the time
const SPANS = [["", "all of it"], ["604800", "the last week"], ["86400", "the last day"], ["21600", "the last 6 hours"], ["3600", "the last hour"]];
const STEPS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
const MOST_TICKS = 6;

const words = (ending) => ending.replaceAll("_", " ") || "under way";

function told([submitted, began, ended, ending], end) {
  const waited = age((began ?? ended ?? end) - submitted), ran = began == null ? "" : `, ran ${age((ended ?? end) - began)}`;
  return `waited ${waited}${ran}, ${words(ending)}`;
}

function ticks(from, to) {
  const step = STEPS.find((each) => (to - from) / each <= MOST_TICKS) ?? STEPS.at(-1);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push([at, step]);
  return found;
}

const clock = (at, step) => {
  const text = new Date(at * 1000).toISOString();
  return step >= 86400 ? text.slice(5, 10) : step >= 60 ? text.slice(5, 16).replace("T", " ") : text.slice(11, 19);
};

export function timeline(place, [wanted]) {
  const names = () => store.head.studies.map((told) => told.study);
  const study = wanted ?? names()[0];
  if (study == null) {
    place.append(h("p", {}, "No studies yet."));
    return () => {};
  }
  let rows = [], from = 0, to = 1, gone = false, loading = false, again = null;
  const note = h("p", { class: "quiet", role: "status", id: "told" }, "Reading the journal …");
  const span = h("select", { id: "span", onchange: () => arrange() }, SPANS.map(([value, text]) => h("option", { value }, text)));
  const which = h("select", { id: "study", onchange: () => { location.hash = `#/timeline/${encodeURIComponent(which.value)}`; } },
    names().map((name) => h("option", { value: name, selected: name === study }, name)));
  const axis = h("div", { class: "track axis", "aria-hidden": "true" });
  const lines = h("div", { class: "lines", role: "presentation" });
  const window_ = h("div", { class: "window", role: "rowgroup", tabindex: 0 }, lines);
  const grid = h("div", { class: "grid timeline", role: "table", "aria-label": `Timeline of ${study}` },
    h("div", { class: "heads", role: "row" }, h("span", { role: "columnheader" }, "Job"), h("span", { role: "columnheader" }, axis)), window_);
  place.append(h("h1", { class: "hidden" }, "Timeline"),
    h("p", { class: "choose" }, h("label", { for: "study" }, "study"), which, h("label", { for: "span" }, "shows"), span,
      h("span", { class: "quiet keys" }, ["waiting", "success", "time_limit", "crashed", ""].map((ending) => h("span", { class: "key", "data-ending": ending }, { crashed: "failed", time_limit: "cut short" }[ending] ?? words(ending))))),
    note, grid);

  const left = (at) => `${((Math.max(at, from) - from) / (to - from)) * 100}%`;
  const width = (a, b) => `${((Math.min(b, to) - Math.max(a, from)) / (to - from)) * 100}%`;

  function bar(a, b, ending) {
    return b < from || a > to ? null : h("span", { class: "run", "data-ending": ending, style: { left: left(a), width: width(a, b) } });
  }

  function line(row, number) {
    const style = { transform: `translateY(${number * HEIGHT}px)` };
    if (row.head) return h("div", { class: "row stage", role: "row", "aria-rowindex": number + 2, style }, h("span", { role: "cell" }, h("b", {}, row.stage), h("span", { class: "quiet" }, ` ${row.head}`)));
    const said = row.runs.map((run) => told(run, now())).join("; ");
    const bars = row.runs.flatMap(([submitted, began, ended, ending]) => [
      bar(submitted, began ?? ended ?? now(), "waiting"),
      began == null ? null : bar(began, ended ?? now(), ending),
    ]);
    return h("div", { class: "row", role: "row", "aria-rowindex": number + 2, style },
      h("span", { role: "cell", title: row.job }, h("a", { class: "job", href: jobAddress({ study, job: row.job }) }, row.job)),
      h("span", { role: "cell", title: said }, h("span", { class: "track", role: "img", "aria-label": said }, bars)));
  }

  function draw() {
    lines.style.height = `${rows.length * HEIGHT}px`;
    const first = Math.max(0, Math.floor(window_.scrollTop / HEIGHT) - SPARE);
    const last = Math.min(rows.length, Math.ceil((window_.scrollTop + window_.clientHeight) / HEIGHT) + SPARE);
    const focused = document.activeElement?.closest?.(".lines") ? document.activeElement.getAttribute("href") : null;
    lines.replaceChildren(...rows.slice(first, last).map((row, number) => line(row, first + number)));
    if (focused) lines.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    axis.replaceChildren(...ticks(from, to).map(([at, step]) => h("span", { class: "mark", style: { left: left(at) } }, clock(at, step))));
  }

  let known = [];
  function arrange() {
    const end = now(), ends = known.flatMap((row) => row.runs.map(([, , ended]) => ended ?? end)), begins = known.map((row) => row.runs[0][0]);
    const latest = ends.reduce((a, b) => Math.max(a, b), 0), earliest = begins.reduce((a, b) => Math.min(a, b), Infinity);
    [from, to] = span.value ? [end - Number(span.value), end] : [earliest, Math.max(latest, earliest + 1)];
    const shown = known.filter((row) => row.runs.some(([submitted, , ended]) => submitted <= to && (ended ?? end) >= from));
    const stages = Map.groupBy(shown, (row) => row.stage);
    rows = [...stages].flatMap(([stage, jobs]) => [{ stage, head: `${jobs.length} ${jobs.length === 1 ? "job" : "jobs"}` }, ...jobs]);
    grid.setAttribute("aria-rowcount", rows.length + 1);
    note.textContent = !known.length ? "No job of it has been submitted yet." : `${shown.length} of ${known.length} jobs; times are UTC`;
    draw();
  }

  async function load() {
    if (loading || again) return;
    loading = true;
    const began = Date.now();
    try {
      known = (await ask("timeline", { study })).rows;
      if (!gone) arrange();
    } catch (error) {
      if (!gone) note.textContent = error.message;
    }
    loading = false;
    if (!gone) again = setTimeout(() => { again = null; if (news) { news = false; load(); } }, Math.max(SHORTEST_MS, SHARE * (Date.now() - began)));
  }

  let scrolled = false, news = false;
  window_.addEventListener("scroll", () => {
    if (scrolled) return;
    scrolled = true;
    requestAnimationFrame(() => { scrolled = false; draw(); });
  });
  addEventListener("resize", draw);
  const ticking = setInterval(() => { if (known.length) arrange(); }, 5000); // what runs goes on
  const stop = listen((keys) => {
    if (![...keys].some((key) => key.startsWith(`${study}/`))) return;
    news = true;
    if (!again && !loading) { news = false; load(); }
  });
  load();
  return () => {
    gone = true;
    stop();
    clearTimeout(again);
    clearInterval(ticking);
    removeEventListener("resize", draw);
  };
}
