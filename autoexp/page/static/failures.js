// What went wrong, by class, with the evidence; what failed and is tried again stands there too.

import { h, jobLink, pre, stateMark } from "./dom.js";
import { listen, store } from "./store.js";

const isTrouble = (row) => row.state === "failed" || row.state === "stalled" || (row.ending && row.ending !== "success" && ["backoff", "held"].includes(row.state));
const classOf = (row) => (row.state === "stalled" ? "stalled" : row.ending ?? "never began");
const MOST = 50;

function group(name, rows) {
  const byReason = Map.groupBy(rows, (row) => row.reason);
  return h("section", { class: "card" },
    h("h2", {}, name.replaceAll("_", " "), h("span", { class: "quiet" }, ` ${rows.length} ${rows.length === 1 ? "job" : "jobs"}`)),
    [...byReason].toSorted(([, a], [, b]) => b.length - a.length).map(([reason, same]) => h("div", { class: "evidence" },
      pre({}, reason || "no reason is known"),
      h("ul", {}, same.slice(0, MOST).map((row) => h("li", {}, stateMark(row.state), jobLink(row), h("span", { class: "quiet" }, `attempt ${row.attempt}`)))),
      same.length > MOST ? h("p", { class: "quiet" }, `and ${same.length - MOST} more`) : null)));
}

export function failures(place) {
  const box = h("div", {});
  place.append(h("h1", { class: "hidden" }, "Failures"), box);
  const draw = () => {
    const groups = Map.groupBy([...store.rows.values()].filter(isTrouble), classOf);
    const sorted = [...groups].toSorted(([, a], [, b]) => b.length - a.length);
    box.replaceChildren(...(sorted.length ? sorted.map(([name, rows]) => group(name, rows)) : [h("p", {}, "Nothing has failed.")]));
  };
  draw();
  return listen(draw);
}
