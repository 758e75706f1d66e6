// The end of a job's log, read on while the page is in sight.

import { h, pre } from "./dom.js";
import { ask } from "./store.js";

const EVERY_MS = 1000;
const MOST_LINES = 2000;

export function log(who) {
  const box = pre({ class: "log", role: "log", "aria-label": "Log" });
  const rest = h("span", { class: "rest" });
  const which = h("select", { "aria-label": "Attempt", onchange: () => begin(Number(which.value)) });
  const element = h("section", { class: "card", hidden: true }, h("h2", {}, "Log ", which), box);
  let attempt = 0, newest = 0, place = null, reading = false, gone = false, matches = [];

  function begin(number) {
    [attempt, place] = [number, null];
    which.value = String(number);
    box.replaceChildren(rest);
    read();
  }

  const toldBy = (text) => matches.find((match) => match.line && match.line === text.trim())?.event;

  function line([text, symptom]) {
    const event = toldBy(text) ?? symptom;
    return h("span", event ? { class: "line told", title: event.replaceAll("_", " ") } : { class: "line" }, `${text}\n`);
  }

  async function read() {
    if (reading || gone || !attempt || document.hidden) return;
    reading = true;
    const asked = attempt;
    try {
      const told = await ask("log", { ...who, attempt, ...(place == null ? {} : { place }) });
      if (asked === attempt && !gone) add(told);
    } catch (error) {
      if (!gone) rest.textContent = error.message;
    }
    reading = false;
    if (asked !== attempt) read();
  }

  function add(told) {
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    if (told.skipped) rest.before(h("span", { class: "line quiet" }, "… earlier lines are in the file\n"));
    rest.before(...told.lines.slice(-MOST_LINES).map(line));
    if (rest.textContent !== told.rest) rest.textContent = told.rest;
    while (box.childElementCount > MOST_LINES + 1) box.firstChild.remove();
    const isFirst = place == null;
    place = told.place;
    if ((isAtEnd && told.lines.length) || isFirst) box.scrollTop = box.scrollHeight;
  }

  const timer = setInterval(read, EVERY_MS);
  return {
    element,
    follow(told) {
      matches = told.matches;
      if (!told.attempt) return;
      element.hidden = false;
      if (told.attempt === newest) return;
      which.replaceChildren(...Array.from({ length: told.attempt }, (_, number) => h("option", { value: number + 1 }, `attempt ${number + 1}`)));
      const wasNewest = attempt === newest;
      newest = told.attempt;
      if (wasNewest) begin(newest);
      else which.value = String(attempt);
    },
    stop() { gone = true; clearInterval(timer); },
  };
}
