// What happened, in plain words, with the command behind it.

import { clock, commandLine, h, keyed, set } from "./dom.js";

const KEPT = 500;

const byId = (id) => document.getElementById(id);

let lines = [];

const GLYPHS = { ok: "✓", warn: "◐", bad: "✕", plain: "·" };

function makeLine(line) {
  const element = h(
    "li",
    { "data-tone": line.tone },
    h("time", { datetime: new Date(line.time).toISOString(), text: clock(line.time) }),
    h("i", { "aria-hidden": "true", text: GLYPHS[line.tone] ?? "·" }),
    h("span", { text: line.says }),
  );
  if (line.command) element.append(commandLine(line.command));
  return element;
}

function show() {
  const kind = byId("filter").value;
  const shown = lines.filter((line) => kind === "all" || line.kind === kind);
  keyed(byId("feed"), shown, (line) => line.id, makeLine);
}

/** A line of the stream, which tells the last ones again each time that it begins. */
export function addLine(line) {
  if (lines.some((had) => had.id === line.id && had.time === line.time)) return;
  lines = [line, ...lines].sort((a, b) => b.time - a.time || b.id - a.id).slice(0, KEPT);
  if (!addLine.due)
    addLine.due = requestAnimationFrame(() => {
      addLine.due = null;
      show();
    });
}

/** Saves what this page knows as a file. */
function save(state) {
  const report = { saved: new Date().toISOString(), state, lines: [...lines].reverse() };
  const file = new Blob([JSON.stringify(report, null, 2)], { type: "application/json" });
  const link = h("a", { href: URL.createObjectURL(file), download: "cairn-playground.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function startFeed(currentState) {
  byId("filter").addEventListener("change", show);
  byId("save").addEventListener("click", () => save(currentState()));
  set(byId("feed"), "aria-live", "off");
}
