// How many jobs are in each state: as a bar, as a text, and where to look at them.

import { h } from "./dom.js";
import { store } from "./store.js";

export const count = (rows) => {
  const found = new Map(store.head.order.map((state) => [state, 0]));
  for (const row of rows) found.set(row.state, found.get(row.state) + 1);
  return [...found].filter(([, number]) => number);
};

export const said = (counts) => counts.map(([state, number]) => `${number} ${state}`).join(", ") || "no jobs yet";
export const jobsAddress = (text) => `#/jobs?where=${encodeURIComponent(text)}`;

export function bar(counts, total, label) {
  const ordered = counts.toSorted(([a], [b]) => BAR.indexOf(a) - BAR.indexOf(b));
  const parts = ordered.map(([state, number]) =>
    h("span", { "data-state": state, title: `${number} ${state}`, style: { flexGrow: number / total } }));
  return h("div", { class: "bar", role: "img", "aria-label": label }, parts);
}
const BAR = ["succeeded", "running", "gating", "stopping", "stalled", "queued", "submitting", "backoff", "held", "failed", "cancelled", "skipped", "waiting"];
