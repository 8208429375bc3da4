// The differences of two moments, in words as well as in colours.

import { h, keyed, plural, say } from "./dom.js";
import { shown } from "./past.js";
import { bringBackKey } from "./return.js";

const KINDS = { added: "+", changed: "~", removed: "−" };

/** Shows the rows; with `canReturn`, each key that was different then can be brought back. */
export function renderDiff(list, answer, { from }, canReturn) {
  const sentence = list.previousElementSibling;
  const more =
    answer.total > answer.rows.length ? ` The first ${answer.rows.length} are shown.` : "";
  say(
    sentence,
    answer.total === 0
      ? "Nothing: both moments hold the same."
      : `${plural(answer.total, "key")} differ${answer.total === 1 ? "s" : ""}.${more}`,
  );
  const name = (row) => `${from}/${row.kind}/${row.key}/${canReturn}`;
  keyed(
    list,
    answer.rows,
    name,
    (row) => makeRow(row, from, canReturn),
    (element, row) => {
      const values = [...element.querySelectorAll("del, ins")];
      for (const value of values) {
        say(value, shown(value.tagName === "DEL" ? row.before : row.after));
      }
    },
  );
}

function makeRow(row, from, canReturn) {
  const values = [];
  if (row.kind !== "added") values.push(h("del"));
  if (row.kind === "changed") values.push(" → ");
  if (row.kind !== "removed") values.push(h("ins"));
  const element = h(
    "li",
    { "data-kind": row.kind },
    h("i", { "aria-hidden": "true", text: KINDS[row.kind] }),
    h(
      "div",
      {},
      h("code", { text: row.key }),
      h("span", { class: "small muted", text: ` ${row.kind} ` }),
      ...values,
    ),
  );
  if (canReturn && row.kind !== "added" && !row.key.includes("\\x")) {
    const button = h("button", { type: "button", class: "small", text: "Bring back" });
    button.setAttribute("aria-label", `Bring back ${row.key}`);
    button.addEventListener("click", () => bringBackKey(from, row.key));
    element.append(button);
  }
  return element;
}
