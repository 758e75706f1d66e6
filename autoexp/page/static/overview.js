// Five seconds: what needs a person, how far each stage is, what it has cost.

import { bar, count, jobsAddress, said } from "./bars.js";
import { age, h, jobLink, stateMark } from "./dom.js";
import { listen, now, store } from "./store.js";

const TROUBLE = ["failed", "stalled", "held"];
const MOST = 8;
const OVER = ["succeeded", "failed", "cancelled", "skipped"];

function stage(study, name, rows) {
  const counts = count(rows);
  const over = rows.filter((row) => OVER.includes(row.state)).length;
  return h("li", {},
    h("a", { class: "name", href: jobsAddress(`study == "${study}" and stage == "${name}"`) }, name),
    bar(counts, rows.length || 1, `${name}: ${said(counts)}`),
    h("span", { class: "number" }, `${over}/${rows.length}`),
    h("span", { class: "quiet said" }, said(counts)));
}

function hours(told) {
  const { budget, used, promised } = told.gpu_hours;
  if (budget == null) return used ? h("p", {}, `GPU hours: ${used} used; no budget`) : null;
  const part = (value, state) => h("span", { "data-state": state, style: { flexGrow: Math.min(value / budget, 1) } });
  const rest = Math.max(budget - used - promised, 0);
  return h("div", { class: "hours" },
    h("p", {}, `GPU hours: ${told.budget}`),
    h("div", { class: "bar", role: "img", "aria-label": told.budget }, part(used, "succeeded"), part(promised, "running"), part(rest, "waiting")));
}

function outlook(told, rows) {
  const left = rows.filter((row) => row.left_s != null);
  const trainings = left.length === 1 ? "The training that runs" : `The ${left.length} trainings that run`;
  const parts = [];
  if (store.head.watcher && told.done_at != null) parts.push(`At this pace all of it is done in about ${age(Math.max(told.done_at - now(), 0))}.`);
  if (left.length) parts.push(`${trainings} will be done in about ${age(Math.max(...left.map((row) => row.left_s)))}.`);
  return parts.length ? h("p", {}, parts.join(" ")) : null;
}

function study(told, rows) {
  const stages = [...new Set([...told.stages, ...rows.map((row) => row.stage)])];
  const counts = count(rows);
  return h("section", { class: "card" },
    h("h2", {}, h("a", { href: jobsAddress(`study == "${told.study}"`) }, told.study)),
    h("p", { class: "counts" }, counts.map(([state, number]) =>
      h("a", { href: jobsAddress(`study == "${told.study}" and state == "${state}"`), "data-state": state }, `${number} ${state}`))),
    outlook(told, rows),
    hours(told),
    h("ul", { class: "stages" }, stages.map((name) => stage(told.study, name, rows.filter((row) => row.stage === name)))));
}

function trouble(rows) {
  const found = TROUBLE.flatMap((state) => rows.filter((row) => row.state === state));
  if (!found.length) return null;
  const more = found.length - MOST;
  return h("section", { class: "card trouble" },
    h("h2", {}, "Needs a person"),
    h("ul", {}, found.slice(0, MOST).map((row) => h("li", {}, stateMark(row.state), jobLink(row), h("span", { class: "quiet" }, row.reason)))),
    more > 0 ? h("p", {}, h("a", { href: jobsAddress('state in ["failed", "stalled", "held"]') }, `and ${more} more`)) : null);
}

export function overview(place) {
  const box = h("div", { id: "overview" });
  place.append(h("h1", { class: "hidden" }, "Overview"), box);
  const draw = () => {
    const rows = [...store.rows.values()];
    const studies = store.head.studies.map((told) => study(told, rows.filter((row) => row.study === told.study)));
    box.replaceChildren(...[trouble(rows), ...(studies.length ? studies : [h("p", {}, "No studies yet. Plan one: ", h("code", {}, "autoexp plan RECIPE"))])].filter(Boolean));
  };
  draw();
  return listen(draw);
}
