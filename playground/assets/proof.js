// The proof: what was before the loss, what is after the restore, and whether they are equal.

import { h, keyed, say, set } from "./dom.js";

const byId = (id) => document.getElementById(id);

export function renderProof(proof) {
  byId("proof").hidden = proof === null;
  if (proof === null) return;
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
  say(verdict, `${row.ok ? "✓" : "✕"} ${row.verdict}`);
  set(verdict, "data-tone", row.ok ? "ok" : "bad");
}
