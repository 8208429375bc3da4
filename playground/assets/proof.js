// The proof: what was before the loss, what is after the restore, and whether they are equal.

import { h, keyed, say, set } from "./dom.js";

const byId = (id) => document.getElementById(id);

/** As it must be; not so; there is nothing to compare, or nobody can tell. */
const VERDICTS = new Map([
  [true, ["✓", "ok"]],
  [false, ["✕", "bad"]],
  [null, ["·", "wait"]],
]);

export function renderProof(proof) {
  byId("proof").hidden = proof === null;
  if (proof === null) return;
  const heads = byId("proof").querySelectorAll("thead th");
  proof.heads.forEach((head, n) => say(heads[n + 1], head));
  set(byId("proof"), "data-tone", proof.equal ? "ok" : "bad");
  say(byId("proof-says"), `${proof.equal ? "=" : "≠"} ${proof.says}`);
  keyed(byId("proof-rows"), proof.rows, (row) => row.what, makeRow, updateRow);
}

function makeRow() {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }),
    h("td", { class: "value" }),
    h("td", { class: "value" }),
    h("td", { class: "verdict" }),
  );
}

function updateRow(element, row) {
  const [what, before, after, verdict] = element.children;
  say(what, row.what);
  say(before, row.before);
  say(after, row.after);
  const [glyph, tone] = VERDICTS.get(row.ok);
  say(verdict, `${glyph} ${row.verdict}`);
  set(verdict, "data-tone", tone);
}
