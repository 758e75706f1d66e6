// A line over iterations: as much of a chart as one needs to see whether a training goes well.

import { h, svg } from "./dom.js";

const WIDTH = 560, HEIGHT = 200, LEFT = 66, BOTTOM = 26, TOP = 8, RIGHT = 8;

const short = (value) => (Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(Number(value.toPrecision(3))));

export function curve(title, points) {
  const known = points.filter(([, y]) => y != null);
  if (known.length < 2) return null;
  const xs = known.map(([x]) => x), ys = known.map(([, y]) => y);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const toX = (x) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
  const toY = (y) => TOP + (1 - (y - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM);
  const ticks = y0 === y1 ? [y0] : [y0, (y0 + y1) / 2, y1];
  const last = known.at(-1);
  return h("figure", {},
    h("figcaption", {}, title, h("span", { class: "quiet" }, ` ${short(last[1])} at ${short(last[0])}`)),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: from ${short(ys[0])} to ${short(last[1])}` },
      ticks.map((y) => [
        svg("line", { class: "tick", x1: LEFT, x2: WIDTH - RIGHT, y1: toY(y), y2: toY(y) }),
        svg("text", { x: LEFT - 6, y: toY(y) + 4, "text-anchor": "end" }, short(y)),
      ]),
      svg("text", { x: LEFT, y: HEIGHT - 6 }, short(x0)),
      svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, short(x1)),
      svg("polyline", { class: "line", points: known.map(([x, y]) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`).join(" ") })));
}
