// What the server has told: every job's line, kept current by server-sent events. Views listen, and only draw.

import { h, pre } from "./dom.js";

export const store = { head: null, rows: new Map(), connected: false, skew: 0 };
const listeners = new Set();
let version = 0;
let drawing = false;
let changed = new Set();

export const keyOf = (study, job) => `${study}/${job}`;
export const now = () => Date.now() / 1000 + store.skew;

/** Call back, at most once a frame, with the keys of the jobs that have changed. Returns how to stop. */
export function listen(callback) {
  listeners.add(callback);
  return () => listeners.delete(callback);
}

function tell() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const keys = changed;
    changed = new Set();
    for (const callback of [...listeners]) callback(keys);
  });
}

function take(told) {
  if (told.version <= version) return;
  const { rows, gone, ...head } = told;
  version = told.version;
  store.head = head;
  store.skew = told.now - Date.now() / 1000;
  for (const row of rows) {
    store.rows.set(keyOf(row.study, row.job), row);
    changed.add(keyOf(row.study, row.job));
  }
  for (const [study, job] of gone) {
    store.rows.delete(keyOf(study, job));
    changed.add(keyOf(study, job));
  }
  tell();
}

/** Ask the server; what it refuses is an Error with its words. */
export async function ask(name, values = {}, body = undefined) {
  const query = new URLSearchParams(values).toString();
  const settings = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(`api/${name}${query ? `?${query}` : ""}`, settings);
  if (answer.headers.get("content-type")?.startsWith("application/json")) {
    const told = await answer.json();
    if (!told.refused) return told;
    throw new Error(told.refused);
  }
  throw new Error(await answer.text());
}

export async function connect() {
  take(await ask("view"));
  const source = new EventSource(`api/events?after=${version}`);
  source.onopen = () => { store.connected = true; tell(); };
  source.onmessage = (message) => take(JSON.parse(message.data));
  source.onerror = () => { store.connected = false; tell(); };
}

export function notices() {
  const { head } = store;
  const found = [];
  if (!store.connected) found.push(h("p", { class: "notice bad" }, "The page's server does not answer: what you see may be old. If it was ended, start it again: ", h("code", {}, "autoexp serve")));
  if (head.error) found.push(pre({ class: "notice bad" }, head.error));
  if (!head.watcher) found.push(h("p", { class: "notice" }, "No watcher runs: nothing moves until one does. Start one: ", h("code", {}, `autoexp watch ${head.root}`)));
  for (const [name, what] of Object.entries(head.problems)) found.push(h("p", { class: "notice bad" }, h("b", {}, name), ` ${what}`));
  return found;
}

export const watcherText = ({ watcher, observer }) =>
  watcher ? `watched by pid ${watcher.pid} on ${watcher.host}${observer ? ` (${observer})` : ""}` : "not watched";
