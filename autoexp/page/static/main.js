// Which view the address names, and what stands above all of them.

import { compare } from "./compare.js";
import { h } from "./dom.js";
import { failures } from "./failures.js";
import { graph } from "./graph.js";
import { job } from "./job.js";
import { jobs } from "./jobs.js";
import { overview } from "./overview.js";
import { connect, listen, notices, store, watcherText } from "./store.js";
import { timeline } from "./timeline.js";

const place = document.getElementById("view");
const VIEWS = { "": overview, jobs, graph, timeline, curves: compare, failures, job };
let leave = () => {};
let noticed = "";

function show() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...words] = path.split("/").map(decodeURIComponent);
  leave();
  place.replaceChildren();
  leave = (VIEWS[name] ?? overview)(place, words, new URLSearchParams(query)) ?? (() => {});
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = link.getAttribute("href") === `#/${name === "job" ? "jobs" : name}`;
    isHere ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
}

function frame() {
  const found = notices();
  const text = found.map((notice) => notice.textContent).join("\n");
  if (text !== noticed) {
    noticed = text;
    document.getElementById("notices").replaceChildren(...found);
  }
  document.getElementById("watcher").textContent = watcherText(store.head);
  const needy = [...store.rows.values()].filter((row) => row.state === "failed" || row.state === "stalled").length;
  document.title = `${needy ? `(${needy}) ` : ""}autoexp ${store.head.root.split("/").pop()}`;
}

history.replaceState(null, "", location.pathname + location.hash); // the token is in the cookie by now
addEventListener("hashchange", () => { show(); place.focus(); scrollTo(0, 0); });
try {
  await connect();
  listen(frame);
  frame();
  show();
} catch (error) {
  place.replaceChildren(h("p", { class: "notice bad" }, error.message));
}
