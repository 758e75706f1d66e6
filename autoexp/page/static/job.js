// One job: why it is where it is, what it has done, what its log says now, and what can be asked of it.

import { curve } from "./curve.js";
import { age, h, jobLink, pre, stateMark, table } from "./dom.js";
import { log } from "./log.js";
import { ask, keyOf, listen, now, store } from "./store.js";

const BEGUN = ["gating", "running", "stalled", "stopping"];
const GRAVE = ["cancel", "restart", "succeed", "fail"]; // these take a second click
const SHORTEST_MS = 1000;
const CURVES_MS = 10000;
const ANSWER_MS = 15000;

const clock = (text) => (text ? text.slice(0, 19).replace("T", " ") : "");
const lasted = (run) => age((run.ended ? Date.parse(run.ended) / 1000 : now()) - Date.parse(run.began ?? run.submitted) / 1000);
const words = (evidence) => Object.entries(evidence).map(([key, value]) => `${key}=${typeof value === "object" ? JSON.stringify(value) : value}`).join(" ");

const section = (title, ...children) => h("section", { class: "card" }, h("h2", {}, title), children);

function moves(told) {
  const rows = told.moves.toReversed().map((move) => [
    clock(move.at), move.attempt || "", move.trigger.replaceAll("_", " "),
    move.from === move.to ? h("span", { class: "quiet" }, "stays") : stateMark(move.to),
    h("span", { class: "quiet" }, words(move.evidence)),
  ]);
  return section("Moves", rows.length ? table(["at (UTC)", "attempt", "what", "to", "evidence"], rows, "Moves") : h("p", { class: "quiet" }, "None yet."));
}

function runs(told) {
  if (!told.runs.length) return null;
  const rows = told.runs.toReversed().map((run) => [
    run.attempt, clock(run.began ?? run.submitted), lasted(run), run.host ?? "", run.id ?? "",
    run.ending ? h("b", { "data-ending": run.ending }, run.ending.replaceAll("_", " ")) : run.ended ? "" : "under way",
    h("span", { class: "quiet" }, run.reason ?? ""),
  ]);
  return section("Attempts", table(["attempt", "began (UTC)", "for", "host", "id", "ending", "why"], rows, "Attempts"));
}

function checkpoints(told) {
  if (!told.checkpoints.length) return null;
  const rows = told.checkpoints.toReversed().map(({ iteration, jobs }) => [
    iteration, jobs.map(([job, state]) => h("p", {}, stateMark(state), jobLink({ study: told.study, job }))),
  ]);
  return section("Checkpoints", table(["iteration", "jobs for it"], rows, "Checkpoints"));
}

function answers(told) {
  if (!told.answers.length) return null;
  const rows = told.answers.map((answer) => [clock(answer.at), answer.marker, answer.verdict, answer.refused ?? (answer.to ? `${answer.from} → ${answer.to}` : answer.note ?? ""), answer.said ?? ""]);
  return section("Markers", table(["answered (UTC)", "marker", "", "what came of it", "reason given"], rows, "Markers"));
}

function buttons(told, reload) {
  const said = h("p", { role: "status", class: "answer" });
  const reason = h("input", { type: "text", id: "reason", maxlength: 500, placeholder: "why, for the journal" });
  const button = (verb) => {
    let armed = !GRAVE.includes(verb);
    const press = async () => {
      if (!armed) {
        armed = true;
        self.textContent = `really ${verb}?`;
        self.classList.add("armed");
        return;
      }
      said.textContent = `${verb}: dropping the marker …`;
      try {
        said.textContent = await mark(told, verb, reason.value);
      } catch (error) {
        said.textContent = error.message;
      }
      reload();
    };
    const self = h("button", { type: "button", "data-verb": verb, onclick: press }, verb);
    return self;
  };
  const list = h("div", { class: "verbs" });
  let shown = new Map();
  const update = (verbs) => {
    if ([...shown.keys()].join() === verbs.join()) return;
    shown = new Map(verbs.map((verb) => [verb, shown.get(verb) ?? button(verb)])); // the same ones: a first click stays
    list.replaceChildren(...shown.values());
  };
  update(told.verbs);
  return { element: section("Steer", h("label", { for: "reason" }, "reason "), reason, list, said), update };
}

/** Drop a marker, and wait for what comes of it. */
async function mark({ study, job }, verb, reason) {
  const dropped = await ask("mark", {}, { study, job, verb, reason });
  if (!dropped.watched) return `${verb}: dropped. No watcher runs; the next one obeys it.`;
  for (const until = Date.now() + ANSWER_MS; Date.now() < until;) {
    const found = (await ask("answers", { study, job })).find((answer) => answer.marker === verb && answer.at >= dropped.at);
    if (found) return found.verdict === "refused" ? `${verb} was refused: ${found.refused}` : `${verb} was taken: ${found.to ? `${found.from} → ${found.to}` : found.note}`;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return `${verb}: dropped; the watcher has not answered yet.`;
}

export function job(place, [study, name]) {
  const who = { study, job: name };
  const key = keyOf(study, name);
  const title = h("h1", {}, name), state = h("p", { class: "headline" }), why = pre({ class: "why", id: "why" });
  const [steer, curves, runs_, saved, asked, moved, config] = Array.from({ length: 7 }, () => h("div", {}));
  const lines = log(who);
  place.append(h("p", { class: "quiet" }, `${study} /`), title, state, h("div", { class: "columns" },
    h("div", {}, section("Why", why), steer, curves, lines.element, runs_, moved),
    h("div", {}, saved, asked, config)));
  let steering = null, loading = false, again = false, timer = null, gone = false, drawnAt = 0;

  function headline() {
    const row = store.rows.get(key);
    if (!row) return;
    state.replaceChildren(stateMark(row.state), ` ${row.progress} `, h("span", { class: "quiet" }, row.since ? `for ${age(now() - Date.parse(row.since) / 1000)}` : ""), row.left_s == null ? "" : `, about ${age(row.left_s)} left`);
  }

  async function load() {
    if (loading) { again = true; return; }
    loading = true;
    try {
      draw(await ask("job", who));
    } catch (error) {
      if (!gone) why.textContent = error.message;
    }
    loading = false;
    if (again && !gone) { again = false; clearTimeout(timer); timer = setTimeout(load, SHORTEST_MS); }
  }

  function draw(told) {
    if (gone) return;
    why.textContent = told.text.join("\n");
    if (store.head.may_mark) {
      if (steering) steering.update(told.verbs);
      else { steering = buttons(told, load); steer.replaceChildren(steering.element); }
    }
    const put = (box, content) => box.replaceChildren(...(content ? [content] : []));
    put(runs_, runs(told));
    put(moved, moves(told));
    put(saved, checkpoints(told));
    put(asked, answers(told));
    if (!config.firstChild) config.append(section("By hand", pre({}, told.commands.join("\n")), told.links.map((url) => h("p", {}, h("a", { href: url, rel: "noopener noreferrer", target: "_blank" }, url)))), section("Configuration", h("p", { class: "quiet" }, `${told.dir}/job.yaml`), pre({}, told.config)));
    lines.follow(told);
    chart();
  }

  async function chart() {
    if (Date.now() - drawnAt < CURVES_MS) return;
    drawnAt = Date.now();
    const told = await ask("curves", who).catch(() => null);
    if (gone || !told) return;
    const found = [curve("Loss", told.points.map(([x, loss]) => [x, loss])), curve("Seconds per iteration", told.points.map(([x, , seconds]) => [x, seconds]))].filter(Boolean);
    const note = told.note ? h("p", { class: "quiet" }, told.note) : null;
    curves.replaceChildren(...(found.length || note ? [section("Curves", h("div", { class: "figures" }, found), note)] : []));
  }

  headline();
  load();
  const stop = listen((keys) => {
    headline();
    if (keys.has(key)) load();
  });
  const ticking = setInterval(() => {
    headline();
    if (BEGUN.includes(store.rows.get(key)?.state)) chart();
  }, 1000);
  return () => {
    gone = true;
    stop();
    lines.stop();
    clearTimeout(timer);
    clearInterval(ticking);
  };
}
