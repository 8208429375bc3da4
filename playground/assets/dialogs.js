// Dialogs. What destroys says what goes and what stays, and waits on the harmless button.

import { get, Refused } from "./api.js";
import { commandLine, h, keyed, say } from "./dom.js";

let count = 0;

/** Opens a dialog, and takes it away when it is closed. */
function open(title, content, buttons, kind = "plain") {
  count += 1;
  const id = `dialog-${count}`;
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id, text: title }),
    ...content,
    h("div", { class: "row end" }, ...buttons),
  );
  const dialog = h("dialog", { "aria-labelledby": id, "data-kind": kind }, form);
  dialog.addEventListener("close", () => dialog.remove());
  document.getElementById("dialogs").append(dialog);
  dialog.showModal();
  return dialog;
}

const close = (text = "Close") => h("button", { value: "", text, autofocus: true });

const list = (title, items) => [
  h("h3", { text: title }),
  h("ul", {}, ...items.map((text) => h("li", { text }))),
];

/** Asks before something goes. Escape and the first button keep everything as it is. */
export function confirm({ title, deleted, stays, command, keep, go, run }) {
  const going = h("button", { value: "go", class: "danger filled", text: go });
  const content = [...list("This goes", deleted), ...list("This stays", stays)];
  if (command) content.push(h("h3", { text: "The same by hand" }), commandLine(command));
  const dialog = open(title, content, [close(keep), going], "danger");
  dialog.addEventListener("close", () => dialog.returnValue === "go" && run());
}

/** Everything that can be done to a machine, as command lines. */
export function showCommands(machine) {
  const lines = Object.entries(machine.commands ?? {}).filter(([, command]) => command);
  const rows = lines.map(([verb, command]) => [h("h3", { text: verb }), commandLine(command)]);
  const facts = h(
    "dl",
    { class: "facts" },
    h("div", {}, h("dt", { text: "address" }), h("dd", { text: machine.address ?? "–" })),
    h("div", {}, h("dt", { text: "process" }), h("dd", { text: machine.pid ?? "–" })),
  );
  open(`${machine.id}, by hand`, [facts, ...rows.flat()], [close()]);
}

/** The most of a log that is kept on the page, in characters. */
const LOG_MAX = 200_000;

const LOG_EVERY = 1000;

/** What a process has logged, and goes on to log while the dialog is open. */
export function showLog(machine) {
  const text = h("pre", { tabindex: "0", "aria-label": `Log of ${machine.id}` });
  const dialog = open(`Log of ${machine.id}`, [text], [close()], "wide");
  let from = 0;
  const more = async () => {
    if (!dialog.open) return;
    try {
      const log = await get(`log/${machine.id}`, { from });
      const atEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 4;
      if (log.text) {
        text.append(log.text);
        trim(text);
      } else if (from === 0) {
        say(text, "");
      }
      if (atEnd) text.scrollTop = text.scrollHeight;
      from = log.next;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (from === 0) say(text, error.message);
    }
    setTimeout(more, LOG_EVERY);
  };
  more();
}

function trim(text) {
  while (text.textContent.length > LOG_MAX && text.childNodes.length > 1) text.firstChild.remove();
}

/** What a restore would do, or did: a sentence, the command, and the whole report. */
export function showReport(title, answer, go = null) {
  const content = [h("p", { class: "report", text: answer.says })];
  if (answer.command)
    content.push(h("h3", { text: "The same by hand" }), commandLine(answer.command));
  if (answer.report) {
    content.push(
      h(
        "details",
        {},
        h("summary", { text: "The whole report" }),
        h("pre", { tabindex: "0", text: JSON.stringify(answer.report, null, 2) }),
      ),
    );
  }
  const buttons = [close(go ? "Leave it" : "Close")];
  if (go) buttons.push(h("button", { value: "go", class: "primary", text: go.label }));
  const dialog = open(title, content, buttons, "wide");
  if (go) dialog.addEventListener("close", () => dialog.returnValue === "go" && go.run());
}

/** The keys of the keyboard, and the switch that turns the single letters off. */
export function showKeys(keys, areOn, turn) {
  const table = h(
    "table",
    { class: "keys" },
    h("caption", { class: "unseen", text: "Keys" }),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col", text: "Key" }),
        h("th", { scope: "col", text: "What it does" }),
      ),
    ),
    h("tbody"),
  );
  keyed(
    table.tBodies[0],
    keys,
    ([key]) => key,
    ([key, what]) => h("tr", {}, h("td", {}, h("kbd", { text: key })), h("td", { text: what })),
  );
  const box = h("input", { type: "checkbox", id: "letters" });
  box.checked = areOn;
  box.addEventListener("change", () => turn(box.checked));
  open("Keys", [table, h("label", { class: "check" }, box, " single keys are on")], [close()]);
}

export const isOpen = () => document.querySelector("dialog[open]") !== null;
