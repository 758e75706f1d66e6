// Trainings side by side: their losses and speeds in one chart each, and the last values in a table.

import { chart, lineStyle, short } from "./curve.js";
import { h, jobLink, stateMark, svg, table } from "./dom.js";
import { ask, keyOf, store } from "./store.js";

const MOST = 16; // lines in a chart
const MOST_ASKED = 64; // jobs whose logs are read for them
const SOON_MS = 600;
const AGAIN_MS = 30000;

const last = (points, column) => points.findLast((point) => point[column] != null)?.[column];

/** Which jobs may have something to show, those that run before others. */
function candidates(keys) {
  const rows = [...(keys ?? store.rows.keys())].map((key) => store.rows.get(key)).filter((row) => row && row.attempt > 0 && row.progress);
  return rows.toSorted((a, b) => (b.state === "running") - (a.state === "running") || (a.job < b.job ? -1 : 1));
}

export function compare(place, _, query) {
  let asking = 0, again = null, soon = null;
  const text = h("input", { type: "search", id: "where", value: query.get("where") ?? "", placeholder: 'stage == "pretrain" and lr < 1e-3', spellcheck: "false", autocomplete: "off", "aria-label": "Choose trainings" });
  const told = h("p", { class: "quiet", role: "status", id: "told" });
  const box = h("div", {});
  place.append(h("h1", { class: "hidden" }, "Curves"), h("form", { class: "choose", onsubmit: (event) => { event.preventDefault(); load(); } }, h("label", { for: "where" }, "where"), text), told, box);

  async function read(rows, turn) {
    const found = [];
    for (const row of rows.slice(0, MOST_ASKED)) {
      if (turn !== asking || found.length === MOST) break;
      const { points } = await ask("curves", { study: row.study, job: row.job }).catch(() => ({ points: [] }));
      if (points.length > 1) found.push({ row, label: keyOf(row.study, row.job), points });
    }
    return found;
  }

  function draw(found, rows) {
    const lines = (column) => found.map(({ label, points }) => ({ label, points: points.map((point) => [point[0], point[column]]) }));
    const swatch = (number) => svg("svg", { class: "swatch", viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("line", { ...lineStyle(number), x1: 0, x2: 24, y1: 4, y2: 4 }));
    const cells = found.map(({ row, points }, number) => [
      h("span", {}, swatch(number), jobLink(row, store.head.studies.length > 1 ? keyOf(row.study, row.job) : row.job)), stateMark(store.rows.get(keyOf(row.study, row.job))?.state ?? row.state),
      short(points.at(-1)[0]), short(last(points, 1)), short(last(points, 2)),
    ]);
    const left = rows.length - found.length;
    told.textContent = found.length === MOST && left ? `the first ${MOST} of ${rows.length}: choose fewer` : `${found.length} ${found.length === 1 ? "training" : "trainings"}`;
    box.replaceChildren(...(found.length ? [
      h("div", { class: "figures" }, [chart("Loss", lines(1)), chart("Seconds per iteration", lines(2))].filter(Boolean)),
      table(["job", "state", "iteration", "loss", "seconds per iteration"], cells, "Last values"),
    ] : [h("p", {}, "No training chosen here has told a loss yet.")]));
  }

  async function load() {
    const turn = ++asking, wanted = text.value.trim();
    clearTimeout(again);
    history.replaceState(null, "", wanted ? `#/curves?where=${encodeURIComponent(wanted)}` : "#/curves");
    try {
      const keys = wanted ? (await ask("where", { text: wanted })).map(([study, job]) => keyOf(study, job)) : null;
      const rows = candidates(keys);
      text.classList.remove("bad");
      if (!box.firstChild) told.textContent = "Reading the logs …";
      const found = await read(rows, turn);
      if (turn === asking) draw(found, rows);
    } catch (error) {
      if (turn !== asking) return;
      text.classList.add("bad");
      told.textContent = error.message;
    }
    if (turn === asking) again = setTimeout(load, AGAIN_MS);
  }

  text.addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(load, SOON_MS); });
  load();
  return () => {
    asking += 1;
    clearTimeout(again);
    clearTimeout(soon);
  };
}
