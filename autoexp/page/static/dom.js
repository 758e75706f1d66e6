// Elements are made here and nowhere else. What comes from a study is always a text node: it is never read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
export const svg = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** A text as it is written; it may scroll, so that keys must reach it. */
export const pre = (properties, ...children) => h("pre", { tabindex: 0, ...properties }, ...children);

export const jobAddress = (row) => `#/job/${encodeURIComponent(row.study)}/${encodeURIComponent(row.job)}`;
export const jobLink = (row, text = row.job) => h("a", { href: jobAddress(row), class: "job" }, text);
export const stateMark = (state) => h("span", { class: "state", "data-state": state }, state);

/** Spell a duration in its two largest units, as `autoexp status` does. */
export function age(seconds) {
  if (seconds == null) return "";
  const whole = Math.max(0, Math.floor(seconds));
  const units = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "m"], [whole % 60, "s"]];
  return units.filter(([count]) => count).slice(0, 2).map(([count, unit]) => `${count}${unit}`).join("") || "0s";
}

/** A table of texts, or of elements. */
export function table(heads, rows, caption) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {},
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell)))))));
}
