// The stages of a study, what they wait for, and in each its jobs: a dot a job, or a bar where there are too many.

import { bar, count, jobsAddress, said } from "./bars.js";
import { h, jobAddress, svg } from "./dom.js";
import { ask, keyOf, listen, store } from "./store.js";

const MOST_DOTS = 400; // of a stage
const MOST_GROUPS = 30;
const AGAIN_MS = 2000; // between two readings
const ZOOMS = [0.25, 0.35, 0.5, 0.7, 0.85, 1, 1.25, 1.6, 2];
const SMALLEST_FIT = 0.5;

export function graph(place, [wanted]) {
  const names = () => store.head.studies.map((told) => told.study);
  const study = wanted ?? names()[0];
  if (study == null) {
    place.append(h("p", {}, "No studies yet."));
    return () => {};
  }
  let known = { stages: [], arrows: [], axes: [] }, zoom = null, gone = false, again = null;
  let repaint = new Map(); // what to do for each job that changes
  const told = h("p", { class: "quiet", role: "status", id: "told" }, "Reading the plan …");
  const which = h("select", { id: "study", onchange: () => { location.hash = `#/graph/${encodeURIComponent(which.value)}`; } },
    names().map((name) => h("option", { value: name, selected: name === study }, name)));
  const axis = h("select", { id: "by", onchange: () => load() }, h("option", { value: "" }, "nothing"));
  const plane = h("div", { class: "plane" });
  const canvas = h("div", { class: "canvas", tabindex: 0, role: "region", "aria-label": `Graph of ${study}` }, plane);
  place.append(h("h1", { class: "hidden" }, "Graph"),
    h("p", { class: "choose" }, h("label", { for: "study" }, "study"), which, h("label", { for: "by" }, "jobs grouped by"), axis,
      h("button", { id: "smaller", "aria-label": "smaller", onclick: () => step(-1) }, "−"),
      h("button", { id: "larger", "aria-label": "larger", onclick: () => step(1) }, "+"),
      h("button", { id: "fit", onclick: () => fit() }, "fit")),
    told, canvas);

  const rowOf = (job) => store.rows.get(keyOf(study, job));
  const address = (stage, where) => jobsAddress([`study == ${JSON.stringify(study)}`, `stage == ${JSON.stringify(stage)}`, where].filter(Boolean).join(" and "));
  const onChange = (job, paint) => repaint.set(job, [...(repaint.get(job) ?? []), paint]);

  function scale(value) {
    zoom = value;
    plane.style.transform = `scale(${zoom})`;
    plane.style.marginBottom = `${(zoom - 1) * plane.offsetHeight}px`; // as much room as it takes
  }
  const fit = () => scale(Math.max(SMALLEST_FIT, Math.min(1, canvas.clientWidth / plane.scrollWidth, canvas.clientHeight / plane.offsetHeight)));
  function step(by) {
    const nearest = ZOOMS.reduce((best, each, number) => (Math.abs(each - zoom) < Math.abs(ZOOMS[best] - zoom) ? number : best), 0);
    scale(ZOOMS[Math.min(Math.max(nearest + by, 0), ZOOMS.length - 1)]);
  }

  function dot(job) {
    const link = h("a", { class: "dot", href: jobAddress({ study, job }), tabindex: -1 });
    const paint = () => {
      const state = rowOf(job)?.state ?? "waiting";
      link.dataset.state = state;
      link.title = link.ariaLabel = `${job}: ${state}`;
    };
    paint();
    onChange(job, paint);
    return link;
  }

  /** A bar of some jobs that keeps itself up to date. */
  function share(jobs, label) {
    const made = () => {
      const rows = jobs.map(rowOf).filter(Boolean), counts = count(rows);
      return bar(counts, rows.length || 1, `${label}: ${said(counts)}`);
    };
    let drawn = made();
    const paint = () => { const fresh = made(); drawn.replaceWith(fresh); drawn = fresh; };
    for (const job of jobs) onChange(job, paint);
    return drawn;
  }

  function group(stage, found, hasDots) {
    const label = found.label && (found.where ? h("a", { class: "label", href: address(stage, found.where) }, found.label) : h("span", { class: "label" }, found.label));
    return h("div", { class: "group" }, label, hasDots ? h("span", { class: "dots" }, found.jobs.map(dot)) : found.label ? share(found.jobs, found.label) : null);
  }

  function box(found) {
    const jobs = found.groups.flatMap((each) => each.jobs), more = found.groups.length - MOST_GROUPS;
    const hasDots = jobs.length <= MOST_DOTS;
    const number = jobs.length ? `${jobs.length} ${jobs.length === 1 ? "job" : "jobs"}` : found.planned;
    return h("section", { class: "card box", "data-stage": found.stage },
      h("h2", {}, h("a", { href: address(found.stage) }, found.stage), h("span", { class: "quiet" }, ` ${number}`)),
      jobs.length ? share(jobs, found.stage) : null,
      found.waits.map((why) => h("p", { class: "quiet" }, why)),
      found.groups.slice(0, MOST_GROUPS).map((each) => group(found.stage, each, hasDots)),
      more > 0 ? h("p", {}, h("a", { href: address(found.stage) }, `and ${more} more groups`)) : null);
  }

  function arrows() {
    const at = (stage) => plane.querySelector(`[data-stage="${CSS.escape(stage)}"]`);
    const drawn = known.arrows.map(([from, to]) => {
      const a = at(from), b = at(to);
      const x0 = a.offsetLeft + a.offsetWidth / 2, y0 = a.offsetTop + a.offsetHeight, x1 = b.offsetLeft + b.offsetWidth / 2, y1 = b.offsetTop;
      const bend = Math.max((y1 - y0) / 2, 20);
      return svg("path", { class: "arrow", d: `M${x0} ${y0}C${x0} ${y0 + bend} ${x1} ${y1 - bend} ${x1} ${y1 - 5}`, "marker-end": "url(#tip)" });
    });
    const tip = svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" }, svg("path", { class: "tip", d: "M0 0L8 4L0 8z" }));
    plane.querySelector("svg")?.remove();
    plane.prepend(svg("svg", { class: "arrows", width: plane.offsetWidth, height: plane.offsetHeight, "aria-hidden": "true" }, svg("defs", {}, tip), drawn));
  }

  function draw() {
    const focused = plane.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    repaint = new Map();
    const layers = Map.groupBy(known.stages, (each) => each.layer);
    plane.replaceChildren(...[...layers.keys()].toSorted((a, b) => a - b).map((layer) => h("div", { class: "layer" }, layers.get(layer).map(box))));
    axis.replaceChildren(...["", ...known.axes].map((name) => h("option", { value: name, selected: name === known.by }, name || "nothing")));
    told.textContent = `${known.stages.length} ${known.stages.length === 1 ? "stage" : "stages"}; a dot is a job, and leads to it; a stage or group leads to its jobs in the table`;
    if (zoom == null) fit();
    arrows();
    if (focused) plane.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  }

  async function load() {
    try {
      const by = axis.value;
      known = { by, ...(await ask("graph", { study, by })) };
      if (!gone) draw();
    } catch (error) {
      if (!gone) told.textContent = error.message;
    }
  }

  const stop = listen((keys) => {
    const jobs = [...keys].filter((key) => key.startsWith(`${study}/`)).map((key) => key.slice(study.length + 1));
    for (const paint of new Set(jobs.flatMap((job) => repaint.get(job) ?? []))) paint();
    if (jobs.some((job) => repaint.has(job) !== Boolean(rowOf(job)))) again ??= setTimeout(() => { again = null; load(); }, AGAIN_MS);
  });
  load();
  return () => {
    gone = true;
    stop();
    clearTimeout(again);
  };
}
