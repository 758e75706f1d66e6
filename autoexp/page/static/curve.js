// Lines over iterations: as much of a chart as one needs to see whether trainings go well, and which goes better.

import { h, svg } from "./dom.js";

const WIDTH = 560, HEIGHT = 200, LEFT = 66, BOTTOM = 26, TOP = 8, RIGHT = 8;
const COLOURS = 8;

export const short = (value) => (value == null ? "" : Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(Number(value.toPrecision(3))));

/** How a line is told from others: a colour, and dashes once the colours are used up. */
export const lineStyle = (number) => ({ class: `line s${(number % COLOURS) + 1}`, "stroke-dasharray": ["", "6 3", "2 3"][Math.floor(number / COLOURS) % 3] || null });

function between(all) {
  const xs = all.map(([x]) => x), ys = all.map(([, y]) => y);
  const range = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  return [...range(xs), ...range(ys)];
}

/** A chart of one or several lines, each with a label and its points; null if none has two points. */
export function chart(title, lines, note = "") {
  const drawn = lines.map(({ label, points }) => ({ label, points: points.filter(([, y]) => y != null) })).filter(({ points }) => points.length > 1);
  if (!drawn.length) return null;
  const [x0, x1, y0, y1] = between(drawn.flatMap(({ points }) => points));
  const toX = (x) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
  const toY = (y) => TOP + (1 - (y - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM);
  const ticks = y0 === y1 ? [y0] : [y0, (y0 + y1) / 2, y1];
  const told = drawn.map(({ label, points }) => `${label ? `${label} ` : ""}from ${short(points[0][1])} to ${short(points.at(-1)[1])}`).join("; ");
  return h("figure", {},
    h("figcaption", {}, title, h("span", { class: "quiet" }, ` ${note}`)),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${told}` },
      ticks.map((y) => [
        svg("line", { class: "tick", x1: LEFT, x2: WIDTH - RIGHT, y1: toY(y), y2: toY(y) }),
        svg("text", { x: LEFT - 6, y: toY(y) + 4, "text-anchor": "end" }, short(y)),
      ]),
      svg("text", { x: LEFT, y: HEIGHT - 6 }, short(x0)),
      svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, short(x1)),
      drawn.map(({ label, points }) => svg("polyline", { ...lineStyle(lines.findIndex((line) => line.label === label)), points: points.map(([x, y]) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`).join(" ") },
        svg("title", {}, label)))));
}

/** One line, with its last value. */
export function curve(title, points) {
  const last = points.findLast(([, y]) => y != null);
  return last ? chart(title, [{ label: "", points }], `${short(last[1])} at ${short(last[0])}`) : null;
}
