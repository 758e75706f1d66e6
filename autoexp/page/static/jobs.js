// The table of all jobs: chosen by the server as --where does, sorted here, and only what is in sight is drawn.

import { age, h, jobAddress, stateMark } from "./dom.js";
import { ask, keyOf, listen, now, store } from "./store.js";

const COLUMNS = [
  ["state", "State", (row) => store.head.order.indexOf(row.state)],
  ["job", "Job", (row) => row.job],
  ["progress", "Progress", (row) => row.share ?? row.iteration ?? -1],
  ["attempt", "Attempt", (row) => row.attempt],
  ["since", "For", (row) => (row.since ? -Date.parse(row.since) : 1)],
  ["reason", "Reason", (row) => row.reason],
];
const SPARE = 10;
const SOON_MS = 400;

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

function line(row, number, height) {
  const share = row.share == null ? null : h("span", { class: "share", role: "img", "aria-label": `${Math.round(row.share * 100)} %` }, h("span", { style: { width: `${row.share * 100}%` } }));
  const who = store.head.studies.length > 1 ? [h("span", { class: "quiet" }, `${row.study}/`), row.job] : row.job;
  return h("div", { class: "row", role: "row", "aria-rowindex": number + 2, style: { transform: `translateY(${number * height}px)` } },
    h("span", { role: "cell" }, stateMark(row.state)),
    h("span", { role: "cell", title: row.job }, h("a", { class: "job", href: jobAddress(row) }, who)),
    h("span", { role: "cell" }, share, row.progress),
    h("span", { role: "cell" }, row.attempt ? `${row.attempt}` : ""),
    h("span", { role: "cell" }, row.since ? age(now() - Date.parse(row.since) / 1000) : ""),
    h("span", { role: "cell", class: "reason quiet", title: row.reason }, row.reason));
}

export function jobs(place, _, query) {
  let chosen = null; // the keys that the expression chooses; all without one
  let sorting = ["state", 1];
  let shown = [];
  let asking = 0;
  const narrow = matchMedia("(max-width: 44rem)");
  const height = () => (narrow.matches ? 58 : 32);
  const text = h("input", { type: "search", id: "where", value: query.get("where") ?? "", placeholder: 'lr < 1e-3 and state == "failed"', spellcheck: "false", autocomplete: "off", "aria-label": "Choose jobs" });
  const told = h("p", { class: "quiet", role: "status", id: "told" });
  const atOnce = h("p", { class: "quiet", id: "at-once" });
  const heads = COLUMNS.map(([name, title]) => h("button", { type: "button", "data-column": name, onclick: () => sortBy(name) }, title));
  const lines = h("div", { class: "lines", role: "presentation" });
  const window_ = h("div", { class: "window", role: "rowgroup", tabindex: 0 }, lines);
  const grid = h("div", { class: "grid", role: "table", "aria-label": "Jobs" },
    h("div", { class: "heads", role: "row" }, heads.map((head) => h("span", { role: "columnheader" }, head))), window_);
  place.append(h("h1", { class: "hidden" }, "Jobs"), h("form", { class: "choose", onsubmit: (event) => { event.preventDefault(); choose(); } }, h("label", { for: "where" }, "where"), text), told, atOnce, grid);

  function sortBy(name) {
    sorting = [name, sorting[0] === name ? -sorting[1] : 1];
    arrange();
  }

  function arrange() {
    const [name, sign] = sorting;
    const value = COLUMNS.find(([column]) => column === name)[2];
    const rows = chosen ? [...chosen].map((key) => store.rows.get(key)).filter(Boolean) : [...store.rows.values()];
    const keyed = rows.map((row) => [value(row), row]);
    keyed.sort(([a, first], [b, second]) => sign * compare(a, b) || compare(first.job, second.job) || compare(first.study, second.study));
    shown = keyed.map(([, row]) => row);
    for (const head of heads) head.parentElement.setAttribute("aria-sort", head.dataset.column === name ? (sign > 0 ? "ascending" : "descending") : "none");
    grid.setAttribute("aria-rowcount", shown.length + 1);
    tellHow();
    if (!text.classList.contains("bad")) told.textContent = chosen ? `${shown.length} of ${store.rows.size} jobs` : `${shown.length} jobs`;
    draw();
  }

  /** Say how a marker is dropped for all that are chosen. */
  function tellHow() {
    const studies = chosen && !text.classList.contains("bad") ? [...new Set(shown.map((row) => row.study))] : [];
    const commands = studies.map((study) => `autoexp mark ${quoted(`${store.head.root}/${study}`)} VERB --where ${quoted(text.value.trim())}`);
    atOnce.replaceChildren(...(commands.length ? ["all of these at once: ", ...commands.map((command) => h("code", {}, command))] : []));
  }

  function draw() {
    const each = height();
    lines.style.height = `${shown.length * each}px`;
    const first = Math.max(0, Math.floor(window_.scrollTop / each) - SPARE);
    const last = Math.min(shown.length, Math.ceil((window_.scrollTop + window_.clientHeight) / each) + SPARE);
    const focused = document.activeElement?.closest?.(".lines") ? document.activeElement.getAttribute("href") : null;
    lines.replaceChildren(...shown.slice(first, last).map((row, number) => line(row, first + number, each)));
    if (focused) lines.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  async function choose() {
    const asked = ++asking;
    const wanted = text.value.trim();
    history.replaceState(null, "", wanted ? `#/jobs?where=${encodeURIComponent(wanted)}` : "#/jobs");
    try {
      const keys = wanted ? await ask("where", { text: wanted }) : null;
      if (asked !== asking) return;
      chosen = keys && new Set(keys.map(([study, job]) => keyOf(study, job)));
      text.classList.remove("bad");
    } catch (error) {
      if (asked !== asking) return;
      text.classList.add("bad");
      told.textContent = error.message;
    }
    arrange();
  }

  let soon = null;
  const later = () => { soon ??= setTimeout(() => { soon = null; choose(); }, SOON_MS); };
  let scrolled = false;
  window_.addEventListener("scroll", () => {
    if (scrolled) return;
    scrolled = true;
    requestAnimationFrame(() => { scrolled = false; draw(); });
  });
  text.addEventListener("input", later);
  addEventListener("resize", draw);
  const ticking = setInterval(draw, 10000); // ages go on
  arrange();
  choose();
  const stop = listen(() => (chosen ? later() : arrange()));
  return () => {
    stop();
    clearTimeout(soon);
    clearInterval(ticking);
    removeEventListener("resize", draw);
    asking += 1;
  };
}
